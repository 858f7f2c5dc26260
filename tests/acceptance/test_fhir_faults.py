"""Very many orders over a network that loses, delays, doubles and cuts: one report each, whatever happens."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from connectors.errors import Malformed, Unreachable
from connectors.exchange import DraftReport, PublishedReport, WithdrawalStatus
from connectors.fhir.capabilities import Capabilities, of
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.publish import publish
from connectors.fhir.drafts.withdrawal import withdraw
from connectors.fhir.identifiers import IdentifierSystems, values_of
from connectors.fhir.ours import draft_numbers, withdrawn_numbers
from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.fhir_faults import Fault, FaultProxy
from connectors.sandbox.fhir_statement import Lack
from connectors.sandbox.fhir_store import FhirStore
from tests.fhir_samples import a_draft, redone

SYSTEMS = IdentifierSystems()
ORDERS = 20_000 if os.environ.get("PRELIM_REQUIRE_SERVICES") == "1" else 1_000
PROCESSES, THREADS = 2, 2
SHARE = 0.05
"""Of answers that are ambiguous."""
REDRAFTED, WITHDRAWN = 7, 11
"""Every so manieth order is drafted again, or withdrawn."""
ENDLESS = 50
"""Attempts after which a test gives up: a hundredth of a billionth of a billionth at this share."""


@dataclass
class Round:
    """What one thread did, and what it counted on the way."""

    drafts: list[DraftReport] = field(default_factory=list)
    standing: dict[str, PublishedReport] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    drawn: Counter[Fault] = field(default_factory=Counter)
    failures: list[BaseException] = field(default_factory=list)


def persistent(action: Any, *arguments: Any, **named: Any) -> PublishedReport:
    """Do as the queue does: again, as long as nobody says what came of it."""
    for _ in range(ENDLESS):
        try:
            published: PublishedReport = action(*arguments, **named)
        except (Unreachable, Malformed):
            continue
        return published
    raise AssertionError("it never came to an end")


def work(
    server: FhirServer,
    capabilities: Capabilities,
    seed: int,
    orders: int,
    faults: tuple[Fault, ...],
    done: Round,
) -> None:
    """Publish so many orders over a bad network, redraft some and withdraw some."""
    inner = httpx.WSGITransport(app=server.application)
    proxy = FaultProxy(inner, share=SHARE, seed=seed, faults=faults)
    try:
        with FhirClient(server.base_url, transport=proxy, timeout_seconds=60) as client:
            for number in range(orders):
                draft = a_draft()
                known = persistent(publish, client, draft, capabilities=capabilities)
                if number % REDRAFTED == 0:
                    draft = redone(draft)
                    known = persistent(publish, client, draft, known=known, capabilities=capabilities)
                if number % WITHDRAWN == 0:
                    known = persistent(
                        withdraw,
                        client,
                        draft.case_id,
                        known,
                        WithdrawalStatus.CANCELLED,
                        "the order was cancelled",
                        capabilities=capabilities,
                    )
                    done.withdrawn.add(draft.case_id)
                done.drafts.append(draft)
                done.standing[draft.case_id] = known
            proxy.settle()
    except BaseException as error:
        done.failures.append(error)
    done.drawn = proxy.drawn


def run(
    server: FhirServer, orders: int, faults: tuple[Fault, ...] = tuple(Fault), *, seed: int = 0
) -> list[Round]:
    """All threads, to their end."""
    with FhirClient(server.base_url, transport=httpx.WSGITransport(app=server.application)) as client:
        capabilities = of(client.capabilities())
    rounds = [Round() for _ in range(THREADS)]
    threads = [
        threading.Thread(target=work, args=(server, capabilities, place, orders // THREADS, faults, one))
        for place, one in enumerate(rounds, start=seed * THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in (failure for one in rounds for failure in one.failures):
        raise failure
    return rounds


def stored(store: FhirStore, kind: str) -> Iterator[dict[str, Any]]:
    """The current versions of a type."""
    return (version.resource for version in store.search(kind, []) if version.resource is not None)


def check(store: FhirStore, rounds: list[Round], *, twins: bool = False) -> None:
    """One live report for each case, as it was said to stand; never final; one Provenance for each version.

    twins: whether reports and Provenances may have been written twice, the later report then retired.
    """
    reports: dict[str, list[dict[str, Any]]] = {}
    for report in stored(store, "DiagnosticReport"):
        case = next(value for system, value in values_of(report) if system == SYSTEMS.report)
        reports.setdefault(case, []).append(report)
    told: Counter[str] = Counter(
        target["reference"] for one in stored(store, "Provenance") for target in one["target"]
    )
    for one in rounds:
        for draft in one.drafts:
            published, is_withdrawn = one.standing[draft.case_id], draft.case_id in one.withdrawn
            found = reports.pop(draft.case_id)
            live = [report for report in found if draft_numbers(report, SYSTEMS)]
            assert len(live) == (0 if is_withdrawn else 1)
            assert twins or len(found) == 1
            report = next(report for report in found if published.reference.endswith(f"/{report['id']}"))
            assert published.version == report["meta"]["versionId"]
            numbers = (withdrawn_numbers if is_withdrawn else draft_numbers)(report, SYSTEMS)
            assert numbers == [draft.number]
            history = store.history("DiagnosticReport", report["id"])
            assert len(history) == draft.number + is_withdrawn
            statuses = {version.resource["status"] for version in history if version.resource}
            assert statuses <= {"preliminary", "cancelled"}
            assert told[published.reference] == len(history) or (
                twins and told[published.reference] > len(history)
            )
    assert reports == {}


def share_of_the_orders(seed: int) -> Counter[Fault]:
    """A server of its own, and its share of the orders; gives the faults that happened."""
    store = FhirStore(validates=False)
    rounds = run(FhirServer(store=store, port=1), ORDERS // PROCESSES, seed=seed)
    assert sum(len(one.drafts) for one in rounds) == ORDERS // PROCESSES
    check(store, rounds)
    return sum((one.drawn for one in rounds), Counter[Fault]())


def test_every_order_ends_with_exactly_one_report() -> None:
    """Five of a hundred answers are ambiguous, in every way; each order has one report, and it reads back."""
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as processes:
        drawn = sum(processes.map(share_of_the_orders, range(PROCESSES)), Counter[Fault]())
    assert all(drawn[fault] > ORDERS * SHARE / len(Fault) for fault in Fault)


@pytest.mark.parametrize("history", [True, False])
def test_server_without_transactions_ends_with_one_report_as_well(history: bool) -> None:
    """Parts that are written one by one are written once, none is left out, and none is lost."""
    store = FhirStore(validates=False)
    lacks = frozenset({Lack.TRANSACTIONS} if history else {Lack.TRANSACTIONS, Lack.HISTORY})
    check(store, run(FhirServer(store=store, port=1, lacks=lacks), ORDERS // 10))


@pytest.mark.parametrize("transactions", [True, False])
def test_server_without_conditional_creates_ends_with_one_live_report(transactions: bool) -> None:
    """What arrives twice is there twice: the later report is retired, and one stands.

    Nothing is delayed here: a create that arrives after everybody has looked stands beside the other until
    the next draft of the case finds it.
    """
    store = FhirStore(validates=False)
    lacks = frozenset(
        {Lack.CONDITIONAL_CREATE} if transactions else {Lack.CONDITIONAL_CREATE, Lack.TRANSACTIONS}
    )
    faults = tuple(set(Fault) - {Fault.DELAYED})
    rounds = run(FhirServer(store=store, port=1, lacks=lacks), max(100, ORDERS // 20), tuple(sorted(faults)))
    assert any(one.drawn[Fault.TWICE] for one in rounds)
    check(store, rounds, twins=True)
