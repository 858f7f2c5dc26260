"""A draft offered where its report is opened, and hints from there, with Prelim running."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from connectors.exchange import Order
from connectors.fhir.cast.events import CLOSE, SELECT
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.publish import publish
from connectors.fhir.egress import AIAST
from connectors.sandbox import fhir_radiologist
from connectors.sandbox.cast_hub import CastHub
from connectors.sandbox.fhir import FhirServer
from plugin import translate
from plugin.audit.verify import verify
from plugin.cases import CaseState
from plugin.casework import move
from plugin.casting import ACTOR, HINTED, OFFERED, OPENED, Casting
from plugin.db import Database, now
from plugin.doctor import Finding, examine
from plugin.orders import take_order
from plugin.settings import SettingError, Settings
from plugin.tables import AuditLeaf, Case, DraftRecord, FhirNotice, WorkerLease
from tests.case_samples import Jobs, fresh_url, store_draft
from tests.cast_samples import a_patient, opened
from tests.fhir_samples import raw_put
from tests.site import RADIOLOGIST, embedded, new_order, running, sqlite, study_of, until

TOPIC = "topic-1"
TOKEN = "a-token"


@pytest.fixture
def hub() -> Iterator[CastHub]:
    """The embedded hub."""
    with CastHub(token=TOKEN) as started:
        yield started


@dataclass
class Desk:
    """A case whose draft stands on a FHIR server, and the parts that follow the hub; no watch runs."""

    hub: CastHub
    database: Database
    server: FhirClient
    settings: Settings
    order: Order
    case_id: str
    draft: DraftRecord

    @contextmanager
    def following(self, **settings: Any) -> Iterator[Casting]:
        """Follow the hub as one worker does."""
        casting = Casting(replace(self.settings, **settings), self.database, self.server)
        stopping = threading.Event()
        thread = threading.Thread(target=casting.run, args=(stopping,))
        thread.start()
        try:
            yield casting
        finally:
            stopping.set()
            thread.join(timeout=15)
            assert not thread.is_alive()

    def open(self, identity: str = "", **changes: Any) -> str:
        """Open the draft itself, or another report of the same order; once somebody listens."""
        self.hub.until(lambda: self.hub.listening(TOPIC), "the subscription")
        told = opened(self.order, identity or self.draft.reference.partition("/")[2])
        return self.hub.open(TOPIC, **{**told, **changes})

    def actions(self) -> list[str]:
        """What the log says that FHIRcast did, in order."""
        chosen = sa.select(AuditLeaf.action).where(AuditLeaf.actor == ACTOR).order_by(AuditLeaf.position)
        with self.database.read() as session:
            return list(session.scalars(chosen))

    def notices(self) -> list[tuple[str, str]]:
        """What the watch is told to look at."""
        with self.database.read() as session:
            return [(one.reference, one.source) for one in session.scalars(sa.select(FhirNotice))]

    def comes_to(self, *actions: str) -> None:
        """Wait until the log says exactly this."""
        until(lambda: self.actions() == list(actions), f"{actions}, it is {self.actions()}", 20)

    def settles(self) -> None:
        """Wait until every event sent so far was handled: a last one of ours, handled after them."""
        before = self.actions().count(OPENED)
        self.open()
        until(lambda: self.actions().count(OPENED) > before, "the last event")


@pytest.fixture
def desk(hub: CastHub, tmp_path: Path) -> Iterator[Desk]:
    """A published draft."""
    order = new_order()
    with FhirServer() as fhir, FhirClient(fhir.base_url) as server:
        settings = Settings(
            database_url=fresh_url(tmp_path),
            fhir_url=fhir.base_url,
            fhircast_hub=hub.url,
            fhircast_topics=(TOPIC,),
            fhircast_token=TOKEN,
            retry_seconds=0.05,
            worker_name="one",
            worker_lease_seconds=0.3,
        )
        database = Database(settings.database_url)
        with database.write() as session:
            case = take_order(session, order, Jobs().enqueue, "ris")
            case.draft_number = 1
            move(session, case, CaseState.READY, "test")
            row = store_draft(session, case)
            draft = translate.draft_report(case, row)
        written = publish(server, draft)
        with database.write() as session:
            row = session.merge(row)
            row.reference, row.version, row.url = written.reference, written.version, written.url
            move(session, session.get_one(Case, case.id), CaseState.PUBLISHED, "test")
        yield Desk(hub, database, server, settings, order, case.id, row)
        with database.read() as session:
            assert verify(session).verified
        database.close()
        assert hub.disturbed == []


def test_the_draft_is_offered_where_its_report_is_opened(desk: Desk) -> None:
    """Exactly what stands on the FHIR server: report, findings and Device, labelled and preliminary."""
    with desk.following():
        desk.open()
        desk.comes_to(OPENED, OFFERED)
    content = desk.hub.content(TOPIC)
    report = content.pop(desk.draft.reference)
    assert report == desk.server.read(desk.draft.reference)
    assert report["status"] == "preliminary"
    findings = [result["reference"] for result in report.get("result", [])]
    assert findings
    assert [one for one in content if one not in findings] == [next(o for o in content if o[:6] == "Device")]
    assert all(content[one]["status"] == "preliminary" for one in findings)
    assert desk.notices() == []


def test_the_draft_is_offered_in_another_report_of_the_same_order(desk: Desk) -> None:
    """A RIS has a report of its own: found by accession, study and patient; its own is left as it is."""
    with desk.following():
        desk.open("of-the-ris")
        desk.comes_to(OPENED, OFFERED)
    assert desk.draft.reference in desk.hub.content(TOPIC)
    assert "DiagnosticReport/of-the-ris" not in desk.hub.content(TOPIC)


def test_nothing_is_offered_for_another_patient(desk: Desk) -> None:
    """Nor where none is named, nor in a report that is none of ours; nothing is recorded either."""
    with desk.following():
        desk.open(patient=a_patient("SOMEBODY-ELSE"))
        desk.open(patient=None)
        desk.hub.open(TOPIC, **opened(new_order(), "77"))
        desk.settles()
        desk.comes_to(OPENED, OFFERED)
    assert len(desk.hub.updates) == 1


@pytest.mark.parametrize(
    "state", [CaseState.SUPERSEDED, CaseState.SIGNED, CaseState.HELD, CaseState.CANCELLED]
)
def test_a_draft_that_is_not_live_is_not_offered(desk: Desk, state: CaseState) -> None:
    """Once a human spoke, or the case is held or cancelled; that it was opened is recorded."""
    with desk.database.write() as session:
        move(session, session.get_one(Case, desk.case_id), state, "test")
    with desk.following():
        desk.open()
        desk.comes_to(OPENED)
        desk.settles()
    assert desk.hub.updates == []


@pytest.mark.parametrize("change", ["withdrawn", "a newer draft is due", "shadow"])
def test_a_draft_that_is_withdrawn_or_behind_is_not_offered(desk: Desk, change: str) -> None:
    """Nor anything in shadow mode."""
    with desk.database.write() as session:
        if change == "withdrawn":
            session.get_one(DraftRecord, desk.draft.id).withdrawn_at = now()
        elif change == "a newer draft is due":
            session.get_one(Case, desk.case_id).draft_number = 2
    with desk.following(shadow=change == "shadow"):
        desk.open()
        desk.settles()
    assert desk.hub.updates == []


def test_a_version_that_somebody_touched_is_not_offered(desk: Desk) -> None:
    """It is theirs now: the watch is told to look at it."""
    raw_put(desk.server, {**desk.server.read(desk.draft.reference), "conclusion": "A person's words."})
    with desk.following():
        desk.open()
        desk.comes_to(OPENED, HINTED)
    assert desk.hub.updates == []
    assert desk.notices() == [(desk.draft.reference, ACTOR)]


def test_observations_of_the_draft_are_offered_with_it(desk: Desk) -> None:
    """Those that are drafts of ours; what somebody finalised or wrote, and what lies elsewhere, is not."""

    def observe(**changes: Any) -> str:
        plain = {"resourceType": "Observation", "status": "preliminary", "code": {"text": "Effusion"}}
        answer = httpx.post(
            f"{desk.server.base_url}/Observation",
            json={**plain, **changes},
            headers={"Content-Type": "application/fhir+json"},
            trust_env=False,
        )
        return f"Observation/{answer.raise_for_status().json()['id']}"

    label = {"meta": {"security": [AIAST]}}
    own = observe(**label)
    named = [own, own, observe(), observe(**label, status="final")]
    named += ["https://elsewhere.example/Observation/1", f"{desk.server.base_url}/{own}"]
    report = desk.server.read(desk.draft.reference)
    raw_put(desk.server, {**report, "result": [{"reference": one} for one in named]})
    with desk.database.write() as session:
        row = session.get_one(DraftRecord, desk.draft.id)
        row.version = desk.server.read(desk.draft.reference)["meta"]["versionId"]
    with desk.following():
        desk.open()
        desk.comes_to(OPENED, OFFERED)
    shared = desk.hub.content(TOPIC)
    assert [one for one in shared if one.startswith("Observation/")] == [own]
    assert len(desk.hub.updates[0]["event"]["context"][1]["resource"]["entry"]) == len(shared)


def test_a_stale_version_disturbs_nobody(desk: Desk) -> None:
    """Others share at the same time: the draft comes after them."""
    with desk.following():
        desk.hub.moves = 2
        desk.open()
        desk.comes_to(OPENED, OFFERED)
    assert desk.hub.stale == 2


def test_an_event_that_comes_again_is_recorded_once(desk: Desk) -> None:
    """After a broken connection, and after a restart; at a hub that tells no context as well."""
    desk.hub.tells_context = False
    with desk.following():
        desk.open()
        desk.comes_to(OPENED, OFFERED)
        desk.hub.drop(TOPIC)
        desk.hub.until(lambda: desk.hub.count("connect") == 2, "another connection")
        desk.hub.select(TOPIC)  # handled after the event that came again
        desk.comes_to(OPENED, OFFERED, HINTED)
    assert hinted_by(desk) == [SELECT]
    with desk.following():
        desk.hub.until(lambda: desk.hub.count("connect") == 3, "a third connection")
        desk.hub.close(TOPIC)
        desk.comes_to(OPENED, OFFERED, HINTED, HINTED)
    assert len(desk.hub.updates) == 1


def test_a_final_update_is_a_hint_and_no_signature(desk: Desk) -> None:
    """The watch is told to look at our own FHIR server; the case does not move."""
    with desk.following():
        desk.open()
        desk.comes_to(OPENED, OFFERED)
        desk.hub.update_final(TOPIC)
        desk.comes_to(OPENED, OFFERED, HINTED)
        with desk.database.write() as session:
            noticed = session.get_one(FhirNotice, desk.draft.reference).noticed_at
        desk.hub.update_final(TOPIC)
        desk.settles()
    assert desk.notices() == [(desk.draft.reference, ACTOR)]
    assert desk.actions().count(HINTED) == 1
    with desk.database.read() as session:
        # Who looks at it now must not take the later hint for the one that was looked at.
        assert session.get_one(FhirNotice, desk.draft.reference).noticed_at > noticed
    with desk.database.read() as session:
        assert session.get_one(Case, desk.case_id).state == CaseState.PUBLISHED


def test_a_final_report_of_the_ris_is_looked_at_by_its_own_place(desk: Desk) -> None:
    """Known from its opening, though only its reference comes with the update."""
    with desk.following():
        desk.open("of-the-ris")
        desk.comes_to(OPENED, OFFERED)
        desk.hub.update_final(TOPIC)
        desk.comes_to(OPENED, OFFERED, HINTED)
    assert desk.notices() == [("DiagnosticReport/of-the-ris", ACTOR)]


def hinted_by(desk: Desk) -> list[str]:
    """Which events were hints, and take their notices away as who looked would."""
    chosen = sa.select(AuditLeaf.entry).where(AuditLeaf.action == HINTED).order_by(AuditLeaf.position)
    with desk.database.write() as session:
        session.execute(sa.delete(FhirNotice))
        return [json.loads(entry)["details"]["by"] for entry in session.scalars(chosen)]


def test_closing_is_a_hint_and_the_first_selection_is_one(desk: Desk) -> None:
    """A person selects much while reporting: only the first time in each opening is looked."""
    with desk.following():
        desk.open()
        desk.comes_to(OPENED, OFFERED)
        desk.hub.select(TOPIC)
        desk.comes_to(OPENED, OFFERED, HINTED)
        assert hinted_by(desk) == [SELECT]
        desk.hub.select(TOPIC)
        desk.hub.close(TOPIC)
        until(lambda: desk.actions().count(HINTED) == 2, "the close")
        assert hinted_by(desk) == [SELECT, CLOSE]
        desk.settles()
        desk.hub.select(TOPIC)
        until(lambda: desk.actions().count(HINTED) == 3, "the first selection after another opening")
        assert hinted_by(desk) == [SELECT, CLOSE, SELECT]


def test_a_report_that_nobody_knows_is_dropped(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so without naming it."""
    caplog.set_level("INFO")
    with desk.following():
        desk.hub.until(lambda: desk.hub.listening(TOPIC), "the subscription")
        desk.hub.open(TOPIC, **opened(new_order(), "some-other-place"))
        desk.hub.update_final(TOPIC)
        desk.hub.close(TOPIC)
        desk.settles()
    assert desk.notices() == []
    told = "\n".join(one.getMessage() for one in caplog.records)
    assert told.count("none of ours") == 3
    for secret in ("some-other-place", TOPIC, desk.order.accession, desk.order.patient.identifier):
        assert secret not in told


