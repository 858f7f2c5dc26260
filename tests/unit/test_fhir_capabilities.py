"""What a CapabilityStatement is read to say, and what the doctor tells of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Unreachable
from connectors.fhir.capabilities import WRITTEN, Capabilities, of, shortcomings
from connectors.fhir.client import FhirClient
from connectors.sandbox.fhir_statement import Lack, statement
from plugin.abilities import KEPT_SECONDS, Abilities

ALL = statement(frozenset())


def test_sandbox_says_what_it_can() -> None:
    """Release, transactions, conditional creates, If-Match, history and subscriptions are read."""
    server = of(ALL)
    assert (server.release, server.transactions, server.may_replace) == ("4.0.1", True, True)
    assert all(server.of_kind(kind).creates_conditionally for kind in WRITTEN)
    assert server.of_kind("DiagnosticReport").keeps_history
    assert server.finds_by_tag
    assert (server.rest_hook, server.topics) == (True, True)
    assert server.of_kind("Basic").interactions == frozenset()


@pytest.mark.parametrize(
    ("lack", "told"),
    [
        (Lack.TRANSACTIONS, "no transactions"),
        (Lack.CONDITIONAL_CREATE, "no conditional create"),
        (Lack.IF_MATCH, "does not honour If-Match"),
        (Lack.HISTORY, "no earlier versions"),
    ],
)
def test_each_lack_is_told_in_a_sentence(lack: Lack, told: str) -> None:
    """One sentence more for what is lacking, none for what is there."""
    sentences = shortcomings(statement(frozenset({lack})))
    assert len(sentences) == len(shortcomings(ALL)) + 1
    assert sum(told in sentence for sentence in sentences) == 1


def test_server_that_says_nothing_of_versions_may_be_replaced_on() -> None:
    """An absent `versioning` denies nothing, and is told; `versioned` denies If-Match."""
    unsaid = {**ALL, "rest": [{**ALL["rest"][0], "resource": [{"type": "DiagnosticReport"}]}]}
    assert of(unsaid).may_replace
    assert any("does not say whether it honours If-Match" in one for one in shortcomings(unsaid))
    assert not of(statement(frozenset({Lack.IF_MATCH}))).may_replace


@pytest.mark.parametrize(
    ("resources", "rest_hook", "topics"),
    [
        ([{"type": "Subscription", "interaction": [{"code": "create"}]}], True, False),
        ([{"type": "Subscription", "interaction": [{"code": "read"}]}], False, False),
        ([{"type": "Subscription", "supportedProfile": ["http://x/backport-subscription"]}], False, True),
        ([{"type": "SubscriptionTopic"}], False, True),
    ],
)
def test_subscriptions_are_read(resources: list[dict[str, Any]], rest_hook: bool, topics: bool) -> None:
    """R4's rest-hooks, the R4 backport's profile and R5's topics."""
    server = of({"rest": [{"mode": "server", "resource": resources}]})
    assert (server.rest_hook, server.topics) == (rest_hook, topics)


KEYS = ["rest", "mode", "resource", "interaction", "code", "type", "versioning", "searchParam", "name"]
json_values = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_misshapen_statement_says_nothing(document: dict[str, Any]) -> None:
    """Whatever JSON stands there, reading it raises nothing, and grants no conditional create."""
    assert not of(document).of_kind("DiagnosticReport").creates_conditionally
    assert shortcomings(document)


def test_statement_is_asked_for_once_an_hour_and_kept_while_the_server_is_down() -> None:
    """Just under an hour the old one serves; later one is asked for, and without an answer it stays."""
    seen, seconds, up = [0], [0.0], [False]

    def answer(request: httpx.Request) -> httpx.Response:
        seen[0] += 1
        return httpx.Response(200, json=ALL) if up[0] else httpx.Response(503)

    with FhirClient("http://fhir.test/r4", transport=httpx.MockTransport(answer)) as client:
        abilities = Abilities(client, clock=lambda: seconds[0])
        with pytest.raises(Unreachable):
            abilities.now()
        up[0] = True
        assert abilities.now() == of(ALL)
        before = seen[0]
        seconds[0] = KEPT_SECONDS - 1
        abilities.now()
        assert seen[0] == before
        seconds[0], up[0] = KEPT_SECONDS + 1, False
        assert abilities.now() == of(ALL)
        assert seen[0] > before


@pytest.mark.parametrize(
    "answer", [httpx.Response(403), httpx.Response(200, json={"resourceType": "Bundle"})]
)
def test_server_without_a_readable_statement_is_not_known(answer: httpx.Response) -> None:
    """Nothing is assumed of it then, and it is used as one that can do everything."""
    with FhirClient("http://fhir.test/r4", transport=httpx.MockTransport(lambda _: answer)) as client:
        told: Capabilities | None = Abilities(client).now()
    assert told is None
