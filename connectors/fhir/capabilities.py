"""What a FHIR server says it can do, and what is done instead of the rest (FHIR R4 CapabilityStatement).

Pure. Only what the statement denies or leaves out is taken for missing; what a statement cannot say, such as
searching by POST, is not guessed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.fhir.elements import records, text, texts

Resource = dict[str, Any]

WRITTEN = ("DiagnosticReport", "Observation", "Patient", "Device", "Provenance")
"""Types of which a draft is made."""
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "DiagnosticReport": ("identifier", "_lastUpdated"),
    "Patient": ("identifier",),
    "Device": ("identifier",),
}
"""Search parameters without which a draft cannot be found again, or a report not be noticed."""
BACKPORT = "backport-subscription"
"""In the name of the profile that R4 servers with topic-based subscriptions support."""


@dataclass(frozen=True, slots=True)
class KindCapabilities:
    """What a server does with one resource type. A type that the statement does not name can do nothing."""

    interactions: frozenset[str] = frozenset()
    """Codes of R4's type-restful-interaction: read, vread, update, create, history-instance, search-type."""
    creates_conditionally: bool = False
    """If-None-Exist."""
    honours_if_match: bool | None = None
    """None when the statement does not say how it treats versions."""
    keeps_history: bool = False
    """Earlier versions of a resource can be listed."""
    parameters: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server says it can do."""

    release: str = ""
    """fhirVersion, for example 4.0.1."""
    transactions: bool = False
    kinds: Mapping[str, KindCapabilities] = field(default_factory=dict)
    rest_hook: bool = False
    """Subscription resources can be created, as R4's rest-hooks or with topics."""
    topics: bool = False
    """Topic-based subscriptions: R5's SubscriptionTopic, or the R4 backport."""

    def of_kind(self, kind: str) -> KindCapabilities:
        """What it does with one resource type."""
        return self.kinds.get(kind, KindCapabilities())

    @property
    def may_replace(self) -> bool:
        """Whether a version of a report can be replaced without the danger of going over another one."""
        return self.of_kind("DiagnosticReport").honours_if_match is not False

    @property
    def finds_by_tag(self) -> bool:
        """Whether a Provenance, which has no identifier, can be created once by its tag."""
        kind = self.of_kind("Provenance")
        return kind.creates_conditionally and "_tag" in kind.parameters


def of(statement: Resource) -> Capabilities:
    """What a CapabilityStatement says; a misshapen part of it says nothing."""
    servers = [rest for rest in records(statement, "rest") if text(rest, "mode") == "server"]
    rest = servers[0] if servers else {}
    everywhere = frozenset(text(one, "name") for one in records(rest, "searchParam"))
    kinds = {text(one, "type"): _kind(one, everywhere) for one in records(rest, "resource")}
    subscription = next((one for one in records(rest, "resource") if text(one, "type") == "Subscription"), {})
    profiles = [*texts(subscription, "supportedProfile"), text(subscription, "profile")]
    return Capabilities(
        release=text(statement, "fhirVersion"),
        transactions="transaction" in _codes(rest),
        kinds=kinds,
        rest_hook="create" in kinds.get("Subscription", KindCapabilities()).interactions,
        topics="SubscriptionTopic" in kinds or any(BACKPORT in profile for profile in profiles),
    )


def shortcomings(statement: Resource) -> list[str]:
    """What the server cannot do and what is done instead, a sentence each, gravest first."""
    server = of(statement)
    report = server.of_kind("DiagnosticReport")
    told = []
    for kind in WRITTEN:
        if "create" not in server.of_kind(kind).interactions:
            told.append(f"It lets nobody create {kind}: drafts cannot be written whole.")
    for kind, wanted in PARAMETERS.items():
        missing = [name for name in wanted if name not in server.of_kind(kind).parameters]
        if missing:
            told.append(
                f"It does not say that {kind} can be searched by {' and '.join(missing)}: "
                "without it an earlier write or a person's report can go unseen."
            )
    if report.honours_if_match is False:
        told.append(
            "It does not honour If-Match: a first draft is created, but no later draft and no withdrawal is "
            "written over a report, since it could be a person's."
        )
    elif report.honours_if_match is None:
        told.append(
            "It does not say whether it honours If-Match: the history is read after each replacement."
        )
    if not server.transactions:
        told.append("It has no transactions: the parts of a draft are written one by one, the report late.")
    lacking = [kind for kind in WRITTEN if not server.of_kind(kind).creates_conditionally]
    if lacking:
        told.append(
            f"It has no conditional create of {', '.join(lacking)}: each is looked for before and after "
            "it is written, and of two reports of ours the later one is cancelled."
        )
    if not report.keeps_history:
        told.append("It lists no earlier versions: a server that ignores If-Match cannot be found out.")
    if not (server.rest_hook or server.topics):
        told.append("It takes no subscriptions: it is asked for news instead.")
    return told


def _kind(resource: Resource, everywhere: frozenset[str]) -> KindCapabilities:
    versioning = text(resource, "versioning")
    interactions = _codes(resource)
    return KindCapabilities(
        interactions=interactions,
        creates_conditionally=resource.get("conditionalCreate") is True,
        honours_if_match=versioning == "versioned-update" if versioning else None,
        keeps_history="history-instance" in interactions,
        parameters=everywhere | {text(one, "name") for one in records(resource, "searchParam")},
    )


def _codes(node: Resource) -> frozenset[str]:
    return frozenset(text(one, "code") for one in records(node, "interaction"))
