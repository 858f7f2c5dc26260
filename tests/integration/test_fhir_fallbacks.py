"""Publishing to a server that can do less: what is done instead, and what is not done at all."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from connectors.errors import Conflict, Rejected, Unreachable
from connectors.exchange import DraftReport, PublishedReport, WithdrawalStatus
from connectors.fhir.capabilities import Capabilities, of
from connectors.fhir.client import FhirClient, Stored
from connectors.fhir.drafts import publish as drafts
from connectors.fhir.drafts.findings import findings_of
from connectors.fhir.drafts.publish import HumanVersion, NotKept, publish
from connectors.fhir.drafts.withdrawal import withdraw
from connectors.fhir.drafts.writing import Written
from connectors.fhir.identifiers import IdentifierSystems, token
from connectors.fhir.retrying import ONE_ATTEMPT
from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.fhir_faults import FaultyTransport
from connectors.sandbox.fhir_radiologist import sign
from connectors.sandbox.fhir_statement import Lack
from tests.fhir_findings import FINDINGS
from tests.fhir_samples import ROSA, a_draft, fhir_url, redone  # noqa: F401 - a fixture

SYSTEMS = IdentifierSystems()
LACKS = [
    frozenset({Lack.TRANSACTIONS}),
    frozenset({Lack.CONDITIONAL_CREATE}),
    frozenset({Lack.TRANSACTIONS, Lack.CONDITIONAL_CREATE}),
]


def named(lacks: frozenset[Lack]) -> str:
    return " and ".join(sorted(lacks))


def capabilities_of(client: FhirClient) -> Capabilities:
    return of(client.capabilities())


def reports_of(client: FhirClient, draft: DraftReport) -> list[dict[str, object]]:
    return client.search("DiagnosticReport", {"identifier": token(SYSTEMS.report, draft.case_id)})


def cancel(client: FhirClient, draft: DraftReport, known: PublishedReport) -> PublishedReport:
    able = capabilities_of(client)
    return withdraw(
        client, draft.case_id, known, WithdrawalStatus.CANCELLED, "the order is gone", capabilities=able
    )


class Counting(httpx.HTTPTransport):
    """Notes the method and path of every request."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.method, request.url.path.partition("/fhir")[2]))
        return super().handle_request(request)


def test_first_draft_is_one_look_and_one_round_trip(fhir_url: str) -> None:  # noqa: F811
    """Everything is written and read back by one transaction, after one search; a newer draft likewise."""
    counting = Counting()
    with FhirClient(fhir_url, transport=counting, timeout_seconds=60) as client:
        able = capabilities_of(client)
        counting.seen.clear()
        known = publish(client, a_draft(), capabilities=able)
        assert counting.seen == [("POST", "/DiagnosticReport/_search"), ("POST", "")]
        assert known.version


def test_newer_draft_is_one_look_and_one_round_trip() -> None:
    """Where versions are counted, a replacement needs no more than a first draft."""
    counting = Counting()
    with FhirServer() as server, FhirClient(server.base_url, transport=counting) as client:
        draft = a_draft()
        known = publish(client, draft)
        counting.seen.clear()
        publish(client, redone(draft), known=known)
        assert counting.seen == [("POST", "/DiagnosticReport/_search"), ("POST", "")]


@pytest.mark.parametrize("lacks", LACKS, ids=named)
def test_draft_newer_draft_and_withdrawal_stand_without(lacks: frozenset[Lack]) -> None:
    """A first draft, a later one and its withdrawal: one report, three versions, a Provenance of each."""
    with FhirServer(lacks=lacks) as server, FhirClient(server.base_url) as client:
        able, draft = capabilities_of(client), a_draft()
        known = publish(client, draft, capabilities=able)
        assert publish(client, draft, capabilities=able) == known
        again = publish(client, redone(draft), known=known, capabilities=able)
        assert client.read(again.reference)["conclusion"] == "A small left effusion."
        gone = cancel(client, draft, again)
        assert client.read(gone.reference)["status"] == "cancelled"
        assert len(reports_of(client, draft)) == 1
        assert len(client.history(known.reference)) == 3
        assert len(client.search("Provenance", {"target": known.reference})) == 3
        report = client.read(known.reference)
        assert (
            client.read(report["subject"]["reference"])["identifier"][0]["value"] in draft.patient.identifier
        )


