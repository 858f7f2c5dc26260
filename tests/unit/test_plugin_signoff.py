"""What a human's report counts as, and what the human changed."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import Practitioner, ReportStatus
from plugin import signoff
from plugin.signoff import Verdict, changes, judge, seconds_to_sign, sections_of, untouched, words_between
from tests.case_samples import ROSA, a_report

FINAL = {ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.CORRECTED, ReportStatus.APPENDED}
OPEN = {ReportStatus.PRELIMINARY, ReportStatus.PARTIAL}
NOBODY = (
    None,
    Practitioner(),
    Practitioner("D-77"),
    Practitioner(prefix="Dr."),
    Practitioner(family_name="  "),
)
SOMEBODY = (ROSA, Practitioner(family_name="Rosa"), Practitioner(given_name="Elena"))
OURS = ("PRELIM", "prelim|HOSP", " PRELIM |HOSP", "PRELIM^1.2^ISO|HOSP")
NOT_OURS = ("RIS|HOSP", "|PRELIM", "PRELIMINARY|HOSP", "http://fhir/DiagnosticReport/1")
NOWHERE = ("", "|", " | ")


@pytest.mark.parametrize("status", ReportStatus)
@pytest.mark.parametrize("source", OURS)
def test_a_report_from_ourselves_is_never_a_signature(status: ReportStatus, source: str) -> None:
    """Whatever its status and whoever it names, what MSH-3 says is ours is ours."""
    for signer in NOBODY + SOMEBODY:
        assert judge(a_report(status=status, source=source, signer=signer)) is Verdict.OURS


@pytest.mark.parametrize("status", ReportStatus)
@pytest.mark.parametrize("name", ["Prelim", " PRELIM ", "prelim-small 0.1"])
def test_our_own_name_as_signer_signs_nothing(status: ReportStatus, name: str) -> None:
    """A report that names the software as its signer is ours, on whatever channel."""
    for channel in ("hl7-oru", "fhir"):
        report = a_report(status=status, channel=channel, signer=Practitioner(family_name=name))
        assert judge(report) is Verdict.OURS


@pytest.mark.parametrize("status", ReportStatus)
def test_software_of_others_signs_nothing_and_supersedes_nothing(status: ReportStatus) -> None:
    """A Device is no human, whatever it is called: its final report is unattributed, any other is noted."""
    device = Practitioner("D1", "Watcher", role="Device")
    expected = Verdict.UNATTRIBUTED if status in FINAL else Verdict.NOTED
    assert judge(a_report(status=status, channel="fhir", signer=device)) is expected


@pytest.mark.parametrize("source", NOWHERE)
@pytest.mark.parametrize("status", sorted(FINAL))
def test_an_unnamed_source_never_signs(status: ReportStatus, source: str) -> None:
    """Who signed cannot be believed where nobody says from where."""
    assert judge(a_report(status=status, source=source)) is Verdict.UNATTRIBUTED


@pytest.mark.parametrize(("status", "source"), list(itertools.product(ReportStatus, NOT_OURS)))
def test_only_final_and_named_makes_a_signature(status: ReportStatus, source: str) -> None:
    """SIGNED needs a final status and a name; final without a name is unattributed."""
    for signer in SOMEBODY:
        expected = (
            Verdict.SIGNED if status in FINAL else Verdict.SUPERSEDED if status in OPEN else Verdict.NOTED
        )
        assert judge(a_report(status=status, source=source, signer=signer)) is expected
    for signer in NOBODY:
        expected = (
            Verdict.UNATTRIBUTED
            if status in FINAL
            else Verdict.SUPERSEDED
            if status in OPEN
            else Verdict.NOTED
        )
        assert judge(a_report(status=status, source=source, signer=signer)) is expected


def test_the_final_statuses_are_those_that_close_a_report() -> None:
    """FHIR R4: final, amended, corrected and appended; nothing else is final."""
    assert {status for status in ReportStatus if status.is_final} == FINAL


TITLES = ["Findings", "Impression"]


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("Findings: a\nb\nImpression\nc", [("Findings", "a b"), ("Impression", "c")]),
        ("FINDINGS:\na\n\nimpression :c", [("Findings", "a"), ("Impression", "c")]),
        ("  Findings:a", [("Findings", "a")]),
        ("before\nFindings: a", [("", "before"), ("Findings", "a")]),
        ("The Findings: a", [("", "The Findings: a")]),
        ("Findings are normal.", [("", "Findings are normal.")]),
        ("Findings: a\r\nImpression: b", [("Findings", "a"), ("Impression", "b")]),
        ("Findings: a\nFindings: b", [("Findings", "a"), ("Findings", "b")]),
        ("", []),
        (" \n ", []),
    ],
)
def test_a_title_counts_at_the_beginning_of_a_line(text: str, sections: list[tuple[str, str]]) -> None:
    """Alone on its line or before a colon, in any case; words that merely begin so are text."""
    assert sections_of(text, TITLES) == sections


def test_a_longer_title_wins_over_its_beginning() -> None:
    """A title that begins with another title is found whole, whatever the order in which they are given."""
    titles = ["Findings", "Findings and impression"]
    assert sections_of("Findings and impression: a", titles) == [("Findings and impression", "a")]


def test_without_titles_a_report_is_one_section() -> None:
    """No titles: all of the text stands under none."""
    assert sections_of("Findings: a", []) == [("", "Findings: a")]


@pytest.mark.parametrize(
    "word", ["F\u0130ND\u0130NGS", "F\u0131nd\u0131ngs", "Finding\u017f", "\u212aidneys", "kidneys"]
)
def test_letters_that_fold_oddly_are_read(word: str) -> None:
    """Dotted and dotless i, long s and the Kelvin sign raise nothing, whether or not they match a title."""
    assert sections_of(f"{word}: a", ["Findings", "Kidneys"])[-1][1].endswith("a")


WORDS = st.lists(
    st.sampled_from(["no", "small", "left", "right", "effusion", "findings,", "12", "mm."]), max_size=12
)
BODY = WORDS.map(" ".join)
DRAFT = st.lists(BODY, min_size=2, max_size=2).map(lambda bodies: list(zip(TITLES, bodies, strict=True)))


def written(sections: list[tuple[str, str]]) -> str:
    """Sections as a report writes them."""
    return "\n\n".join(f"{title}:\n{' ' + body}" for title, body in sections)


@given(DRAFT)
def test_an_identical_report_has_no_words_changed(draft: list[tuple[str, str]]) -> None:
    """Signed as drafted: every part stayed the same, under whatever white space."""
    found = changes(draft, "", written(draft).replace(" ", "  "))
    assert sum(change.words_changed for change in found) == 0
    assert all(kind == "same" for change in found for kind, _ in change.parts)


@given(DRAFT, DRAFT)
def test_the_parts_rebuild_both_texts(draft: list[tuple[str, str]], signed: list[tuple[str, str]]) -> None:
    """What stayed and was taken out is the draft; what stayed and was put in is the signed report."""
    found = {change.title: change for change in changes(draft, "", written(signed))}
    for title, body in draft:
        parts = found[title].parts if title in found else ()
        assert " ".join(words for kind, words in parts if kind != "signed") == body
    for title, body in sections_of(written(signed), TITLES):
        parts = found[title].parts if title in found else ()
        assert " ".join(words for kind, words in parts if kind != "drafted").split() == body.split()


@given(DRAFT, DRAFT)
def test_words_changed_is_nought_only_for_the_same_words(
    draft: list[tuple[str, str]], signed: list[tuple[str, str]]
) -> None:
    """Any difference counts at least one word, and never more than both texts have together."""
    found = changes(draft, "", written(signed))
    count = sum(change.words_changed for change in found)
    same = dict(sections_of(written(draft), TITLES)) == dict(sections_of(written(signed), TITLES))
    everything = sum(len(body.split()) for _, body in draft + sections_of(written(signed), TITLES))
    assert (count == 0) == same
    assert count <= everything


@given(st.text(max_size=200))
def test_any_text_can_be_compared(text: str) -> None:
    """No text that a human sends makes the comparison raise."""
    changes([("Findings", "a"), ("Impression", "b")], "notice", text)


@pytest.mark.parametrize(
    ("drafted", "signed", "count"),
    [
        ("a b", "a c", 1),
        ("a b", "a", 1),
        ("a", "a b c", 2),
        ("a b", "c", 2),
        ("a", "", 1),
        ("left", "right", 1),
    ],
)
def test_a_replaced_word_counts_once(drafted: str, signed: str, count: int) -> None:
    """Words taken out and words put in at one place count as the larger of the two."""
    (change,) = changes([("Findings", drafted)], "", f"Findings: {signed}")
    assert change.words_changed == count


def test_the_notice_is_no_part_of_the_comparison() -> None:
    """The machine's sentence is neither kept nor taken out by the human, wherever it stands."""
    notice = "Written by software; a radiologist must sign."
    for signed in (f"{notice}\n\nFindings: a", f"Findings: a\n{notice}", "Findings: a"):
        assert sum(change.words_changed for change in changes([("Findings", "a")], notice, signed)) == 0


