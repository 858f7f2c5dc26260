"""ADT: what is known of a patient now, and which identifiers turned out to be one person."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import Patient, PatientMerge, PatientUpdate
from connectors.hl7.identifiers import Places
from connectors.hl7.message import NotHl7, parse
from connectors.hl7.patients import MERGES, UPDATES, patient_merges, patient_update

PID = "PID|1||4711^^^HOSP^MR~99^^^NHS^NI||Doe^Jane||19700203|F"
MRG = "MRG|4712^^^HOSP^MR"
JANE = Patient("4711", "HOSP", "Doe", "Jane", date(1970, 2, 3), "female")


def raw(kind: str, *segments: str) -> bytes:
    return "\r".join([f"MSH|^~\\&|ADT|HOSP|||20260104120000||{kind}|42|P|2.5.1", *segments]).encode()


def update(*segments: str, kind: str = "ADT^A08", places: Places | None = None) -> PatientUpdate:
    return patient_update(parse(raw(kind, *segments)), places or Places(), UTC)


def merges(*segments: str, kind: str = "ADT^A40", places: Places | None = None) -> tuple[PatientMerge, ...]:
    return patient_merges(parse(raw(kind, *segments)), places or Places())


def refusal(*segments: str, kind: str = "ADT^A40", places: Places | None = None) -> NotHl7:
    with pytest.raises(NotHl7) as caught:
        merges(*segments, kind=kind, places=places)
    return caught.value


@pytest.mark.parametrize("kind", UPDATES)
def test_an_update_is_the_patient_as_known_now(kind: str) -> None:
    """A08 and A31 give the demographics of PID and the time of the event."""
    found = update("EVN||20260102||||20260101", PID, "PV1|1|O", kind=kind)
    assert found == PatientUpdate(JANE, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("evn", "day"), [("EVN||20260102||||20260101", 1), ("EVN||20260102", 2), ("NTE|1", 4)]
)
def test_the_time_of_an_update_is_when_it_happened_else_was_recorded_else_sent(evn: str, day: int) -> None:
    """EVN-6, then EVN-2, then MSH-7."""
    at = update(evn, PID).updated_at
    assert at is not None
    assert at.day == day


def test_what_an_update_does_not_say_is_empty() -> None:
    """Missing name, birth date and sex erase nothing: they are empty."""
    assert update("PID|1||4711").patient == Patient("4711")


@pytest.mark.parametrize(
    ("segments", "kind", "location"),
    [
        ((PID,), "ADT^A01", "MSH-9"),
        ((PID,), "ADT^A40", "MSH-9"),
        (("EVN||20260102",), "ADT^A08", "PID"),
        ((PID, PID), "ADT^A08", "PID"),
        (("PID|1||||Doe",), "ADT^A08", "PID-3"),
    ],
)
def test_an_update_that_cannot_be_read_names_the_place(
    segments: tuple[str, ...], kind: str, location: str
) -> None:
    """Another event, a missing or second PID, a missing identifier."""
    with pytest.raises(NotHl7) as caught:
        update(*segments, kind=kind)
    assert caught.value.location == location


@pytest.mark.parametrize("kind", MERGES)
def test_a_merge_keeps_pid_3_and_retires_mrg_1(kind: str) -> None:
    """Every merge event reads alike: the identifier of MRG-1 is given up for that of PID-3."""
    assert merges("EVN||20260101", PID, MRG, kind=kind) == (PatientMerge(JANE, "4712", "HOSP"),)


def test_one_message_may_hold_several_merges() -> None:
    """Each PID of an A40 has its MRG; a merge that is told twice counts once."""
    other = PID.replace("4711", "5000")
    found = merges(PID, "PD1|1", MRG, "PV1|1", other, "MRG|5001^^^HOSP", PID, MRG)
    assert [(one.surviving.identifier, one.retired_identifier) for one in found] == [
        ("4711", "4712"),
        ("5000", "5001"),
    ]


def test_several_identifiers_of_one_authority_are_all_retired() -> None:
    """MRG-1 repetitions of the authority that keeps the patient are merges of their own."""
    found = merges(PID, "MRG|4712^^^HOSP^MR~88^^^NHS^NI~4713^^^HOSP^MR")
    assert [one.retired_identifier for one in found] == ["4712", "4713"]


@pytest.mark.parametrize(
    ("places", "surviving", "retired"),
    [
        (Places(), ("4711", "HOSP"), ("4712", "HOSP")),
        (Places(patient_identifier_type="NI"), ("99", "NHS"), ("88", "NHS")),
        (Places(patient_assigning_authority="NHS"), ("99", "NHS"), ("88", "NHS")),
        (
            Places(patient_identifier_type="MR", patient_assigning_authority="HOSP"),
            ("4711", "HOSP"),
            ("4712", "HOSP"),
        ),
    ],
)
def test_the_settings_choose_the_identifier_on_both_sides(
    places: Places, surviving: tuple[str, str], retired: tuple[str, str]
) -> None:
    """Type and assigning authority hold for PID-3 and MRG-1 alike."""
    (found,) = merges(PID, "MRG|88^^^NHS^NI~4712^^^HOSP^MR", places=places)
    assert (found.surviving.identifier, found.surviving.assigning_authority) == surviving
    assert (found.retired_identifier, found.retired_assigning_authority) == retired


def test_no_other_identifier_stands_in_for_the_chosen_one() -> None:
    """A merge without the identifier that the settings ask for is refused, on either side."""
    assert refusal(PID, "MRG|88^^^NHS", places=Places(patient_identifier_type="MR")).location == "MRG-1"
    assert refusal("PID|1||1^^^X", MRG, places=Places(patient_identifier_type="MR")).location == "PID-3"
    assert refusal(PID, "MRG|88^^^NHS", places=Places(patient_identifier_type="MR")).code == 204


@pytest.mark.parametrize(
    ("pid_3", "mrg_1", "refused"),
    [
        ("1^^^A", "1^^^A", True),
        ("1", "1", True),
        ("1^^^A", "1", True),
        ("1", "1^^^A", True),
        ("1^^^A", "1^^^B", False),
        ("1^^^A", "2^^^A", False),
        ("1^^^A", "2^^^A~1^^^A", True),
    ],
)
def test_nobody_is_merged_with_themselves(pid_3: str, mrg_1: str, refused: bool) -> None:
    """The same identifier of the same authority, or of one that is not said, is refused."""
    if refused:
        error = refusal(f"PID|1||{pid_3}", f"MRG|{mrg_1}")
        assert error.location == "MRG-1"
        assert "itself" in str(error)
    else:
        assert len(merges(f"PID|1||{pid_3}", f"MRG|{mrg_1}")) == 1


def test_merges_that_contradict_each_other_are_refused() -> None:
    """A into B and B into A in one message say nothing; a chain does."""
    assert "contradict" in str(refusal("PID|1||1", "MRG|2", "PID|1||2", "MRG|1"))
    assert len(merges("PID|1||2", "MRG|1", "PID|1||3", "MRG|2")) == 2


@pytest.mark.parametrize(
    ("segments", "kind", "location"),
    [
        ((PID, MRG), "ADT^A08", "MSH-9"),
        ((PID, MRG), "ADT^A41", "MSH-9"),
        ((PID,), "ADT^A40", "MRG"),
        ((PID, PID, MRG), "ADT^A40", "MRG"),
        ((PID, MRG, PID), "ADT^A40", "MRG"),
        ((MRG,), "ADT^A40", "PID"),
        ((PID, MRG, MRG), "ADT^A40", "PID"),
        (("EVN||1",), "ADT^A40", "PID"),
        (("PID|1||||Doe", MRG), "ADT^A40", "PID-3"),
        ((PID, "MRG|"), "ADT^A40", "MRG-1"),
        ((PID, 'MRG|""'), "ADT^A40", "MRG-1"),
    ],
)
def test_a_merge_that_lacks_something_names_the_place(
    segments: tuple[str, ...], kind: str, location: str
) -> None:
    """Another event, a missing PID, MRG or identifier on either side."""
    assert refusal(*segments, kind=kind).location == location


def test_older_senders_write_the_prior_identifier_into_mrg_4() -> None:
    """MRG-4 counts where MRG-1 is empty, as PID-2 does for PID-3."""
    (found,) = merges("PID|1|4711", "MRG||||4712", kind="ADT^A34")
    assert (found.surviving.identifier, found.retired_identifier) == ("4711", "4712")


@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from("123")), max_size=4))
def test_no_message_yields_a_merge_with_itself_or_its_inverse(pairs: list[tuple[str, str]]) -> None:
    """Whatever pairs a message holds, what is read never contradicts itself."""
    segments = [segment for keep, give in pairs for segment in (f"PID|1||{keep}", f"MRG|{give}")]
    try:
        found = merges(*segments)
    except NotHl7:
        return
    directions = {(one.surviving.identifier, one.retired_identifier) for one in found}
    assert not directions & {(give, keep) for keep, give in directions}


def test_one_identifier_is_not_retired_into_two_patients() -> None:
    """Which of the two it is nobody can say; the same merge twice is one."""
    again = "PID|1||4713^^^HOSP^MR"
    assert refusal(PID, MRG, again, MRG).location == "MRG-1"
    assert len(merges(PID, MRG, PID, MRG)) == 1
