"""Asks a FHIR server for the Observations that a report names, as they are now."""

from __future__ import annotations

from connectors.fhir.client import FhirClient, reference_of
from connectors.fhir.drafts.observations import finding_references
from connectors.fhir.drafts.resources import Resource


def findings_of(client: FhirClient, report: Resource) -> list[Resource]:
    """The Observations among a report's results; one that is gone, or was not asked for, is left out.

    One search whatever their number. Raises Unreachable, Rejected, Malformed.
    """
    wanted = dict.fromkeys(finding_references(report))
    if not wanted:
        return []
    found = client.search(
        "Observation", {"_id": ",".join(one.partition("/")[2] for one in wanted), "_count": str(len(wanted))}
    )
    return [one for one in found if reference_of(one) in wanted]
