"""What a draft says is there or is not, as one Observation a finding; and how such Observations are retired.

Pure. Each belongs to one draft: its identifier holds case, draft number, finding and side, it is created once
(ifNoneExist) and never updated by a later draft, which has Observations of its own. So no write of ours can
go over what a person made of one. What a later draft or a withdrawal leaves behind is retired, under
If-Match, only where it still says what we wrote.

R4 has no status partial for an Observation: findings of partial and preliminary drafts alike are
`preliminary`, the weakest status that has a value, labelled AIAST and with the notice as their note.
"""

from __future__ import annotations

import hashlib
import json
import uuid

from connectors.errors import Rejected
from connectors.exchange import Coding, DraftFinding, DraftReport, WithdrawalStatus
from connectors.fhir.attachment import clean
from connectors.fhir.drafts.request import request_of
from connectors.fhir.drafts.resources import Resource, effective, encounter_of, filled, subject_of
from connectors.fhir.egress import AIAST, labelled, withdrawal_status
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems, study_identifier, values_of
from connectors.fhir.instants import instant

SNOMED = "http://snomed.info/sct"
PRESENT = {"system": SNOMED, "code": "52101004", "display": "Present"}
ABSENT = {"system": SNOMED, "code": "2667000", "display": "Absent"}
LATERALITY = {"system": SNOMED, "code": "272741003", "display": "Laterality"}
SIDES = {
    "left": {"system": SNOMED, "code": "7771000", "display": "Left"},
    "right": {"system": SNOMED, "code": "24028007", "display": "Right"},
    "bilateral": {"system": SNOMED, "code": "51440002", "display": "Right and left"},
}
"""Side of a finding to SNOMED CT's qualifier."""
IMAGING = {
    "system": "http://terminology.hl7.org/CodeSystem/observation-category",
    "code": "imaging",
    "display": "Imaging",
}
PROBABILITY = "Probability of the finding, as the model's finding head gave it"

MAX_RESULTS = 100
"""Of a report's results that are looked at when it is replaced or withdrawn; a draft of ours has fewer."""

_SAID = ("status", "code", "valueCodeableConcept", "bodySite", "note", "performer", "interpretation")


def observations_of(
    draft: DraftReport, systems: IdentifierSystems, *, subject: str, device: str
) -> list[Resource]:
    """One Observation for each finding of the draft, in its order. subject, device: references or urns.

    Raises Rejected for a finding without a name, one of another side than left, right or bilateral, and
    one that is said to be there and not to be there.
    """
    said: dict[tuple[str, str], DraftFinding] = {}
    for finding in draft.findings:
        key = (clean(finding.name).strip(), finding.side)
        if not key[0] or (finding.side and finding.side not in SIDES):
            raise Rejected(
                "Expected findings with a name, and left, right, bilateral or no side; came another."
            )
        if said.setdefault(key, finding).present is not finding.present:
            raise Rejected("Expected a finding that is there or is not; came one that a draft says is both.")
    return [
        _observation(draft, finding, systems, subject=subject, device=device) for finding in said.values()
    ]


def _observation(
    draft: DraftReport, finding: DraftFinding, systems: IdentifierSystems, *, subject: str, device: str
) -> Resource:
    key = "/".join(
        filter(None, (draft.case_id, str(draft.number), clean(finding.name).strip(), finding.side))
    )
    observation = {
        "resourceType": "Observation",
        "identifier": [{"use": "official", "system": systems.observation, "value": key}],
        "basedOn": [request_of(draft, systems)],
        "status": "preliminary",
        "category": [{"coding": [IMAGING]}],
        "code": concept_of(finding.code, finding.name),
        "subject": subject_of(draft, systems, subject),
        "encounter": encounter_of(draft, systems),
        **effective(draft),
        "issued": instant(draft.issued_at),
        "valueCodeableConcept": _valued(finding.present),
        "note": [{"text": clean(draft.notice)}],
        "bodySite": concept_of(finding.body_site, ""),
        "device": {"reference": device, "type": "Device"},
        "derivedFrom": [{"type": "ImagingStudy", "identifier": study_identifier(draft.study_instance_uid)}],
        "component": _components(finding),
    }
    observation = filled({name: value for name, value in observation.items() if value != {}})
    tag = {"system": systems.draft, "code": f"{draft.number}.{_digest(observation)}"}
    return {**observation, "meta": {"security": [AIAST], "tag": [tag]}}


def concept_of(coding: Coding, words: str) -> Resource:
    """A CodeableConcept of one code, or of words alone where there is no code; empty without either."""
    coded = filled({"system": coding.system, "code": clean(coding.code), "display": clean(coding.text)})
    said = clean(words).strip() or clean(coding.text).strip()
    return filled({"coding": [coded] if coding.code and coding.system else [], "text": said})


def _valued(present: bool) -> Resource:
    coding = PRESENT if present else ABSENT
    return {"coding": [coding], "text": coding["display"]}


def _components(finding: DraftFinding) -> list[Resource]:
    components: list[Resource] = []
    if finding.side:
        side = SIDES[finding.side]
        components.append(
            {
                "code": {"coding": [LATERALITY], "text": "Laterality"},
                "valueCodeableConcept": {"coding": [side], "text": finding.side},
            }
        )
    if finding.probability is not None and 0 <= finding.probability <= 1:
        value = {
            "value": round(finding.probability, 4),
            "unit": "1",
            "system": "http://unitsofmeasure.org",
            "code": "1",
        }
        components.append({"code": {"text": PROBABILITY}, "valueQuantity": value})
    return components


def finding_references(report: Resource) -> list[str]:
    """Observation/ID of each result that a report names, at most MAX_RESULTS; to other places none."""
    named = [text(result, "reference") for result in records(report, "result")]
    return [reference for reference in named if reference.startswith("Observation/")][:MAX_RESULTS]


def is_ours(observation: Resource, case_id: str, systems: IdentifierSystems) -> bool:
    """Whether this still is, word for word, a finding that a draft of this case wrote."""
    own = any(
        system == systems.observation and value.startswith(f"{case_id}/")
        for system, value in values_of(observation)
    )
    digest = _digest(observation)
    tags = [tag for tag in records(record(observation, "meta"), "tag") if tag.get("system") == systems.draft]
    return (
        own
        and text(observation, "status") == "preliminary"
        and labelled(observation)
        and any(text(tag, "code").partition(".")[2] == digest for tag in tags)
    )


def retirement(
    observation: Resource, case_id: str, status: WithdrawalStatus, systems: IdentifierSystems
) -> Resource | None:
    """The Bundle entry that retires the very version of a finding of ours; None for what is not ours.

    What a person touched is theirs, and what is retired already stays as it is.
    Raises ForbiddenStatus for any status but cancelled and entered-in-error.
    """
    status = withdrawal_status(status)
    meta, identity = record(observation, "meta"), text(observation, "id")
    version = text(meta, "versionId")
    if not (identity and version and is_ours(observation, case_id, systems)):
        return None
    kept = {name: meta[name] for name in ("profile", "security", "tag") if name in meta}
    return {
        "fullUrl": uuid.uuid4().urn,
        "resource": {**observation, "meta": kept, "status": status.value},
        "request": {"method": "PUT", "url": f"Observation/{identity}", "ifMatch": f'W/"{version}"'},
    }


def _digest(observation: Resource) -> str:
    # Numbers are left out: a server may write 1.0 as 1, and the words say what is claimed.
    words = [
        [component.get("code"), component.get("valueCodeableConcept")]
        for component in records(observation, "component")
    ]
    said = [[observation.get(name) for name in _SAID], words]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
