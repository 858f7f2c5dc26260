"""Prelim running beside a FHIR server: orders, studies and signatures come by subscription and by polling."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.exchange import Order, Practitioner, ReportStatus
from connectors.fhir.client import FhirClient
from connectors.fhir.notices.subscriptions import remove, standing
from connectors.fhir.notices.wanted import Wanted
from connectors.sandbox import fhir_radiologist
from connectors.sandbox.fhir import FhirServer
from plugin.audit.verify import verify
from plugin.db import Database, now
from plugin.notices import NAMES
from plugin.subscribing import installation, wanted
from plugin.tables import Case, Cursor
from tests.case_samples import fresh_url
from tests.fhir_followed import patient_resource, request_resource, study_resource
from tests.site import RADIOLOGIST, Peers, Site, embedded, new_order, running, study_of, until

SECRET = "a-secret-of-this-test"
NEVER = 3600.0
"""Seconds between two looks: longer than any test, so that only what is told is looked at."""
COLLEAGUE = Practitioner("R-13", "Osei", "Kwame", "Dr.")
Resource = dict[str, Any]


@pytest.fixture(params=["embedded", pytest.param("real peers", marks=pytest.mark.services)])
def peers(request: pytest.FixtureRequest) -> Iterator[Peers]:
    """The hospital's servers."""
    if request.param == "embedded":
        with embedded() as (peers, _, _):
            yield peers
        return
    names = ("hapi_url", "dicomweb_url", "orthanc_url")
    yield Peers(*(request.getfixturevalue(name) for name in names))


def write(base_url: str, resource: Resource) -> str:
    """What another program writes to the server; where it stands."""
    known = f"/{resource['id']}" if "id" in resource else ""
    answer = httpx.request(
        "PUT" if known else "POST",
        f"{base_url}/{resource['resourceType']}{known}",
        json=resource,
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
        timeout=60,
    )
    return f"{resource['resourceType']}/{answer.raise_for_status().json()['id']}"


def ordered(base_url: str, order: Order, *, with_study: bool = False) -> str:
    """The order on the FHIR server, with its patient; the reference of the ServiceRequest."""
    patient = write(base_url, patient_resource(order.patient))
    if with_study:
        # A count that is not the archive's would be a study that grew, and another draft.
        write(base_url, {**study_resource(order, patient), "numberOfInstances": len(study_of(order))})
    return write(base_url, request_resource(order, patient))


def caught_up(folder: Path) -> str:
    """A database of which the last round on the FHIR server is just over: it is shared, and full of today."""
    url = fresh_url(folder)
    database = Database(url)
    with database.write() as session:
        for kind in NAMES.values():
            session.add(Cursor(name=f"fhir-changes:{kind}", value=now().isoformat()))
    database.close()
    return url


def drafted(site: Site, order: Order) -> tuple[Case, str]:
    """The case of an order that came by HL7, once its draft stands; where the draft stands."""
    site.store(study_of(order))
    assert site.place(order) == "AA"
    case = site.comes_to(order, "PUBLISHED")
    return case, site.drafts(case)[0].reference


@dataclass(frozen=True, slots=True)
class Notified:
    """A site that the FHIR server can call."""

    site: Site
    client: FhirClient

    def all_wanted(self) -> list[Wanted]:
        """Its subscriptions, as they are known on the server."""
        with self.site.database.read() as session:
            name = installation(session)
        return [replace(one, site=name) for one in wanted(self.site.settings)] if name else []

    def stand(self) -> bool:
        """Whether all of them are active."""
        told = [standing(self.client, one) for one in self.all_wanted()]
        return bool(told) and all(one.active for one in told)

    def with_images(self, order: Order) -> Case:
        """The case once its images were looked for, by hand where nothing is polled, and its draft stands."""
        self.site.store(study_of(order))

        def looked() -> bool:
            self.site.service.pipeline.watch.round()
            case = self.site.case(order.accession)
            return case is not None and case.state != "RECEIVED"

        until(looked, "the images are announced")
        return self.site.comes_to(order, "PUBLISHED")


