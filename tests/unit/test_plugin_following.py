"""Following the FHIR server: three ways to the same fetch, and each version taken once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.errors import Rejected, Unreachable
from connectors.exchange import Patient, ReportStatus
from connectors.fhir.readers.dossier import gather
from connectors.sandbox.fhir_statement import Lack
from plugin.cases import CaseState
from plugin.casework import move
from plugin.db import now
from plugin.following import FAILURES, Following
from plugin.intake import UnknownMessage
from plugin.messages import PROCESSED, REFUSED
from plugin.notices import EVENTS
from plugin.tables import Case, Cursor, DraftRecord, FhirNotice, Message
from tests.fhir_followed import SYSTEMS, Followed, followed
from tests.site import new_order

Look = Callable[[Following], None]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Followed]:
    with followed(tmp_path, fhir_takes=("orders", "studies")) as site:
        yield site


def _told(site: Followed, reference: str) -> None:
    site.tell(reference)
    site.following.notices()


def _changed(site: Followed, reference: str) -> None:
    site.following.changes("DiagnosticReport", {})


def _beside(site: Followed, reference: str) -> None:
    site.following.open_drafts()


WAYS = {"told": _told, "changed": _changed, "beside a draft": _beside}


@pytest.mark.parametrize("way", WAYS)
def test_a_signature_is_seen_by_each_way_alone(site: Followed, way: str) -> None:
    """A notice, what changed, and the look beside open drafts each find it by themselves."""
    order, reference = site.published()
    site.sign(reference)
    WAYS[way](site, reference)
    (signoff,) = site.signoffs(order)
    assert (signoff.verdict, signoff.signer_name, signoff.channel) == ("signed", "Rosa", "fhir")
    assert site.case(order).state == CaseState.SIGNED
    assert site.names == [f"{reference}/_history/2"]


@pytest.mark.parametrize("first", WAYS)
def test_a_version_is_taken_once_whichever_way_it_is_seen(site: Followed, first: str) -> None:
    """All ways one after another, by two processes: one message, one sign-off."""
    order, reference = site.published()
    site.sign(reference)
    WAYS[first](site, reference)
    for following in (site.following, site.another()):
        site.tell(reference)
        following.round()
    assert len(site.signoffs(order)) == 1
    assert site.names == [f"{reference}/_history/2"]


def test_two_processes_that_look_at_once_take_a_version_once(site: Followed) -> None:
    """Both fetch it before either stores it; the lock of the writer decides."""
    order, reference = site.published()
    site.sign(reference)
    both = threading.Barrier(2, timeout=30)
    take = site.intake.receive_all

    def together(arrivals: Any) -> Any:
        both.wait()
        return take(arrivals)

    site.intake.receive_all = together  # type: ignore[method-assign]
    threads = [threading.Thread(target=site.another().open_drafts) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(site.signoffs(order)), len(site.messages)) == (1, 1)
    assert site.actions("message.repeated") == 1


def test_every_version_that_was_not_seen_is_taken_oldest_first(site: Followed) -> None:
    """Two signatures between two looks are two sign-offs, in their order."""
    order, reference = site.published()
    site.sign(reference, "Impression: Normal.", "Rosa")
    site.sign(reference, "Impression: A nodule.", "Osei", status=_status("amended"))
    site.following.round()
    assert [(one.version, one.signer_name, one.status) for one in site.signoffs(order)] == [
        ("2", "Rosa", "final"),
        ("3", "Osei", "amended"),
    ]


def _status(word: str) -> ReportStatus:
    return ReportStatus(word)


def test_an_addendum_after_the_signature_is_a_further_sign_off(site: Followed) -> None:
    """The case is signed and no longer open, and what changed is asked for all the same."""
    order, reference = site.published()
    site.sign(reference)
    site.following.round()
    site.sign(reference, "Impression: Normal. Addendum: a rib.", "Osei", status=_status("appended"))
    site.following.round()
    assert [one.signer_name for one in site.signoffs(order)] == ["Rosa", "Osei"]
    assert site.signoffs(order)[1].since_previous


def test_a_server_without_history_gives_its_newest_version(site: Followed) -> None:
    """What went before is not seen, and the signature is."""
    order, reference = site.published()
    site.sign(reference, "Impression: Normal.", "Rosa")
    site.sign(reference, "Impression: A nodule.", "Osei")

    site.fhir.lacks = frozenset({Lack.HISTORY})
    site.following.round()
    assert [one.signer_name for one in site.signoffs(order)] == ["Osei"]


def test_versions_of_ours_are_not_taken(site: Followed) -> None:
    """Neither as the draft that stands nor as a later one."""
    order, reference = site.published()
    site.tell(reference)
    site.following.round()
    assert (site.messages, site.signoffs(order)) == ([], [])
    assert site.case(order).state == CaseState.PUBLISHED


def test_a_version_of_ours_that_the_database_does_not_know_yet_is_not_taken(site: Followed) -> None:
    """It is seen between its writing on the server and the commit here."""
    order, reference = site.published()
    with site.database.write() as session:
        session.scalars(sa.select(DraftRecord)).one().version = "0"
    site.tell(reference)
    site.following.round()
    assert (site.messages, site.signoffs(order)) == ([], [])


@pytest.mark.parametrize("valid", [True, False])
def test_a_version_is_the_same_whatever_it_names_has_become(site: Followed, valid: bool) -> None:
    """Fetched twice with another patient's resource beside it: one message, and no quarantine."""
    order, _ = site.published()
    reference = site.report(order, "theirs")
    if not valid:
        report = site.store.read("DiagnosticReport", "theirs").resource or {}
        site.store.load("theirs", {**report, "issued": "yesterday"})
    whole = site.store.read("DiagnosticReport", "theirs").resource or {}
    site.following._take(gather(site.client, whole))
    site.put("Patient", f"pat-{order.patient.identifier}", active=True, identifier=[{"value": "other"}])
    site.following._take(gather(site.client, whole))
    version = 1 if valid else 2
    assert site.names == [f"{reference}/_history/{version}"]
    assert [one.state for one in site.messages] == [PROCESSED if valid else REFUSED]
    assert site.actions("message.repeated") == 1