@pytest.mark.parametrize("lacks", LACKS, ids=named)
def test_write_that_stops_anywhere_is_completed_by_a_repeat(lacks: frozenset[Lack]) -> None:
    """The line is cut after each request in turn: the repeat writes what is missing, and nothing twice."""
    for cut in range(1, 30):
        with FhirServer(lacks=lacks) as server:
            with FhirClient(server.base_url) as client:
                able = capabilities_of(client)
            draft, left = a_draft(), [cut]

            def dead(_: httpx.Request, left: list[int] = left) -> bool:
                left[0] -= 1
                return left[0] < 0

            with FhirClient(server.base_url, transport=FaultyTransport(dead)) as client:
                try:
                    publish(client, draft, capabilities=able)
                    ended = True
                except Exception:
                    ended = False
            with FhirClient(server.base_url) as client:
                published = publish(client, draft, capabilities=able)
                assert len(reports_of(client, draft)) == 1
                assert len(client.search("Provenance", {"target": published.reference})) == 1
            if ended:
                return
    raise AssertionError("expected an end after fewer requests")


def test_nothing_is_written_over_where_if_match_is_not_honoured() -> None:
    """A first draft is created; a later one and a withdrawal are conflicts that say why."""
    with FhirServer(lacks=frozenset({Lack.IF_MATCH})) as server, FhirClient(server.base_url) as client:
        able, draft = capabilities_of(client), a_draft()
        known = publish(client, draft, capabilities=able)
        with pytest.raises(Conflict, match="honours If-Match"):
            publish(client, redone(draft), known=known, capabilities=able)
        with pytest.raises(Conflict, match="honours If-Match"):
            cancel(client, draft, known)
        assert len(client.history(known.reference)) == 1


@pytest.mark.parametrize("lacks", LACKS, ids=named)
def test_person_s_version_is_never_written_over_without_either(lacks: frozenset[Lack]) -> None:
    """Without transactions and conditional creates the rule is the same."""
    with FhirServer(lacks=lacks) as server, FhirClient(server.base_url) as client:
        able, draft = capabilities_of(client), a_draft()
        known = publish(client, draft, capabilities=able)
        sign(client.base_url, known.reference, ROSA, "Signed words.")
        with pytest.raises(HumanVersion):
            publish(client, redone(draft), known=known, capabilities=able)
        with pytest.raises(HumanVersion):
            cancel(client, draft, known)
        assert client.read(known.reference)["status"] == "final"


class Signing(httpx.HTTPTransport):
    """A person signs just before our report is replaced, and the line is dead from `dead` PUTs on."""

    def __init__(self, sign_now: Callable[[], object] = int, dead: int = 1000) -> None:
        super().__init__()
        self.sign_now, self.left = sign_now, dead

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            self.left -= 1
            if self.left < 0:
                raise httpx.ConnectError("dead", request=request)
            if "/DiagnosticReport/" in request.url.path:
                self.sign_now()
        return super().handle_request(request)


@pytest.mark.parametrize("withdraws", [False, True])
def test_findings_that_a_person_s_report_names_stand_without_transactions(withdraws: bool) -> None:
    """Who signs just before we write keeps what their report names: it is retired behind ours alone."""
    with FhirServer(lacks=frozenset({Lack.TRANSACTIONS})) as server:
        draft = a_draft(findings=FINDINGS)
        with FhirClient(server.base_url) as client:
            able = capabilities_of(client)
            known = publish(client, draft, capabilities=able)
        signed: list[object] = []

        def sign_once() -> None:
            if not signed:
                signed.append(sign(server.base_url, known.reference, ROSA, "Signed words."))

        def again(client: FhirClient) -> None:
            if withdraws:
                cancel(client, draft, known)
            else:
                publish(client, redone(draft), known=known, capabilities=able)

        with FhirClient(server.base_url, transport=Signing(sign_once)) as client:
            with pytest.raises(Conflict):
                again(client)
            found = findings_of(client, client.vread(known.reference, known.version))
            assert {one["status"] for one in found} == {"preliminary"}


@pytest.mark.parametrize("withdraws", [False, True])
def test_findings_that_a_dead_line_left_are_retired_by_the_repeat(withdraws: bool) -> None:
    """The report was written, what the version before named was not retired yet: the repeat does it."""
    with FhirServer(lacks=frozenset({Lack.TRANSACTIONS})) as server:
        draft = a_draft(findings=FINDINGS)
        with FhirClient(server.base_url) as client:
            able = capabilities_of(client)
            known = publish(client, draft, capabilities=able)

        def again(client: FhirClient) -> None:
            if withdraws:
                cancel(client, draft, known)
            else:
                publish(client, redone(draft), known=known, capabilities=able)

        dead = Signing(dead=1)
        with (
            FhirClient(server.base_url, transport=dead, patience=ONE_ATTEMPT) as client,
            pytest.raises(Unreachable),
        ):
            again(client)
        with FhirClient(server.base_url) as client:
            first = client.vread(known.reference, known.version)
            again(client)
            assert {one["status"] for one in findings_of(client, first)} == {"cancelled"}
            if not withdraws:
                now = findings_of(client, client.read(known.reference))
                assert {one["status"] for one in now} <= {"preliminary"}


