"""The findings of the catalogue and where they are seen, in SNOMED CT. No torch here.

Body sites of the pleura and lungs are those of DICOM PS3.16 (CID 12294, CID 6101 and their neighbours).
A pair of pleurae has no code that we are sure of: there the unsided one stands, and the side beside it.
"""

from __future__ import annotations

from model.claims import BILATERAL
from model.facts import LEFT, RIGHT

SNOMED = "http://snomed.info/sct"

FINDINGS = {
    "pleural effusion": ("60046008", "Pleural effusion"),
    "pneumothorax": ("36118008", "Pneumothorax"),
    "consolidation": ("95436008", "Lung consolidation"),
    "atelectasis": ("46621007", "Atelectasis"),
    "pulmonary nodule": ("786838002", "Nodule of lung"),
    "cardiomegaly": ("8186001", "Cardiomegaly"),
    "emphysema": ("87433001", "Pulmonary emphysema"),
}
"""Finding -> (code, display) in SNOMED CT."""

_LUNG = {
    "": ("39607008", "Lung structure"),
    LEFT: ("44029006", "Left lung structure"),
    RIGHT: ("3341006", "Right lung structure"),
    BILATERAL: ("74101002", "Both lungs"),
}
_PLEURA = {
    "": ("3120008", "Pleural structure"),
    LEFT: ("53727004", "Left pleura"),
    RIGHT: ("44788007", "Right pleura"),
    BILATERAL: ("3120008", "Pleural structure"),
}
_HEART = {"": ("80891009", "Heart structure")}
_SITES = {
    "pleural effusion": _PLEURA,
    "pneumothorax": _PLEURA,
    "consolidation": _LUNG,
    "atelectasis": _LUNG,
    "pulmonary nodule": _LUNG,
    "cardiomegaly": _HEART,
    "emphysema": _LUNG,
}


def body_site(finding: str, side: str) -> tuple[str, str]:
    """(code, display) of where a finding is seen; two empty strings where there is no code."""
    return _SITES.get(finding, {}).get(side, ("", ""))