def test_another_patients_report_is_not_stored(site: Followed) -> None:
    """A report of an accession that is no case of ours is none of our business, whoever tells of it."""
    site.published()
    reference = site.report(new_order(), "theirs")
    site.tell(reference)
    site.following.round()
    assert site.messages == []


def test_a_patients_number_is_no_accession_number(site: Followed) -> None:
    """A report of somebody whose own number happens to be an accession number of ours is not ours."""
    order, _ = site.published()
    other = new_order(patient=Patient(order.accession, "TESTHOSP", "Other", "Olga"))
    reference = site.report(other, "theirs", identifier=None)
    site.tell(reference)
    site.following.round()
    assert site.messages == []
    assert site.case(order).state == CaseState.PUBLISHED


@pytest.mark.parametrize("way", ["told", "changed"])
@pytest.mark.parametrize(
    "identifier", [None, [{"system": "urn:ris", "value": "R-1"}]], ids=["none", "its own"]
)
def test_a_report_is_found_by_the_order_it_is_based_on(site: Followed, way: str, identifier: Any) -> None:
    """It names no accession number; the ServiceRequest does. A number of its own without a type is none."""
    order, _ = site.published()
    request = site.request(order)
    reference = site.report(order, "theirs", identifier=identifier, basedOn=[{"reference": request}])
    WAYS[way](site, reference)
    (signoff,) = site.signoffs(order)
    assert (signoff.verdict, signoff.source) == ("signed", f"{site.client.base_url}/{reference}")


def test_a_report_that_says_another_accession_is_not_fetched_for_its_order(site: Followed) -> None:
    """Most reports of a hospital are no case of ours: what names another accession number costs nothing."""
    site.published()
    other = new_order()
    site.report(other, "theirs", basedOn=[{"reference": site.request(other)}])
    before = len(site.wire.asked)
    site.following.changes("DiagnosticReport", {})
    assert len(site.wire.asked) - before == 1


