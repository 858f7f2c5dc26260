"""A draft as the content of a FHIRcast session: exactly the resources that stand on the FHIR server."""

from __future__ import annotations

from typing import Any

from connectors.errors import Rejected
from connectors.exchange import DraftReport, PublishedReport
from connectors.fhir.client import FhirClient, reference_of, version_of
from connectors.fhir.drafts.authorship import device_of
from connectors.fhir.egress import check_content, labelled
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems, token, values_of
from connectors.fhir.ours import draft_numbers
from connectors.fhir.outcome import Absent

Resource = dict[str, Any]

MAX_OBSERVATIONS = 100
"""Of one draft; more are left out."""


def draft_content(
    client: FhirClient, draft: DraftReport, published: PublishedReport, systems: IdentifierSystems
) -> Resource | None:
    """The update Bundle that shares a draft; None when what stands there is not that draft any more.

    1. Read the report. Only the very version that we wrote, holding this very draft, is shared: what a person
       touched is theirs.
    2. Read the Observations that it names, as long as they are drafts of ours, and the Device that wrote it.

    Raises as FhirClient does, and ForbiddenStatus for a draft that must not be shared.
    """
    try:
        report = client.read(published.reference)  # 1
    except Absent:
        return None
    if version_of(report) != published.version or draft.number not in draft_numbers(report, systems):
        return None
    resources = [report, *_observations(client, report), *_devices(client, draft, systems)]  # 2
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"{client.base_url}/{reference_of(resource)}",
                "resource": resource,
                "request": {"method": "PUT", "url": reference_of(resource)},
            }
            for resource in resources
        ],
    }
    check_content(bundle, report_system=systems.report, device_system=systems.device)
    return bundle


def _observations(client: FhirClient, report: Resource) -> list[Resource]:
    found: dict[str, Resource] = {}
    for reference in records(report, "result")[:MAX_OBSERVATIONS]:
        try:
            path = client.relative(text(reference, "reference"))
            resource = client.read(path) if path.startswith("Observation/") else {}
        except Rejected:
            continue
        if labelled(resource) and resource.get("status") == "preliminary":
            found[path] = resource
    return list(found.values())


def _devices(client: FhirClient, draft: DraftReport, systems: IdentifierSystems) -> list[Resource]:
    identifier = record({"": device_of(draft, systems)["identifier"][0]}, "")
    pair = (text(identifier, "system"), text(identifier, "value"))
    found = client.search("Device", {"identifier": token(*pair)})
    return [device for device in found if pair in values_of(device)][:1]
