"""Two reports of ours for one case, which a server without conditional create can have: one is retired."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.errors import Conflict
from connectors.exchange import WithdrawalStatus
from connectors.fhir.capabilities import Capabilities
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.standing import published_at
from connectors.fhir.drafts.withdrawn import withdrawal_bundle
from connectors.fhir.drafts.writing import write
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.ours import step_of, withdrawn_numbers

Resource = dict[str, Any]

REASON = "it was written twice and the other report stands"


def retire(
    client: FhirClient,
    systems: IdentifierSystems,
    ours: list[Resource],
    capabilities: Capabilities | None,
) -> Resource:
    """The first of several reports under our identifier; the later ones are cancelled under If-Match.

    ours: the first one first, in the order that everybody who looks agrees on.

    Raises Conflict when a person has touched one of them, when one was withdrawn, or when the server does not
    honour If-Match: nothing is written then.
    """
    held = [step_of(one, systems) is None or withdrawn_numbers(one, systems) for one in ours]
    if any(held) or (capabilities is not None and not capabilities.may_replace):
        raise Conflict(
            f"Expected one report of ours for the case, came {len(ours)}. Let a person retire all but one."
        )
    for later in ours[1:]:
        bundle = withdrawal_bundle(
            later,
            published_at(client, later),
            WithdrawalStatus.CANCELLED,
            REASON,
            systems=systems,
            at=datetime.now(UTC),
        )
        write(client, bundle, capabilities)
    return ours[0]
