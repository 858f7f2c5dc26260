"""What the sandbox FHIR server says it can do, and can be made to lack (R4 capabilitystatement.html)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from connectors.sandbox.fhir_search import Refusal
from connectors.sandbox.fhir_subscriptions import capability

Resource = dict[str, Any]

KINDS = (
    *("DiagnosticReport", "Observation", "ServiceRequest", "ImagingStudy", "Patient", "Encounter"),
    *("Practitioner", "PractitionerRole", "Device", "Provenance", "Subscription"),
)
"""Types that the statement names; any other of R4 is stored too."""
PARAMETERS = (
    ("_id", "token"),
    ("_lastUpdated", "date"),
    ("_tag", "token"),
    ("identifier", "token"),
    ("status", "token"),
    ("patient", "reference"),
    ("based-on", "reference"),
    ("category", "token"),
)


class Lack(StrEnum):
    """Something that a FHIR server may not be able to do."""

    TRANSACTIONS = "transactions"
    CONDITIONAL_CREATE = "conditional create"
    IF_MATCH = "If-Match"
    HISTORY = "history"
    POST_SEARCH = "search by POST"


def refuse_what_lacks(lacks: frozenset[Lack], method: str, parts: list[str]) -> None:
    """Raise Refusal for a request that this server is made to lack; parts: of its path below the base."""
    lacking = (
        (Lack.TRANSACTIONS in lacks and (method, parts) == ("POST", []))
        or (Lack.HISTORY in lacks and parts[2:] == ["_history"])
        or (Lack.POST_SEARCH in lacks and parts[1:] == ["_search"])
    )
    if lacking:
        raise Refusal(405, "not-supported", "This server does not do that.")


def statement(lacks: frozenset[Lack]) -> Resource:
    """The CapabilityStatement; it says what is lacking, where a statement can."""
    codes = ["create", "read", "vread", "update", "delete", "search-type"]
    if Lack.HISTORY not in lacks:
        codes.append("history-instance")
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-01",
        "kind": "instance",
        "software": {"name": "Prelim sandbox FHIR server"},
        "implementation": {"description": "In memory, on loopback, for the demo and for tests"},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [
            {
                "mode": "server",
                "interaction": [] if Lack.TRANSACTIONS in lacks else [{"code": "transaction"}],
                "resource": [
                    {
                        "type": kind,
                        "versioning": "versioned" if Lack.IF_MATCH in lacks else "versioned-update",
                        "readHistory": True,
                        "updateCreate": True,
                        "conditionalCreate": Lack.CONDITIONAL_CREATE not in lacks,
                        "interaction": [{"code": code} for code in codes],
                        "searchParam": [{"name": name, "type": type_} for name, type_ in PARAMETERS],
                        **(capability() if kind == "Subscription" else {}),
                    }
                    for kind in KINDS
                ],
            }
        ],
    }
