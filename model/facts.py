"""The findings that a chest CT draft can speak of, and how they are named. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

RIGHT, LEFT = "right", "left"
SIDES = (RIGHT, LEFT)
LUNGS, PLEURA, HEART = "Lungs", "Pleura", "Heart"
ORGANS = (LUNGS, PLEURA, HEART)
"""The organs under which the Findings are told, in the order of the report."""
SIZES = ("small", "moderate", "large")
ZONES = ("upper", "lower")


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: its name, the words that mean it, and whether it has a side."""

    name: str
    lateral: bool
    organ: str
    """One of ORGANS."""
    words: tuple[str, ...]
    """Lower-case words or phrases; the longest that fits is taken."""


CATALOGUE = (
    Finding(
        "pleural effusion",
        True,
        PLEURA,
        ("pleural effusions", "pleural effusion", "effusions", "effusion", "pleural fluid", "hydrothorax"),
    ),
    Finding("pneumothorax", True, PLEURA, ("pneumothorax", "pneumothoraces", "pleural air")),
    Finding(
        "consolidation",
        True,
        LUNGS,
        (
            "consolidations",
            "consolidation",
            "airspace opacity",
            "airspace opacities",
            "airspace disease",
            "pneumonia",
        ),
    ),
    Finding("atelectasis", True, LUNGS, ("atelectasis", "atelectases", "atelectatic", "plate-like collapse")),
    Finding(
        "pulmonary nodule",
        True,
        LUNGS,
        ("pulmonary nodules", "pulmonary nodule", "lung nodules", "lung nodule", "nodules", "nodule"),
    ),
    Finding(
        "cardiomegaly",
        False,
        HEART,
        ("cardiomegaly", "enlarged heart", "heart is enlarged", "cardiac enlargement", "heart enlargement"),
    ),
    Finding(
        "emphysema",
        False,
        LUNGS,
        ("emphysema", "emphysematous changes", "emphysematous change", "emphysematous"),
    ),
)
BY_NAME = {finding.name: finding for finding in CATALOGUE}
SIZED = frozenset({"pleural effusion", "pneumothorax"})
"""Findings of which a report says small, moderate or large."""
ZONED = frozenset({"consolidation", "pulmonary nodule", "atelectasis"})
"""Findings of which a report says whether they lie in the upper or the lower zone."""
MEASURED = frozenset({"pulmonary nodule"})
"""Findings of which a report gives the diameter in millimetres."""


def head_name(finding: str, side: str = "") -> str:
    """The name of a finding head: "pleural effusion, left", or "cardiomegaly" where there is no side."""
    return f"{finding}, {side}" if side else finding


def split_head_name(name: str) -> tuple[str, str]:
    """(finding, side) of a finding head's name; the side is empty where there is none."""
    finding, _, side = name.partition(", ")
    return finding, side


HEADS = tuple(
    head_name(finding.name, side) for finding in CATALOGUE for side in (SIDES if finding.lateral else ("",))
)
"""Every finding head that the catalogue gives rise to, in order."""
