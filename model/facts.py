"""The findings that a chest CT draft can speak of, and how they are named. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

RIGHT, LEFT = "right", "left"
SIDES = (RIGHT, LEFT)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: its name, the words that mean it, and whether it has a side."""

    name: str
    lateral: bool
    words: tuple[str, ...]
    """Lower-case words or phrases; the longest that fits is taken."""


CATALOGUE = (
    Finding(
        "pleural effusion",
        True,
        ("pleural effusions", "pleural effusion", "effusions", "effusion", "pleural fluid", "hydrothorax"),
    ),
    Finding("pneumothorax", True, ("pneumothorax", "pneumothoraces", "pleural air")),
    Finding(
        "consolidation",
        True,
        (
            "consolidations",
            "consolidation",
            "airspace opacity",
            "airspace opacities",
            "airspace disease",
            "pneumonia",
        ),
    ),
    Finding("atelectasis", True, ("atelectasis", "atelectases", "atelectatic", "plate-like collapse")),
    Finding(
        "pulmonary nodule",
        True,
        ("pulmonary nodules", "pulmonary nodule", "lung nodules", "lung nodule", "nodules", "nodule"),
    ),
    Finding(
        "cardiomegaly",
        False,
        ("cardiomegaly", "enlarged heart", "heart is enlarged", "cardiac enlargement", "heart enlargement"),
    ),
    Finding(
        "emphysema", False, ("emphysema", "emphysematous changes", "emphysematous change", "emphysematous")
    ),
)
BY_NAME = {finding.name: finding for finding in CATALOGUE}


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