# --- orders and studies --------------------------------------------------------------------------------


def test_an_order_and_its_study_make_a_case_ready(site: Followed) -> None:
    """As by HL7 and by the archive; each version is one message of the channel."""
    order = new_order()
    request, study = site.request(order), site.study(order)
    site.following.round()
    case = site.case(order)
    assert (case.state, case.order["service_request"]) == (CaseState.READY, request)
    assert site.names == [f"{request}/_history/1", f"{study}/_history/1"]
    assert [(job.kind, job.case_id) for job in site.jobs.asked] == [("draft", case.id)]
    site.following.round()
    assert len(site.messages) == 2


@pytest.mark.parametrize("takes", [(), ("orders",), ("studies",)])
def test_only_what_the_site_takes_is_fetched(tmp_path: Path, takes: tuple[str, ...]) -> None:
    """Also where a notification of reports names an order beside its report."""
    order = new_order()
    with followed(tmp_path, fhir_takes=takes) as site:
        for reference in (site.request(order), site.study(order)):
            site.tell(reference)
        site.following.round()
        kinds = {"orders": "ServiceRequest", "studies": "ImagingStudy"}
        assert [message.message_type for message in site.messages] == [kinds[word] for word in takes]
        assert site.waiting == []


@pytest.mark.parametrize(
    ("code", "taken"), [("108252007", 0), ("363679005", 1)], ids=["laboratory", "imaging"]
)
def test_an_order_of_another_department_is_not_stored(site: Followed, code: str, taken: int) -> None:
    """A server tells of every order of the hospital: the laboratory's are none of our business."""
    category = [{"coding": [{"system": "http://snomed.info/sct", "code": code}]}]
    reference = site.request(new_order(), category=category)
    site.tell(reference)
    site.following.round()
    assert (len(site.messages), site.waiting) == (taken, [])


def test_an_order_that_is_revoked_cancels_its_case(site: Followed) -> None:
    """The next version of a ServiceRequest is a message of its own."""
    order = new_order()
    site.request(order)
    site.following.round()
    site.request(order, status="revoked")
    site.following.round()
    assert site.case(order).state == CaseState.CANCELLED
    assert len(site.messages) == 2


def test_an_empty_field_of_the_second_way_takes_nothing_away(site: Followed) -> None:
    """The same order by HL7 with more in it and by FHIR with less is one order, and no change of it."""
    order, _ = site.published(new_order(history="Smoker"))
    accession = [{"system": SYSTEMS.accession, "value": order.accession}]
    request = site.request(order, identifier=accession, orderDetail=[])
    patient = site.store.read("Patient", f"pat-{order.patient.identifier}").resource or {}
    site.write({name: value for name, value in patient.items() if name not in {"gender", "name"}})
    site.following.round()
    case = site.case(order)
    assert (case.order["history"], case.order["placer_order_number"]) == ("Smoker", order.placer_order_number)
    assert (case.order["modality"], case.order["patient"]["sex"]) == ("CT", "female")
    assert case.order["patient"]["family_name"] == order.patient.family_name
    assert (case.order["service_request"], case.state) == (request, CaseState.PUBLISHED)
    assert site.jobs.asked == []


# --- what is refused -----------------------------------------------------------------------------------


def test_a_resource_that_is_not_valid_is_kept_and_its_case_says_so(site: Followed) -> None:
    """Refused with the reason, once; it is not fetched again."""
    order, _ = site.published()
    reference = site.report(order, "theirs")
    version = site.store.read("DiagnosticReport", "theirs").resource
    site.store.load("theirs", {**(version or {}), "issued": "yesterday"})
    site.following.round()
    refused = [message for message in site.messages if message.state == REFUSED]
    assert [message.control_id for message in refused] == [f"{reference}/_history/2"]
    assert "DiagnosticReport.issued" in refused[0].reason
    assert "yesterday" not in refused[0].reason
    case = site.case(order)
    # Version 1 was valid, and is a person's word.
    assert (case.state, "signed by" in case.reason) == (CaseState.SIGNED, True)
    assert site.actions("case.unreadable-resource") == 1
    before = len(site.wire.asked)
    site.following.changes("DiagnosticReport", {})
    assert len(site.wire.asked) - before == 1
    assert len(site.messages) == 2