@contextmanager
def notified(peers: Peers, folder: Path, **settings: Any) -> Iterator[Notified]:
    """Run Prelim where the FHIR server reaches it; what it asked for is switched off again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/notify/fhir"
    given = {"http_port": port, "fhir_notify_url": url, "fhir_notify_secret": SECRET, **settings}
    with ExitStack() as stack:
        client = stack.enter_context(FhirClient(peers.fhir_url, timeout_seconds=60))
        site = Notified(stack.enter_context(running(peers, caught_up(folder), **given)), client)
        stack.callback(lambda: [remove(client, one) for one in site.all_wanted()])
        until(site.stand, "every subscription is active", 120)
        yield site


# --- orders and studies ---------------------------------------------------------------------------------


def test_an_order_and_a_study_on_the_fhir_server_lead_to_a_draft_based_on_that_order(
    peers: Peers, tmp_path: Path
) -> None:
    """No HL7 message and no feed of the archive: the report names the ServiceRequest."""
    order = new_order()
    site_peers = replace(peers, changes_url="")
    with running(site_peers, caught_up(tmp_path), fhir_takes=("orders", "studies")) as site:
        site.store(study_of(order))
        request = ordered(peers.fhir_url, order, with_study=True)
        case = site.comes_to(order, "PUBLISHED")
        (report,) = site.reports(case)
        assert [one["reference"] for one in report["basedOn"]] == [request]
        assert report["subject"]["reference"].startswith("Patient/")
        assert len(site.drafts(case)) == 1
        fetched = [one for one in site.messages(order, "in") if one.channel == "fhir"]
        assert {one.message_type for one in fetched} == {"ServiceRequest", "ImagingStudy"}
        with site.database.read() as session:
            assert verify(session).verified


@pytest.mark.parametrize("first", ["HL7", "FHIR"])
def test_the_same_order_by_two_ways_is_one_case_and_one_draft(
    peers: Peers, tmp_path: Path, first: str
) -> None:
    """Whichever comes first, where both say the same."""
    order = new_order()
    with running(peers, caught_up(tmp_path), fhir_takes=("orders",)) as site:
        site.store(study_of(order))
        ways: list[Callable[[], object]] = [
            lambda: site.place(order),
            lambda: ordered(peers.fhir_url, order),
        ]
        for way in ways if first == "HL7" else reversed(ways):
            way()
            site.comes_to(order, "PUBLISHED")
        case = site.comes_to(order, "PUBLISHED")
        both = until(lambda: len(site.messages(order, "in")) == 2, "the order by both ways")
        assert both
        assert site.comes_to(order, "PUBLISHED").draft_number == 1
        assert len(site.reports(case)) == 1


# --- signatures -----------------------------------------------------------------------------------------


def test_a_report_that_names_only_its_order_signs_the_case(peers: Peers, tmp_path: Path) -> None:
    """No accession number and none of our identifiers: it is found by the order that it is based on."""
    order = new_order()
    with running(peers, caught_up(tmp_path), fhir_takes=("orders",)) as site:
        site.store(study_of(order))
        request = ordered(peers.fhir_url, order)
        case = site.comes_to(order, "PUBLISHED")
        ours = site.drafts(case)[0].reference
        with FhirClient(peers.fhir_url, timeout_seconds=60) as client:
            draft = client.read(ours)
        doctor = write(
            peers.fhir_url,
            {"resourceType": "Practitioner", "name": [{"family": "Osei"}], "identifier": [{"value": "R-13"}]},
        )
        report = {
            "resourceType": "DiagnosticReport",
            "identifier": [{"system": "urn:ris:report", "value": f"R{order.accession}"}],
            "status": "final",
            "category": draft["category"],
            "code": draft["code"],
            "subject": draft["subject"],
            "basedOn": [{"reference": request}],
            "resultsInterpreter": [{"reference": doctor}],
            "conclusion": "Normal chest.",
        }
        theirs = write(peers.fhir_url, report)
        site.comes_to(order, "SIGNED")
        (signoff,) = site.signoffs(case)
        assert signoff.source == f"{peers.fhir_url}/{theirs}"


def test_each_evidence_counts_once_when_every_channel_brings_the_signature(
    peers: Peers, tmp_path: Path
) -> None:
    """Notification, polling, open drafts and ORU at once: one sign-off by resource, one by message."""
    order = new_order()
    with notified(peers, tmp_path) as told:
        site = told.site
        case, reference = drafted(site, order)
        words = "Impression\nNormal chest."
        with ThreadPoolExecutor(2) as both:
            fhir = both.submit(fhir_radiologist.sign, peers.fhir_url, reference, RADIOLOGIST, words)
            message = both.submit(site.sign, order, words)
            fhir.result()
            message.result()
        site.comes_to(order, "SIGNED")
        until(lambda: len(site.signoffs(case)) == 2, "the signature by both channels")
        # Whatever else is told of the same version changes nothing.
        following = site.service.pipeline.following
        assert following is not None
        following.round()
        assert sorted(one.channel for one in site.signoffs(case)) == ["fhir", "hl7-oru"]
        assert site.comes_to(order, "SIGNED")


def test_an_addendum_after_the_signature_is_a_further_sign_off(peers: Peers, tmp_path: Path) -> None:
    """The case is signed; a later version by another person is kept with what it changed."""
    order = new_order()
    with running(peers, caught_up(tmp_path)) as site:
        case, reference = drafted(site, order)
        fhir_radiologist.sign(peers.fhir_url, reference, RADIOLOGIST, "Impression\nNormal chest.")
        site.comes_to(order, "SIGNED")
        fhir_radiologist.sign(
            peers.fhir_url,
            reference,
            COLLEAGUE,
            "Impression\nNormal chest. Addendum: an old rib fracture.",
            status=ReportStatus.APPENDED,
        )
        until(lambda: len(site.signoffs(case)) == 2, "the addendum")
        first, second = site.signoffs(case)
        assert (first.status, second.status) == ("final", "appended")
        assert second.signer_name == COLLEAGUE.printed_name
        assert second.since_previous


# --- subscriptions --------------------------------------------------------------------------------------


def test_a_signature_is_told_by_a_rest_hook(peers: Peers, tmp_path: Path) -> None:
    """Nothing is polled in this test: only the notification has Prelim look."""
    order = new_order()
    with notified(peers, tmp_path, poll_seconds=NEVER) as told:
        assert told.site.place(order) == "AA"
        case = told.with_images(order)
        reference = told.site.drafts(case)[0].reference
        fhir_radiologist.sign(peers.fhir_url, reference, RADIOLOGIST, "Impression\nNormal chest.")
        told.site.comes_to(order, "SIGNED", seconds=45)
        assert standing(told.client, told.all_wanted()[0]).reference.startswith("Subscription/")


@pytest.fixture
def hospital() -> Iterator[tuple[Peers, FhirServer]]:
    """The embedded hospital, with the FHIR server at hand."""
    with embedded() as (peers, _, fhir):
        yield peers, fhir


def test_a_lost_notification_of_a_topic_is_asked_for(
    hospital: tuple[Peers, FhirServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signature's own notification never comes; a heartbeat shows the gap, and $events fills it."""
    peers, fhir = hospital
    order = new_order()
    asked: list[tuple[str, str]] = []
    answer = fhir.subscriptions.answer_events

    def answered(identity: str, since: str, until_: str) -> Resource:
        asked.append((since, until_))
        return answer(identity, since, until_)

    monkeypatch.setattr(fhir.subscriptions, "answer_events", answered)
    with notified(peers, tmp_path, poll_seconds=NEVER, fhir_subscribe="topic") as told:
        assert told.site.place(order) == "AA"
        case = told.with_images(order)
        fhir.subscriptions.settle()
        fhir.subscriptions.drop_next()
        reference = told.site.drafts(case)[0].reference
        fhir_radiologist.sign(peers.fhir_url, reference, RADIOLOGIST, "Impression\nNormal chest.")
        fhir.subscriptions.settle()
        assert told.site.comes_to(order, "PUBLISHED")
        identity = standing(told.client, told.all_wanted()[0]).reference.partition("/")[2]
        fhir.subscriptions.heartbeat(identity)
        told.site.comes_to(order, "SIGNED", seconds=45)
        assert asked == [("2", "2")]


def test_an_order_is_told_by_a_topic(hospital: tuple[Peers, FhirServer], tmp_path: Path) -> None:
    """Its event names the ServiceRequest, which is fetched by our own base URL."""
    peers, _ = hospital
    order = new_order()
    settings: dict[str, Any] = {"fhir_subscribe": "topic", "fhir_takes": ("orders",), "poll_seconds": NEVER}
    with notified(peers, tmp_path, **settings) as told:
        ordered(peers.fhir_url, order)
        told.site.comes_to(order, "RECEIVED")
        told.with_images(order)


def test_a_call_without_the_secret_has_nothing_looked_at(
    hospital: tuple[Peers, FhirServer], tmp_path: Path
) -> None:
    """Over the network as in the tests of the endpoint alone."""
    peers, _ = hospital
    with notified(peers, tmp_path) as told:
        url = f"{told.site.settings.fhir_notify_url}/reports"
        answers = [
            httpx.post(url, headers=headers, trust_env=False).status_code
            for headers in ({}, {"Authorization": f"Bearer {SECRET}"})
        ]
        assert answers == [401, 200]
