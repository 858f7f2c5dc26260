"""What is found on a FHIR server is not lost when a part of it, or our own database, fails meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from connectors.errors import Unreachable
from connectors.exchange import ReportStatus
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.report import RADIOLOGY
from connectors.fhir.identifiers import IDENTIFIER_TYPE, IdentifierSystems
from connectors.fhir.retrying import ONE_ATTEMPT
from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.fhir_radiologist import signed_version
from plugin.cases import CaseState
from plugin.casework import find_case
from plugin.db import Database
from plugin.following import FAILURES, Following
from plugin.intake import Intake
from plugin.notices import notice
from plugin.orders import take_order, take_study
from plugin.publishing import Publishing
from plugin.settings import Settings
from plugin.tables import AuditLeaf, FhirNotice, Message, SignOff
from tests.case_samples import (
    OTHER_UID,
    Jobs,
    a_study,
    an_order,
    fresh_database,
    state_of,
    store_draft,
)

SYSTEMS = IdentifierSystems()
RAD = [{"coding": [{"system": RADIOLOGY["system"], "code": "RAD"}]}]


class Hospital(httpx.BaseTransport):
    """One case whose draft stands on a server of which some answers fail; called without a socket."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.jobs = Jobs()
        self.server = FhirServer(port=8080)
        self.store = self.server.store
        self._wsgi = httpx.WSGITransport(app=self.server.application)  # type: ignore[arg-type]
        self.fails: Callable[[httpx.Request], bool] = lambda request: False
        self.client = FhirClient(self.server.base_url, transport=self, patience=ONE_ATTEMPT)
        self.settings = Settings(fhir_url=self.server.base_url, fhir_takes=("orders",))
        self.intake = Intake(database, self.jobs.enqueue)
        self.following = Following(self.settings, database, self.intake, self.client, SYSTEMS)
        self.reference = self.published("ACC1")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return httpx.Response(500) if self.fails(request) else self._wsgi.handle_request(request)

    def published(self, accession: str, **changes: Any) -> str:
        """Where the draft of a new case stands."""
        with self.database.write() as session:
            take_study(session, a_study(accession, **changes), self.jobs.enqueue, "archive")
            case = take_order(session, an_order(accession, **changes), self.jobs.enqueue, "hl7:RIS")
            store_draft(session, case)
            case_id = case.id
        doing = Publishing(self.settings, self.database, self.jobs.enqueue, self.client, SYSTEMS)
        doing.publish(case_id, 1, 0)
        assert state_of(self.database, accession) is CaseState.PUBLISHED
        return str(max(self._reports(), key=lambda one: int(one.rpartition("/")[2])))

    def sign(self, reference: str) -> None:
        """A person signs in place."""
        kind, _, identity = reference.partition("/")
        draft = self.store.read(kind, identity).resource or {}
        signed = signed_version(draft, "Findings: Seen.", status=ReportStatus.FINAL)
        signed["resultsInterpreter"] = [{"type": "Practitioner", "display": "Dr. Elena Rosa"}]
        self.store.update(kind, identity, signed)

    def strip(self, reference: str) -> None:
        """A person signs in place and takes out every identifier."""
        kind, _, identity = reference.partition("/")
        draft = dict(self.store.read(kind, identity).resource or {})
        draft.pop("identifier")
        signed = signed_version(draft, "Findings: Seen.", status=ReportStatus.FINAL)
        signed["resultsInterpreter"] = [{"type": "Practitioner", "display": "Dr. Elena Rosa"}]
        self.store.update(kind, identity, signed)

    def report(self, *accessions: str) -> str:
        """A person writes a report of their own."""
        own: dict[str, Any] = {
            "resourceType": "DiagnosticReport",
            "identifier": [
                {
                    "type": {"coding": [{"system": IDENTIFIER_TYPE, "code": "ACSN"}]},
                    "system": "urn:ris",
                    "value": accession,
                }
                for accession in accessions
            ],
            "category": RAD,
            "code": {"text": "CT Chest"},
            "subject": {"identifier": {"system": "urn:prelim:patient:HOSP", "value": "PAT-1"}},
        }
        signed = signed_version(own, "Findings: Seen.", status=ReportStatus.FINAL)
        signed["resultsInterpreter"] = [{"type": "Practitioner", "display": "Dr. Elena Rosa"}]
        return f"DiagnosticReport/{self.store.create(signed)[0].id}"

    def order(self, accession: str) -> str:
        """An order is placed on the FHIR server."""
        patient = {"system": "urn:prelim:patient:HOSP", "value": "PAT-1"}
        order = {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "code": {"text": "CT Chest"},
            "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "363679005"}]}],
            "subject": {"identifier": patient},
            "identifier": [
                {
                    "type": {"coding": [{"system": IDENTIFIER_TYPE, "code": "ACSN"}]},
                    "value": accession,
                }
            ],
        }
        return f"ServiceRequest/{self.store.create(order)[0].id}"

    def known(self, accession: str) -> bool:
        """Whether there is a case of an accession."""
        with self.database.read() as session:
            return find_case(session, accession) is not None

    def waiting(self) -> list[str]:
        """What waits to be looked at, longest first."""
        with self.database.read() as session:
            return list(session.scalars(sa.select(FhirNotice.reference).order_by(FhirNotice.noticed_at)))

    def tell(self, *references: str) -> None:
        """The server tells of resources."""
        for reference in references:
            with self.database.write() as session:
                notice(session, reference, "fhir-notification")

    def signed(self) -> int:
        """How many signatures are known."""
        with self.database.read() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(SignOff)) or 0

    def _reports(self) -> list[str]:
        return [f"{kind}/{one}" for kind, one in self.store._versions if kind == "DiagnosticReport"]


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    with fresh_database(tmp_path) as database:
        yield Hospital(database)