def test_an_open_case_says_what_could_not_be_taken(site: Followed) -> None:
    """The state stays, the reason is that of the resource."""
    order, reference = site.published()
    current = site.store.read("DiagnosticReport", reference.partition("/")[2]).resource or {}
    site.store.load(current["id"], {**current, "status": "final", "subject": "nobody"})
    site.following.round()
    case = site.case(order)
    assert case.state == CaseState.PUBLISHED
    assert case.reason.startswith("A DiagnosticReport of the FHIR server could not be taken: Expected a ")
    (message,) = site.messages
    assert (message.state, message.sender) == (REFUSED, site.client.base_url)


def test_a_report_of_another_patient_under_our_accession_is_refused(site: Followed) -> None:
    """It is kept as evidence of the mix-up, and nobody has signed."""
    order, _ = site.published()
    site.report(replace(order, patient=Patient("P-OTHER", "TESTHOSP", "Other", "Olga")), "theirs")
    site.following.round()
    (message,) = site.messages
    assert (message.state, site.signoffs(order)) == (REFUSED, [])
    assert "patient" in site.case(order).reason
    assert "Olga" not in message.reason


def test_a_resource_that_is_gone_is_nothing_to_take(site: Followed, caplog: pytest.LogCaptureFixture) -> None:
    """Told of and deleted since: a line in the log without its id, and the notice goes."""
    reference = site.request(new_order())
    site.store.delete(*reference.split("/"))
    site.tell(reference)
    site.following.notices()
    assert (site.messages, site.waiting) == ([], [])
    assert "A ServiceRequest that was told of is not on the FHIR server." in caplog.text
    assert reference not in caplog.text


# --- replay --------------------------------------------------------------------------------------------


def test_a_stored_report_is_replayed_for_the_case_it_was_looked_for(site: Followed) -> None:
    """An untyped number was believed because the case was looked for; the replay believes it again."""
    order, _ = site.published()
    site.report(order, "theirs", identifier=[{"value": order.accession}])
    site.following.round()
    (message,) = site.messages
    assert message.state == PROCESSED
    site.intake.replay(message.id, "to see", "Ada")
    first, second = site.messages
    assert (second.replay_of, second.state, second.control_id) == (first.id, PROCESSED, first.control_id)
    assert len(site.signoffs(order)) == 1


def test_a_refused_report_is_taken_by_a_replay_once_the_cause_is_mended(site: Followed) -> None:
    """The order had another patient's number; once that is right, the same bytes sign the case."""
    order, _ = site.published()
    real = replace(order, patient=Patient("P-REAL", "TESTHOSP", "Real", "Rita"))
    site.report(real, "theirs")
    site.following.round()
    (message,) = site.messages
    assert message.state == REFUSED
    with site.database.write() as session:
        case = session.get_one(Case, site.case(order).id)
        case.order = {**case.order, "patient": {**case.order["patient"], "identifier": "P-REAL"}}
    site.intake.replay(message.id, "patient corrected", "Ada")
    assert [one.verdict for one in site.signoffs(order)] == ["signed"]
    assert site.case(order).state == CaseState.SIGNED


def test_an_erased_body_is_not_replayed_and_its_version_stays_known(site: Followed) -> None:
    """Erasing leaves the name of the version, so that it is not taken for a new one."""
    order, reference = site.published()
    site.sign(reference)
    site.following.round()
    (message,) = site.messages
    with site.database.write() as session:
        row = session.get_one(Message, message.id)
        row.body, row.pruned_at = b"", now()
    with pytest.raises(UnknownMessage, match="was erased"):
        site.intake.replay(message.id, "again", "Ada")
    site.tell(reference)
    site.following.round()
    assert (len(site.messages), len(site.signoffs(order))) == (1, 1)


