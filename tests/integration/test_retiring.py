"""A human's report retires our draft beside it: the same rules for the sandbox and for HAPI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from connectors.exchange import OrderAction, PatientMerge, ReportStatus, WithdrawalStatus
from connectors.fhir.drafts.withdrawn import withdrawn_report
from connectors.sandbox.fhir_faults import FaultyTransport
from connectors.sandbox.fhir_radiologist import sign
from plugin.cases import CaseState
from plugin.casework import Job, move
from plugin.orders import take_order
from plugin.patients import take_merge
from plugin.publishing import Publishing
from plugin.settings import Settings
from plugin.tables import Case, DraftRecord
from tests.case_samples import ROSA, fresh_database, holds, store_draft
from tests.fhir_room import DELAY, SYSTEMS, Room
from tests.fhir_samples import Meddling, raw_put, whole_fhir_url  # noqa: F401 - a fixture


def from_then_on(method: str, ending: str) -> Callable[[httpx.Request], bool]:
    """Picks the first request of a method whose path ends so, and all that follow: the network is gone."""
    gone = [False]

    def picks(request: httpx.Request) -> bool:
        gone[0] = gone[0] or (request.method == method and request.url.path.rstrip("/").endswith(ending))
        return gone[0]

    return picks


@pytest.fixture
def room(tmp_path: Path, whole_fhir_url: str) -> Iterator[Room]:  # noqa: F811 - the fixture
    with fresh_database(tmp_path) as database:
        room = Room(database, whole_fhir_url)
        with room.server:
            yield room
            assert holds(database)


@pytest.mark.parametrize("status", [ReportStatus.FINAL, ReportStatus.PRELIMINARY])
def test_a_draft_beside_a_humans_report_is_cancelled_and_kept(room: Room, status: ReportStatus) -> None:
    """Its words stay in their version; the case keeps the human's word, and the log says what was done."""
    room.publish()
    room.report(status)
    before = room.case.reason
    assert room.retire() == []
    assert room.stands() == ("cancelled", "2")
    assert room.draft.withdrawn_at is not None
    assert room.case.reason == before
    assert room.details("draft.withdrawn")["reason"] == "A radiologist's report is there."


def test_it_is_put_off_so_that_the_ris_is_not_disturbed(room: Room) -> None:
    """The first attempt writes nothing: a RIS that holds our version's number may still write over it."""
    room.publish()
    room.report()
    assert room.do("retire") == [Job("retire", room.case_id, 1, 1, DELAY)]
    assert room.stands() == ("preliminary", "1")


def test_a_humans_version_over_ours_is_never_touched(room: Room) -> None:
    """It is the report that we wished for: nothing is written, nothing has failed, the log says so."""
    room.publish()
    room.report()
    room.do("retire")
    sign(room.server.base_url, room.draft.reference, ROSA, "Theirs.")
    before = room.case.reason
    assert room.do("retire") == []
    assert room.stands() == ("final", "2")
    assert "draft.replaced" in room.actions
    assert (room.case.reason, room.draft.withdrawn_at) == (before, None)


def test_a_human_who_writes_between_our_read_and_our_write_wins(room: Room) -> None:
    """The server refuses ours; the look that follows finds theirs and leaves it."""
    room.publish()
    room.report()
    reference = room.draft.reference
    meddling = Meddling(before=lambda: sign(room.server.base_url, reference, ROSA, "Theirs."))
    with room.through(meddling) as server:
        assert room.retire(server) == []
    assert room.stands() == ("final", "2")
    assert room.actions[-1] == "draft.replaced"


def test_a_draft_that_is_gone_is_said_to_be(room: Room) -> None:
    """Somebody deleted it: nothing stands, which is what was wanted."""
    room.publish()
    room.report()
    reference = room.draft.reference
    for resource in room.server.search("Provenance", {"target": reference}):
        httpx.delete(f"{room.server.base_url}/Provenance/{resource['id']}", trust_env=False)
    httpx.delete(f"{room.server.base_url}/{reference}", trust_env=False).raise_for_status()
    before = room.case.reason
    assert room.retire() == []
    assert room.actions[-1] == "draft.gone"
    assert room.case.reason == before


def test_a_draft_whose_answer_was_lost_is_found_and_retired(room: Room) -> None:
    """The server has it, we do not know where: no draft of ours is left alive beside the human's report."""
    with room.through(FaultyTransport(from_then_on("POST", "/fhir"))) as server:
        room.publish(server)
    assert room.draft.reference == ""
    room.report()
    assert room.retire() == []
    assert room.stands()[0] == "cancelled"
    (found,) = room.ours()
    assert (room.draft.reference, room.draft.withdrawn_at is None) == (
        f"DiagnosticReport/{found['id']}",
        False,
    )


def test_a_twin_that_was_cancelled_hides_no_draft_whose_answer_was_lost(room: Room) -> None:
    """Of two that were written in one moment the later is retired already: the first one is meant."""
    room.publish()
    (live,) = room.ours()
    twin = withdrawn_report(
        live, WithdrawalStatus.CANCELLED, "it was written twice", systems=SYSTEMS, at=datetime.now(UTC)
    )
    httpx.post(
        f"{room.server.base_url}/DiagnosticReport",
        json={name: value for name, value in twin.items() if name != "id"},
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
    ).raise_for_status()
    with room.database.write() as session:
        row = session.get_one(DraftRecord, room.draft.id)
        row.reference, row.version, row.url = "", "", ""
    room.report()
    assert room.retire() == []
    assert room.draft.reference == f"DiagnosticReport/{live['id']}"
    assert {report["status"] for report in room.ours()} == {"cancelled"}