def about(*references: str) -> Callable[[httpx.Request], bool]:
    """Requests that read one of these resources."""
    return lambda request: any(f"{request.url.path}/".find(f"/{reference}/") > 0 for reference in references)


def test_one_look_that_the_server_cannot_answer_keeps_no_signature_from_us(hospital: Hospital) -> None:
    """Servers exist that answer 500 to what they do not know: the other looks follow all the same."""
    hospital.fails = lambda request: b"category" in request.content
    hospital.sign(hospital.reference)
    with pytest.raises(Unreachable):
        hospital.following.round()
    assert state_of(hospital.database) is CaseState.SIGNED


def test_one_notice_that_the_server_cannot_answer_keeps_none_behind_it(hospital: Hospital) -> None:
    """It waits, behind those that are told of later."""
    hospital.tell("ServiceRequest/77", hospital.reference)
    hospital.fails = about("ServiceRequest/77")
    hospital.sign(hospital.reference)
    hospital.following.notices()
    assert state_of(hospital.database) is CaseState.SIGNED
    assert hospital.waiting() == ["ServiceRequest/77"]


@pytest.mark.parametrize(("count", "away"), [(FAILURES - 1, False), (FAILURES, True)])
def test_several_notices_in_a_row_that_fail_say_that_the_server_is_away(
    hospital: Hospital, count: int, away: bool
) -> None:
    """One short of FAILURES and the next is looked at; with FAILURES it is not asked for more."""
    told = [f"ServiceRequest/{number}" for number in range(90, 90 + count)]
    hospital.tell(*told, hospital.reference)
    hospital.fails = about(*told)
    hospital.sign(hospital.reference)
    if away:
        with pytest.raises(Unreachable):
            hospital.following.notices()
    else:
        hospital.following.notices()
    assert (state_of(hospital.database) is CaseState.SIGNED) is not away
    assert set(told) <= set(hospital.waiting())


def test_an_order_that_cannot_be_fetched_now_waits_and_the_next_one_is_taken(hospital: Hospital) -> None:
    """What changed is asked for once: what of it could not be fetched becomes a notice of its own."""
    first, _ = hospital.order("ACC7"), hospital.order("ACC8")
    hospital.fails = about(first)
    hospital.following.changes("ServiceRequest", {})
    assert (hospital.known("ACC7"), hospital.known("ACC8")) == (False, True)
    assert hospital.waiting() == [first]
    hospital.fails = lambda request: False
    hospital.following.notices()
    assert hospital.known("ACC7")


def test_an_order_that_our_database_could_not_store_is_asked_for_again(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sends a resource again, so where we have come to must not move past it."""
    hospital.order("ACC7")

    def full(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))

    with monkeypatch.context() as broken:
        broken.setattr("plugin.taking.take_order", full)
        with pytest.raises(sa.exc.OperationalError):
            hospital.following.changes("ServiceRequest", {})
    hospital.following.changes("ServiceRequest", {})
    assert hospital.known("ACC7")


def test_a_signature_beside_an_open_draft_that_could_not_be_stored_is_looked_at_again(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The looks begin anew with all of the cases, whatever had its turn."""
    hospital.following.open_drafts()
    hospital.sign(hospital.reference)

    def full(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))

    with monkeypatch.context() as broken:
        broken.setattr("plugin.taking.take_report", full)
        with pytest.raises(sa.exc.OperationalError):
            hospital.following.open_drafts()
    hospital.following.open_drafts()
    assert state_of(hospital.database) is CaseState.SIGNED


