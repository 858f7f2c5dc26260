"""Studies that a FHIR server announces as ImagingStudy (FHIR R4 imagingstudy.html, and R5's). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from connectors.errors import Malformed
from connectors.exchange import StudyRef
from connectors.fhir.elements import records, text
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.readers.dossier import Dossier
from connectors.fhir.readers.keys import accessions, study_uid, subject
from connectors.fhir.readers.words import codings, concepts, line

Resource = dict[str, Any]

STATUSES = frozenset({"registered", "available", "cancelled", "entered-in-error", "unknown", "inactive"})
"""ImagingStudy.status of R4 and R5; only what is available has images to draft from."""
MAX_INSTANCES = 1_000_000

_MODALITY = re.compile(r"[A-Z0-9]{2,16}")


def read_study(dossier: Dossier, *, systems: IdentifierSystems) -> StudyRef | None:
    """The study as an ImagingStudy announces it; None while, or once, its images are not available.

    A study that names no patient is told without one: it then agrees with no order. Of several accession
    numbers the first is taken.

    Raises Malformed, naming elements and no values, without exactly one study instance UID.
    """
    study = dossier.focus
    if dossier.kind != "ImagingStudy":
        raise Malformed("Expected an ImagingStudy to read a study from, came another resource.")
    if text(study, "status") not in STATUSES:
        raise Malformed("ImagingStudy.status: expected one of FHIR's, came another or none.")
    if study.get("modifierExtension"):
        raise Malformed("ImagingStudy.modifierExtension: expected none, came one that is not known here.")
    if text(study, "status") != "available":
        return None
    uid = study_uid(dossier)
    if not uid:
        raise Malformed("ImagingStudy.identifier: names no study instance UID under urn:dicom:uid.")
    count = study.get("numberOfInstances")
    known = isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MAX_INSTANCES
    return StudyRef(
        study_instance_uid=uid,
        patient=subject(dossier, systems),
        accession=next(iter(accessions(dossier, systems)), ""),
        modalities=tuple(dict.fromkeys(_modalities(study))),
        description=line(study, "description"),
        instance_count=count if known else None,
    )


def _modalities(study: Resource) -> Iterator[str]:
    """Codes of the study's modalities, else of its series (R4 Coding, R5 CodeableConcept)."""
    holders = [study] if study.get("modality") else records(study, "series")
    for holder in holders:
        for modality in concepts(holder, "modality"):
            for coding in codings(modality):
                if _MODALITY.fullmatch(text(coding, "code")):
                    yield text(coding, "code")