# --- failures ------------------------------------------------------------------------------------------


def test_a_resource_that_cannot_be_had_does_not_hide_the_others(site: Followed) -> None:
    """A server answers 500 for one report: those after it are signed, and it waits until it can be had."""
    (first, poison), (second, reference) = site.published(), site.published()
    for one in (poison, reference):
        site.sign(one)
    site.tell(poison)
    site.wire.fails = lambda told: poison in told
    site.following.round()
    assert (site.case(first).state, site.case(second).state) == (CaseState.PUBLISHED, CaseState.SIGNED)
    assert site.waiting == [poison]
    site.wire.fails = lambda told: False
    site.following.round()
    assert (site.case(first).state, site.waiting) == (CaseState.SIGNED, [])


@pytest.mark.parametrize("few", [True, False])
def test_of_few_failures_a_round_goes_on_and_of_many_it_ends(site: Followed, few: bool) -> None:
    """One fewer than the limit is remembered; at the limit the server is taken to be away."""
    count = FAILURES - (1 if few else 0)
    for reference in [site.request(new_order()) for _ in range(count)]:
        site.tell(reference)
    site.wire.fails = lambda told: "/ServiceRequest/req-" in told
    if few:
        site.following.notices()
    else:
        with pytest.raises(Unreachable):
            site.following.notices()
    assert len(site.waiting) == count
    site.wire.fails = lambda told: False
    site.following.round()
    assert (len(site.messages), site.waiting) == (count, [])