def test_a_draft_that_may_not_be_read_hides_no_other_case(hospital: Hospital) -> None:
    """A draft that no search shows and no read gives is passed over: the next cases have their turn."""
    other = hospital.published("ACC2", study_instance_uid=OTHER_UID)
    identity = hospital.reference.partition("/")[2]
    shown = hospital.store.search

    def hidden(kind: str, *arguments: Any, **named: Any) -> Any:
        return [one for one in shown(kind, *arguments, **named) if one.id != identity]

    hospital.store.search = hidden  # type: ignore[method-assign]
    hospital.fails = about(hospital.reference)
    hospital.sign(other)
    hospital.following.open_drafts()
    assert state_of(hospital.database, "ACC2") is CaseState.SIGNED


@pytest.mark.parametrize("state", [CaseState.RECEIVED, CaseState.FAILED])
def test_a_report_that_was_there_before_its_order_is_found(hospital: Hospital, state: CaseState) -> None:
    """It was none of our business when it changed; the order is not drafted, and nobody else asks."""
    hospital.report("ACC9")
    hospital.following.changes("DiagnosticReport", {})
    with hospital.database.write() as session:
        case = take_order(
            session, an_order("ACC9", study_instance_uid=OTHER_UID), hospital.jobs.enqueue, "hl7:RIS"
        )
        case.state = state.value
    hospital.following.open_drafts()
    assert state_of(hospital.database, "ACC9") is CaseState.SIGNED


def test_a_server_that_counts_no_versions_shows_signatures_all_the_same(hospital: Hospital) -> None:
    """Only the words tell ours from a person's then; what was taken is taken once and logged once."""
    hospital.sign(hospital.reference)
    plain = hospital._wsgi

    class Unversioned(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if "_history" in request.url.path:
                return httpx.Response(404)
            content = b"".join(plain.handle_request(request).stream)  # type: ignore[arg-type]
            for number in range(1, 4):
                content = content.replace(f'"versionId": "{number}"'.encode(), b'"source": "x"')
                content = content.replace(f'"versionId":"{number}"'.encode(), b'"source":"x"')
            return httpx.Response(200, content=content)

    hospital._wsgi = Unversioned()  # type: ignore[assignment]
    with hospital.database.write() as session:
        session.execute(sa.text("UPDATE drafts SET version = ''"))
    for _ in range(3):
        hospital.following.open_drafts()
    assert state_of(hospital.database) is CaseState.SIGNED
    assert hospital.signed() == 1
    with hospital.database.read() as session:
        repeated = sa.select(AuditLeaf).where(AuditLeaf.action == "message.repeated")
        assert not session.scalars(repeated).all()
        assert len(session.scalars(sa.select(Message)).all()) == 1


def test_a_signature_in_place_without_any_identifier_still_signs(hospital: Hospital) -> None:
    """Some RIS keep none of our identifiers: the place is that of our draft."""
    hospital.strip(hospital.reference)
    hospital.following.round()
    assert state_of(hospital.database) is CaseState.SIGNED


def test_the_case_says_so_where_a_report_in_its_place_names_nothing_and_is_refused(
    hospital: Hospital,
) -> None:
    """No sender is told, so somebody must see it at the case that the report was fetched for."""
    kind, _, identity = hospital.reference.partition("/")
    draft = dict(hospital.store.read(kind, identity).resource or {})
    draft.pop("identifier")
    draft["subject"] = {"identifier": {"system": "urn:prelim:patient:HOSP", "value": "PAT-2"}}
    hospital.store.update(kind, identity, {**draft, "status": "final", "conclusion": "Theirs."})
    hospital.following.round()
    with hospital.database.read() as session:
        case = find_case(session, "ACC1")
    assert case is not None
    assert "could not be taken" in case.reason


def test_one_report_of_two_orders_signs_both(hospital: Hospital) -> None:
    """Dictated once for two accession numbers: neither draft stays open beside it."""
    hospital.published("ACC2", study_instance_uid=OTHER_UID)
    hospital.report("ACC1", "ACC2")
    hospital.following.round()
    states = {state_of(hospital.database, accession) for accession in ("ACC1", "ACC2")}
    assert states == {CaseState.SIGNED}