def test_a_section_of_the_humans_own_comes_last() -> None:
    """The draft's order first, then what the human added; words without a title count as added."""
    found = changes([("Findings", "a"), ("Impression", "b")], "", "Addendum\nImpression: b\nFindings: a")
    assert [change.title for change in found] == ["Findings", "Impression", ""]
    assert found[-1].parts == (("signed", "Addendum"),)


def test_a_section_that_the_human_left_out_is_taken_out() -> None:
    """A section of the draft that the signed report lacks counts as removed."""
    found = changes([("Findings", "a"), ("Impression", "b c")], "", "Findings: a")
    assert [(change.title, change.words_changed) for change in found] == [("Findings", 0), ("Impression", 2)]


@pytest.mark.parametrize(("words", "aligned"), [(signoff.DIFF_WORDS - 1, True), (signoff.DIFF_WORDS, False)])
def test_texts_beyond_the_guard_are_compared_as_a_whole(words: int, aligned: bool) -> None:
    """Up to DIFF_WORDS words are aligned; with one more, before and after stand side by side."""
    signed = " ".join(f"w{number}" for number in range(words))
    (change,) = changes([("Findings", "w0")], "", f"Findings: {signed}")
    assert (change.parts[0] == ("same", "w0")) is aligned
    assert change.parts[-1][0] == "signed"