def test_a_cancelled_order_takes_back_a_draft_whose_answer_was_lost(room: Room) -> None:
    """The same look, for the same reason."""
    with room.through(FaultyTransport(from_then_on("POST", "/fhir"))) as server:
        room.publish(server)
    with room.database.write() as session:
        cancelled = replace(room.order, action=OrderAction.CANCEL)
        take_order(session, cancelled, room.jobs.enqueue, "hl7:RIS")
    assert room.do("withdraw") == []
    assert room.stands()[0] == "cancelled"
    assert room.case.reason == "The order was cancelled. Its draft was withdrawn."


def test_a_draft_written_while_the_human_signed_is_retired(room: Room) -> None:
    """The report came while our write was under way, and nothing stood yet when it was first looked for."""

    def report() -> None:
        room.report()
        room.retire()

    with room.through(Meddling(before=report)) as server:
        room.publish(server)
    assert "draft.written-late" in room.actions
    assert room.case.state == CaseState.SIGNED
    assert room.retire() == []
    assert room.stands()[0] == "cancelled"


def test_a_draft_written_while_the_order_was_cancelled_is_withdrawn(room: Room) -> None:
    """Written late under a cancelled order: the job that was asked for before is asked for again."""

    def cancel() -> None:
        with room.database.write() as session:
            cancelled = replace(room.order, action=OrderAction.CANCEL)
            take_order(session, cancelled, room.jobs.enqueue, "hl7:RIS")
        room.do("withdraw")

    with room.through(Meddling(before=cancel)) as server:
        room.publish(server)
    room.do("withdraw")
    assert room.stands()[0] == "cancelled"


def test_an_earlier_draft_is_retired_where_a_later_one_was_withheld(room: Room) -> None:
    """A final report of the accession stopped the second draft; the first must not stay beside it."""
    room.publish()
    reference = room.draft.reference
    with room.database.write() as session:
        changed = replace(room.order, action=OrderAction.CHANGE, history="Smoker.")
        case = take_order(session, changed, room.jobs.enqueue, "hl7:RIS")
        store_draft(session, case)
    sign(room.server.base_url, reference, None, "Final, by nobody.", as_new_report=True)
    doing = Publishing(Settings(), room.database, room.jobs.enqueue, room.server, SYSTEMS)
    doing.publish(room.case_id, 2, 0)
    assert room.case.state == CaseState.WITHHELD
    assert room.retire() == []
    assert room.stands()[0] == "cancelled"


def test_a_patient_merged_away_after_the_signature_leaves_ours_retired(room: Room) -> None:
    """The case follows the patient and is not drafted again; what stood under the old one is withdrawn."""
    room.publish()
    room.report()
    survivor = replace(room.order.patient, identifier=f"{room.order.patient.identifier}-NEW")
    merge = PatientMerge(survivor, room.order.patient.identifier, room.order.patient.assigning_authority)
    with room.database.write() as session:
        take_merge(session, merge, room.jobs.enqueue, "hl7:ADT", 1)
    assert room.case.patient_identifier == survivor.identifier
    assert room.retire() == []
    assert room.stands() == ("cancelled", "2")


def test_a_server_that_does_not_answer_is_asked_again_and_the_case_keeps_its_reason(room: Room) -> None:
    """A signed case waits for nothing that a reader would have to know of."""
    room.publish()
    room.report()
    before = room.case.reason
    with room.through(FaultyTransport(from_then_on("POST", "/fhir"))) as server:
        (again,) = room.retire(server)
    assert (again.kind, again.attempt) == ("retire", 2)
    assert (room.case.reason, room.case.state) == (before, "SIGNED")
    assert room.do("retire") == []
    assert room.stands() == ("cancelled", "2")


def test_a_draft_that_cannot_be_retired_is_said_on_the_case(room: Room) -> None:
    """A server that refuses leaves a draft alive beside a human's report: a person must see it."""
    room.publish()
    room.report()

    def refuse(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith("/fhir"):
            return httpx.Response(403)
        with httpx.HTTPTransport() as real:
            answer = real.handle_request(request)
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.read())

    with room.through(httpx.MockTransport(refuse)) as server:
        assert room.retire(server) == []
    assert room.actions[-1] == "draft.not-withdrawn"
    assert room.case.reason.startswith("Final report, signed by Dr. Elena Rosa. Our draft still stands")


@pytest.mark.parametrize("state", [CaseState.PUBLISHED, CaseState.CANCELLED, CaseState.HELD])
def test_without_a_humans_report_nothing_is_retired(room: Room, state: CaseState) -> None:
    """The job is due only while the human's word stands."""
    room.publish()
    if state is not CaseState.PUBLISHED:
        with room.database.write() as session:
            move(session, session.get_one(Case, room.case_id), state, "somebody")
    room.jobs.asked[:] = [Job("retire", room.case_id, 1, 1)]
    assert room.do("retire") == []
    assert room.stands() == ("preliminary", "1")


def test_in_shadow_mode_nothing_is_retired(room: Room) -> None:
    """Nothing is sent, not even this."""
    room.publish()
    room.report()
    room.jobs.asked[:] = [Job("retire", room.case_id, 1, 1)]
    assert room.do("retire", shadow=True) == []
    assert room.stands() == ("preliminary", "1")