@pytest.mark.parametrize("lacks", LACKS[1:], ids=named)
def test_of_two_written_in_the_same_moment_the_later_is_retired(lacks: frozenset[Lack]) -> None:
    """Somebody else of ours creates between look and write: the first stands, the other says why not."""
    with FhirServer(lacks=lacks) as server:
        draft = a_draft()

        class Racing(httpx.HTTPTransport):
            def handle_request(self, request: httpx.Request) -> httpx.Response:
                writes = request.method == "POST" and request.url.path.endswith("/DiagnosticReport")
                if writes and not racing:
                    racing.append(True)
                    with FhirClient(server.base_url) as other:
                        publish(other, draft, capabilities=able)
                return super().handle_request(request)

        racing: list[bool] = []
        with FhirClient(server.base_url, transport=Racing()) as client:
            able = capabilities_of(client)
            published = publish(client, draft, capabilities=able)
            first, later = sorted(reports_of(client, draft), key=lambda one: int(str(one["id"])))
            assert published.reference == f"DiagnosticReport/{first['id']}"
            assert (first["status"], later["status"]) == ("preliminary", "cancelled")
            assert "written twice" in str(later["conclusion"])
            again = publish(client, redone(draft), known=published, capabilities=able)
            assert again.reference == published.reference


def altered(alter: Callable[[dict[str, object]], None]) -> httpx.BaseTransport:
    """A server that treats transactions in a way of its own."""

    class Altering(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method != "POST" or not request.url.path.endswith("/fhir"):
                return super().handle_request(request)
            response = super().handle_request(request)
            answer = json.loads(response.read())
            alter(answer)
            return httpx.Response(response.status_code, json=answer)

    return Altering()


def _nothing_read(answer: dict[str, object]) -> None:
    for entry in answer["entry"]:  # type: ignore[attr-defined]
        entry.pop("resource", None)


def _index_lags(answer: dict[str, object]) -> None:
    answer["entry"][-1]["resource"]["entry"] = []  # type: ignore[index]


@pytest.mark.parametrize("alter", [_nothing_read, _index_lags])
def test_answer_that_reads_nothing_back_is_read_separately(
    alter: Callable[[dict[str, object]], None],
) -> None:
    """Without a representation, or with an index that lags, the resource itself is read."""
    with FhirServer() as server, FhirClient(server.base_url, transport=altered(alter)) as client:
        draft = a_draft()
        published = publish(client, draft)
        assert publish(client, draft) == published


def test_server_that_refuses_reads_in_transactions_gets_them_separately() -> None:
    """The whole is refused for its GET: it is sent again without, and read back by itself."""

    class Refusing(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if b'"GET"' in request.read():
                return httpx.Response(400)
            return super().handle_request(request)

    with FhirServer() as server, FhirClient(server.base_url, transport=Refusing()) as client:
        assert publish(client, a_draft()).version == "1"


@pytest.mark.parametrize(
    ("kept", "held"),
    [
        (
            {
                "status": "preliminary",
                "bodySite": {"coding": [{"system": "s", "code": "left", "display": "L"}]},
            },
            True,
        ),
        ({"status": "preliminary", "bodySite": {"coding": [{"system": "s", "code": "right"}]}}, False),
        ({"status": "final", "bodySite": {"coding": [{"system": "s", "code": "left"}]}}, False),
        ({"status": "preliminary"}, False),
    ],
)
def test_finding_that_is_kept_on_another_side_is_noticed(kept: dict[str, object], held: bool) -> None:
    """Status and codes of each finding in the answer are those that were sent; displays may be added."""
    sent = {
        "resourceType": "Observation",
        "status": "preliminary",
        "bodySite": {"coding": [{"system": "s", "code": "left"}]},
    }
    stored = Stored("Observation/1", "1", created=True, resource={"resourceType": "Observation", **kept})
    written = Written([(sent, stored)], [])
    if held:
        drafts._check_findings(written)
    else:
        with pytest.raises(NotKept):
            drafts._check_findings(written)


def test_transaction_that_is_taken_for_a_batch_is_no_success() -> None:
    """200 for the whole and 412 for one of its entries: the entry is what counts."""

    def refuse_one(answer: dict[str, object]) -> None:
        answer["entry"][2]["response"]["status"] = "422"  # type: ignore[index]

    with (
        FhirServer() as server,
        FhirClient(server.base_url, transport=altered(refuse_one)) as client,
        pytest.raises(Rejected),
    ):
        publish(client, a_draft())