def test_our_own_draft_come_back_is_no_hint(desk: Desk) -> None:
    """The hub tells everybody what was shared, us included."""
    with desk.following():
        desk.open()
        desk.comes_to(OPENED, OFFERED)
        desk.hub.until(lambda: len(desk.hub.answers) == 2, "the update answered")
        desk.settles()
    assert HINTED not in desk.actions()
    assert desk.notices() == []


def live(desk: Desk, *names: str) -> None:
    """These workers are alive, and no others; one died long ago."""
    with desk.database.write() as session:
        session.execute(sa.delete(WorkerLease))
        session.add(WorkerLease(executor_id="a-dead", seen_at=datetime(2026, 1, 1, tzinfo=UTC)))
        for name in names:
            session.add(WorkerLease(executor_id=name, seen_at=now() + timedelta(hours=1)))


def test_only_one_of_several_workers_follows(desk: Desk) -> None:
    """The live one with the first name; when it is gone the next takes over, and gives its turn back."""
    live(desk, "one", "two")
    with desk.following(worker_name="two"), desk.following(worker_name="one"):
        desk.open()
        desk.comes_to(OPENED, OFFERED)
        assert desk.hub.count("subscribe") == 1
        live(desk, "a-newcomer", "one", "two")
        desk.hub.until(lambda: desk.hub.count("unsubscribe") == 1, "the turn is given up")
        desk.hub.until(lambda: not desk.hub.listening(TOPIC), "nobody follows")
    with desk.following(worker_name="two"):
        live(desk, "two")
        desk.hub.until(lambda: desk.hub.listening(TOPIC), "the next takes its turn")


