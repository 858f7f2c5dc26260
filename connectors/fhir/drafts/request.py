"""The order that a draft answers, as the draft's resources refer to it."""

from __future__ import annotations

import re

from connectors.exchange import DraftReport
from connectors.fhir.drafts.resources import Resource, typed_identifier
from connectors.fhir.identifiers import IdentifierSystems

_PLACE = re.compile(r"ServiceRequest/[A-Za-z0-9\-.]{1,64}")


def request_of(draft: DraftReport, systems: IdentifierSystems) -> Resource:
    """The ServiceRequest: where it stands, if it came from the FHIR server, and its number beside.

    A place that is no relative reference is left out: only the server that we write to is meant.
    """
    reference = {"type": "ServiceRequest", "identifier": _number(draft, systems)}
    if _PLACE.fullmatch(draft.service_request):
        return {"reference": draft.service_request, **reference}
    return reference


def _number(draft: DraftReport, systems: IdentifierSystems) -> Resource:
    if draft.placer_order_number:
        return typed_identifier("PLAC", systems.placer, draft.placer_order_number)
    if draft.filler_order_number:
        return typed_identifier("FILL", systems.filler, draft.filler_order_number)
    return typed_identifier("ACSN", systems.accession, draft.accession)