def test_what_the_database_could_not_keep_is_fetched_again(
    site: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sends a resource again: a failed write keeps the notice and the place in the changes."""
    order = new_order()
    reference = site.request(order)
    site.tell(reference)
    with monkeypatch.context() as broken:
        broken.setattr("plugin.taking.next_number", _locked)
        with pytest.raises(sa.exc.OperationalError):
            site.following.notices()
        with pytest.raises(sa.exc.OperationalError):
            site.following.changes("ServiceRequest", {})
    assert (site.waiting, site.messages) == ([reference], [])
    site.following.changes("ServiceRequest", {})
    assert site.case(order).state == CaseState.RECEIVED


def _locked(session: object) -> int:
    raise sa.exc.OperationalError("INSERT", {}, Exception("database is locked"))


def test_what_a_server_cannot_do_is_said_once_and_keeps_us_from_nothing_else(
    site: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    """Changes of studies are refused in every round: one line, and the reports are followed."""
    order, reference = site.published()
    site.sign(reference)
    real = site.following.changes

    def refused(kind: str, params: Any) -> None:
        if kind == "ImagingStudy":
            raise Rejected("no such search")
        real(kind, params)

    site.following.changes = refused  # type: ignore[method-assign]
    for _ in range(3):
        site.following.round()
    said = [one for one in caplog.records if "changes of ImagingStudy" in one.getMessage()]
    assert len(said) == 1
    assert site.case(order).state == CaseState.SIGNED


def test_nothing_of_a_patient_stands_in_logs_or_addresses(
    site: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    """Through orders, signatures, refusals and failures: no name, no number, no accession."""
    caplog.set_level(logging.DEBUG)
    order, reference = site.published()
    site.request(order)
    site.study(order)
    site.sign(reference)
    site.report(replace(order, patient=Patient("P-OTHER", "TESTHOSP", "Other", "Olga")), "theirs")
    site.tell("DiagnosticReport/gone")
    site.following.round()
    secrets = (order.accession, order.patient.identifier, "Robin", "Example", "Olga", "P-OTHER", "Rosa")
    ours = [record for record in caplog.records if record.name.startswith(("plugin", "connectors", "httpx"))]
    told = [record.getMessage() for record in ours] + [
        # The ids of these tests' resources carry them; a server's own ids do not.
        one
        for one in site.wire.asked
        if "/req-" not in one and "/img-" not in one and "/pat-" not in one and "/doc-" not in one
    ]
    assert told
    for secret in secrets:
        assert not [line for line in told if secret in line.replace(reference, "")], secret


# --- open drafts and notices ---------------------------------------------------------------------------


def test_a_draft_that_somebody_deleted_is_told_of_once(site: Followed) -> None:
    """Its case stays open and says so; the log has one entry however often it is looked at."""
    order, reference = site.published()
    site.store.delete(*reference.split("/"))
    for following in (site.following, site.following, site.another()):
        following.open_drafts()
    case = site.case(order)
    assert (case.state, case.reason) == (
        CaseState.PUBLISHED,
        "Somebody deleted the draft on the FHIR server.",
    )
    assert site.actions("draft.gone") == 1


def test_a_case_that_is_no_longer_published_keeps_its_reason_when_its_draft_is_gone(site: Followed) -> None:
    """The log alone has it."""
    order, reference = site.published()
    with site.database.write() as session:
        case = session.get_one(Case, site.case(order).id)
        move(session, case, CaseState.HELD, "test", reason="Held for a test.")
    site.store.delete(*reference.split("/"))
    site.following.open_drafts()
    assert site.case(order).reason == "Held for a test."
    assert site.actions("draft.gone") == 1


def test_a_notice_that_is_renewed_while_it_is_in_hand_is_not_lost(site: Followed) -> None:
    """It tells of another version: what was fetched before does not answer it."""
    order, reference = site.published()
    site.sign(reference)
    site.tell(reference)
    fetch = site.following._fetch

    def fetched(one: str) -> None:
        fetch(one)
        site.sign(reference, "Impression: A nodule.", "Osei")
        site.tell(reference)
        site.following._fetch = fetch  # type: ignore[method-assign]

    site.following._fetch = fetched  # type: ignore[method-assign]
    site.following.notices()
    assert site.waiting == [reference]
    site.following.notices()
    assert site.waiting == []
    assert [one.signer_name for one in site.signoffs(order)] == ["Rosa", "Osei"]


def test_events_that_were_missed_are_asked_for_and_fetched(site: Followed) -> None:
    """A notice of numbers leads to $events, and what they name is taken; one without an answer is polled."""
    order, reference = site.published()
    site.sign(reference)
    asked: list[tuple[str, Any]] = []

    def operation(subscription: str, name: str, parameters: Any) -> Any:
        asked.append((f"{subscription}/{name}", [one.get("valueString") for one in parameters["parameter"]]))
        event = {
            "name": "notification-event",
            "part": [
                {"name": "event-number", "valueString": "4"},
                {"name": "focus", "valueReference": {"reference": reference}},
            ],
        }
        status = {
            "resourceType": "Parameters",
            "parameter": [{"name": "type", "valueCode": "query-event"}, event],
        }
        return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}

    site.client.operation = operation  # type: ignore[method-assign]
    site.tell(f"Subscription/9{EVENTS}4-4")
    site.tell(f"Subscription/9{EVENTS}5-6")
    site.following.notices()
    assert asked == [
        ("Subscription/9/$events", ["4", "4", None]),
        ("Subscription/9/$events", ["5", "6", None]),
    ]
    assert site.waiting == []
    assert len(site.signoffs(order)) == 1


def test_a_notice_of_a_type_alone_goes_since_what_changed_is_asked_for(site: Followed) -> None:
    """A rest-hook names nothing: the look at what changed in the same round finds it."""
    order, reference = site.published()
    site.sign(reference)
    site.tell("DiagnosticReport")
    site.following.round()
    assert (site.waiting, site.case(order).state) == ([], CaseState.SIGNED)
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(FhirNotice)) == 0


def test_the_first_look_is_where_the_next_one_begins(site: Followed) -> None:
    """Nothing has changed yet: what changes while the server is away is seen all the same."""
    site.following.round()
    with site.database.read() as session:
        assert session.get(Cursor, "fhir-changes:DiagnosticReport") is not None
