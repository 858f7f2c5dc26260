"""Which version of a report is ours: the tag that every version of ours carries, and what its hash proves.

A version is ours when its status is one that we write, it names no person, and its words hash to a tag
of ours. A server may carry tags over to a human's version: the hash then no longer fits.
"""

from __future__ import annotations

import hashlib
from typing import Any

from connectors.exchange import DraftStatus, WithdrawalStatus
from connectors.fhir.attachment import presented
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems

Resource = dict[str, Any]

_STEPS: dict[str, int] = {
    **dict.fromkeys((status.value for status in DraftStatus), 0),
    WithdrawalStatus.CANCELLED.value: 1,
    WithdrawalStatus.ENTERED_IN_ERROR.value: 2,
}
"""Order in which one draft of ours can take its statuses."""


def version_tag(
    systems: IdentifierSystems, number: int, status: str, conclusion: str, data: list[str]
) -> Resource:
    """The meta.tag of a version of ours: the number of its draft, and the hash of status and words.

    data: of each presentedForm, base64.
    """
    code = f"{number}.{_digest(status, conclusion.strip(), data)}"
    return {"system": systems.draft, "code": code, "display": f"Draft {number}"}


def draft_numbers(resource: Resource, systems: IdentifierSystems) -> list[int]:
    """Numbers of the drafts of ours that this version holds unchanged; empty when it holds none."""
    return _numbers(resource, systems) if _step(resource) == 0 else []


def withdrawn_numbers(resource: Resource, systems: IdentifierSystems) -> list[int]:
    """Numbers of the drafts whose withdrawal by us this version is; empty when it is none."""
    return _numbers(resource, systems) if _step(resource) else []


def step_of(resource: Resource, systems: IdentifierSystems) -> tuple[int, int] | None:
    """(draft number, 0 as a draft, 1 as cancelled, 2 as entered in error); None when it is not ours.

    Greater means later: we count up, and retire a draft only after it stood.
    """
    numbers, step = _numbers(resource, systems), _step(resource)
    return (max(numbers), step) if numbers and step is not None else None


def _step(resource: Resource) -> int | None:
    return _STEPS.get(text(resource, "status"))


def _numbers(resource: Resource, systems: IdentifierSystems) -> list[int]:
    if _step(resource) is None or resource.get("resultsInterpreter") or resource.get("performer"):
        return []
    digest = _digest(text(resource, "status"), text(resource, "conclusion").strip(), presented(resource))
    numbers = []
    for tag in records(record(resource, "meta"), "tag"):
        if tag.get("system") == systems.draft:
            number, _, hashed = text(tag, "code").partition(".")
            if hashed == digest and number.isdecimal() and len(number) < 10:
                numbers.append(int(number))
    return numbers


def _digest(status: str, conclusion: str, data: list[str]) -> str:
    # Length first, so that no two different lists of parts run together into one.
    parts = [status, conclusion, *("".join(item.split()) for item in data)]
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()
