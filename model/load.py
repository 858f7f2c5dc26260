"""From a model folder to a drafter. Importing this does not import torch; loading weights may."""

from __future__ import annotations

from pathlib import Path

from model.manifest import read_manifest
from model.study import Drafter

SHIPPED_WEIGHTS = Path(__file__).parent / "weights" / "phantom-chest-ct"
"""The small drafter trained on synthetic phantoms: for demonstration, not for patients."""
SCRIPTED_WEIGHTS = Path(__file__).parent / "weights" / "scripted"
"""A drafter that looks at no image and says so: for trying the pipeline without torch."""


def load_drafter(folder: Path | None = None) -> Drafter:
    """Load the drafter of a model folder; None loads the shipped weights.

    Every hash is verified before anything is loaded. Raises WeightsError when a file is missing,
    altered, unpinned or of a kind that can run code, or when the adapter belongs to another base.
    """
    manifest = read_manifest(SHIPPED_WEIGHTS if folder is None else Path(folder))
    if manifest.architecture == "scripted":
        from model.scripted import ScriptedDrafter

        return ScriptedDrafter(manifest)
    from model.drafter import VisionLanguageDrafter

    return VisionLanguageDrafter(manifest)
