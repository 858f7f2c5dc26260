"""Who wrote a draft, and from what: the Device and the Provenance of everything that a draft says.

After HL7's AI Transparency on FHIR (ballot of January 2026): an AI Device as author, reason AIAST, and as
entities the images, the prompt, the model card and the order.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.exchange import DraftReport
from connectors.fhir.attachment import clean
from connectors.fhir.drafts.request import request_of
from connectors.fhir.drafts.resources import Resource
from connectors.fhir.egress import AIAST
from connectors.fhir.identifiers import IdentifierSystems, study_identifier
from connectors.fhir.instants import instant

PARTICIPANT_TYPE = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def device_of(draft: DraftReport, systems: IdentifierSystems) -> Resource:
    """The software that wrote the draft: name, version, hash of its weights, the adapter's among them."""
    author = draft.author
    parts = (author.name, author.version, author.weights_sha256)
    return {
        "resourceType": "Device",
        "identifier": [{"system": systems.device, "value": "/".join(clean(part) for part in parts)}],
        "status": "active",
        "manufacturer": "Prelim",
        "deviceName": [{"name": clean(author.name), "type": "model-name"}],
        "type": {"text": "Artificial intelligence software"},
        "version": [
            {"type": {"text": "software"}, "value": clean(author.version)},
            {"type": {"text": "weights SHA-256"}, "value": clean(author.weights_sha256)},
        ],
    }


def provenance_of(
    draft: DraftReport, systems: IdentifierSystems, *, targets: Sequence[str], device: str
) -> Resource:
    """Who made these, from what. targets (report and findings) and device: references or urns."""
    author = draft.author
    card = {
        "identifier": {"system": systems.model_card, "value": clean(author.weights_sha256)},
        "display": f"Model card of {clean(author.name)} {clean(author.version)}",
    }
    prompt = {
        "identifier": {"system": systems.prompt, "value": clean(author.prompt_version)},
        "display": "Prompt version",
    }
    study = {"type": "ImagingStudy", "identifier": study_identifier(draft.study_instance_uid)}
    return {
        "resourceType": "Provenance",
        "target": [{"reference": target} for target in targets],
        "recorded": instant(draft.issued_at),
        "reason": [{"coding": [AIAST]}],
        "agent": [
            {
                "type": {"coding": [{"system": PARTICIPANT_TYPE, "code": "author", "display": "Author"}]},
                "who": {"reference": device, "type": "Device"},
            }
        ],
        "entity": [
            {"role": "source", "what": what} for what in (study, prompt, card, request_of(draft, systems))
        ],
    }