@pytest.fixture(params=["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.services)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "PostgreSQL":
        return str(request.getfixturevalue("postgres_url"))
    return sqlite(tmp_path)


def test_with_prelim_running_a_draft_is_offered_and_the_signature_noticed(
    hub: CastHub, database_url: str
) -> None:
    """Opened, offered, finalised, looked at: signed by the FHIR server's word, not by the hub's."""
    cast = {"fhircast_hub": hub.url, "fhircast_topics": (TOPIC,), "fhircast_token": TOKEN}
    with embedded() as (peers, _, _), running(peers, database_url, **cast) as site:
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        case = site.comes_to(order, "PUBLISHED")
        reference = site.drafts(case)[0].reference
        hub.open(TOPIC, **opened(order, reference.partition("/")[2]))
        hub.until(lambda: reference in hub.content(TOPIC), "the draft in the open report")
        until(lambda: OFFERED in site.actions(case), "the offer in the log")
        hub.update_final(TOPIC)
        until(lambda: HINTED in site.actions(case), "the hint in the log")
        assert site.comes_to(order, "PUBLISHED").state == "PUBLISHED"
        fhir_radiologist.sign(site.peers.fhir_url, reference, RADIOLOGIST, "Impression\nNormal chest.")
        site.comes_to(order, "SIGNED")
        hub.close(TOPIC)
        (signoff,) = site.signoffs(case)
        assert signoff.channel == "fhir"
    assert hub.disturbed == []
    assert not [one for one in threading.enumerate() if one.name.startswith("prelim-cast")]


# --- settings ---------------------------------------------------------------------------------------


def found(settings: Settings) -> Finding:
    (finding,) = [finding for finding in examine(settings) if finding.name == "FHIRcast hub"]
    return finding


def test_doctor_says_whether_the_hub_takes_subscriptions(hub: CastHub, tmp_path: Path) -> None:
    """Not set, set, without topics, refused, without TLS; a topic is never shown."""
    plain = Settings(database_url=fresh_url(tmp_path), mllp_port=0, http_port=0)
    assert found(plain) == Finding(
        "FHIRcast hub", True, "not set; nothing is offered where reports are opened"
    )
    given = replace(plain, fhircast_hub=hub.url, fhircast_topics=(TOPIC, "topic-2"), fhircast_token=TOKEN)
    assert found(given) == Finding("FHIRcast hub", True, "subscribes to 2 topics")
    assert (hub.count("subscribe"), hub.count("unsubscribe")) == (2, 2)
    for wrong, word in (
        (replace(given, fhircast_topics=()), "PRELIM_FHIRCAST_TOPICS"),
        (replace(given, fhircast_token="wrong"), "401"),
        (replace(given, fhircast_hub="http://hub.example"), "PRELIM_FHIRCAST_HUB"),
    ):
        finding = found(wrong)
        assert not finding.well
        assert word in finding.said
        assert TOPIC not in finding.said


def test_a_worker_with_a_hub_that_cannot_be_followed_does_not_start(hub: CastHub, tmp_path: Path) -> None:
    """One sentence that names the setting."""
    with embedded() as (peers, _, _), pytest.raises(SettingError, match="PRELIM_FHIRCAST_TOPICS"):
        running(peers, sqlite(tmp_path), fhircast_hub=hub.url).__enter__()