TOLD = [("Findings", "a b"), ("Impression", "c")]
NOTICE = "Written by software."


@pytest.mark.parametrize(
    ("signed", "same"),
    [
        ("Findings\na b\n\nImpression\nc", True),
        (f"{NOTICE}\n\nFINDINGS: a  b\nImpression :c", True),
        ("Impression\nc\nFindings\na b", False),
        ("Findings\na b\nImpression\nc d", False),
        ("Findings\na b\nFindings\na b\nImpression\nc", False),
        ("a b c", False),
        ("", False),
    ],
)
def test_untouched_is_the_same_words_in_the_same_sections_and_order(signed: str, same: bool) -> None:
    """White space, the case of titles and the notice aside, every word stands where the draft had it."""
    assert untouched(TOLD, NOTICE, signed) is same


@given(DRAFT, DRAFT)
def test_whatever_is_untouched_has_no_words_changed(
    draft: list[tuple[str, str]], signed: list[tuple[str, str]]
) -> None:
    """The two measures never contradict each other."""
    if untouched(draft, "", written(signed)):
        assert sum(change.words_changed for change in changes(draft, "", written(signed))) == 0
    assert untouched(draft, "", written(draft))


READABLE = datetime(2026, 1, 6, 9, 30, 20, 500_000, UTC)


@pytest.mark.parametrize(
    ("signed_at", "seconds"),
    [
        (READABLE + timedelta(seconds=90), 90.0),
        (READABLE, 0.0),
        (READABLE - timedelta(microseconds=1), None),
        (datetime(2026, 1, 6, 9, 30, 20, tzinfo=UTC), 0.0),
        (datetime(2026, 1, 6, 9, 30, 19, tzinfo=UTC), None),
        (datetime(2026, 1, 6, 9, 30, tzinfo=UTC), 0.0),
        (datetime(2026, 1, 6, 9, 29, tzinfo=UTC), None),
        (None, None),
    ],
)
def test_a_signature_before_its_draft_has_no_time_to_sign(
    signed_at: datetime | None, seconds: float | None
) -> None:
    """A clock that runs behind gives no time; whole seconds or minutes may be that much early."""
    assert seconds_to_sign(READABLE, signed_at) == seconds
    assert seconds_to_sign(None, signed_at) is None


def test_words_between_two_reports_ignore_their_sections() -> None:
    """An addendum counts its own words."""
    assert words_between("Findings\nNormal.", "Findings\nNormal. Addendum: rib fracture.") == 3
    assert words_between("a b", "a  b") == 0


LANGUAGE_TITLES = [
    ("Findings", "Impression"),
    ("Befund", "Beurteilung"),
    ("Rezultat", "Concluzii"),
    ("소견", "결론"),
]


@pytest.mark.parametrize(("findings", "impression"), LANGUAGE_TITLES)
@pytest.mark.parametrize("drafted", LANGUAGE_TITLES)
def test_a_section_is_compared_whatever_language_its_title_is_in(
    drafted: tuple[str, str], findings: str, impression: str
) -> None:
    """A RIS with titles of its own: words count under the draft's title, and titles are no change."""
    draft = [(drafted[0], "Lungs: Clear.\nHeart: Normal."), (drafted[1], "Normal chest.")]
    signed = f"{findings}:\nLungs: Clear.\nHeart: Normal.\n\n{impression}: Normal chest."
    assert untouched(draft, "", signed)
    changed = changes(draft, "", signed.replace("Normal chest", "Normal thorax"))
    assert [(one.title, one.words_changed) for one in changed] == [(drafted[0], 0), (drafted[1], 1)]


@pytest.mark.parametrize(("findings", "impression"), LANGUAGE_TITLES)
def test_a_report_in_any_language_asks_for_its_conclusion(findings: str, impression: str) -> None:
    """Findings under their title without a conclusion ask for one, and are what it is drafted from."""
    assert signoff.asks_for_conclusion(f"{findings}:\nSmall effusion.")
    assert not signoff.asks_for_conclusion(f"{findings}:\nSmall effusion.\n{impression}: Effusion.")
    assert signoff.asks_for_conclusion(f"{findings}:\nSmall effusion.\n{impression}:")
    assert signoff.findings_of(f"{findings}:\nSmall effusion.\n{impression}:") == "Small effusion."


def test_a_mark_of_doubt_is_no_part_of_the_comparison() -> None:
    """Whether the human left the mark or took it out, the sentence stands as it was drafted."""
    draft = [("Befund", "Rundherd. [unsicher] Herz normal.")]
    for signed in ("Befund\nRundherd. Herz normal.", "Befund\nRundherd. [unsicher] Herz normal."):
        assert untouched(draft, "", signed)
        assert [one.words_changed for one in changes(draft, "", signed)] == [0]
    (changed,) = changes(draft, "", "Befund\nHerz normal.")
    assert changed.words_changed == 1
