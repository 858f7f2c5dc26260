"""The slices that the case page shows: those that the draft points at, and some evenly spread. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.dicomweb.pictures import CT_LUNG, default_window, evenly_spaced, render_png
from connectors.dicomweb.pixels import Series
from model.study import Draft

EVIDENCE_AT_MOST = 6
EVENLY_SPREAD = 6
SEEN = 0.5
"""Probability from which a finding counts as seen."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture."""

    slice_index: int
    caption: str
    png: bytes


def pictures(series: Series, draft: Draft) -> Sequence[Shown]:
    """Evidence slices of the draft first, each named by its finding, then slices from feet to head.

    CT is shown in the soft tissue window, and evidence in the lung window as well.
    """
    count = len(series.voxels)
    windows = [("", default_window(series.voxels, series.modality))]
    if series.modality == "CT":
        windows = [("soft tissue", windows[0][1]), ("lung", CT_LUNG)]
    shown = []
    for index, finding in list(_pointed_at(draft, count).items())[:EVIDENCE_AT_MOST]:
        for name, window in windows:
            label = f", {name} window" if name else ""
            caption = f"{finding}: slice {index + 1} of {count}{label}"
            shown.append(Shown(index, caption, render_png(series.voxels[index], *window)))
    for index in evenly_spaced(count, EVENLY_SPREAD):
        caption = f"Slice {index + 1} of {count}"
        shown.append(Shown(index, caption, render_png(series.voxels[index], *windows[0][1])))
    return shown


def _pointed_at(draft: Draft, slices: int) -> dict[int, str]:
    """Slice index -> what it shows, in the order of the draft."""
    found: dict[int, str] = {}
    for sentence in draft.sentences:
        for evidence in sentence.evidence:
            index = evidence.slice_index
            seen = evidence.probability is not None and evidence.probability >= SEEN
            # Where a finding would be if it were there is nothing to show.
            if seen and index is not None and 0 <= index < slices:
                name = f"{evidence.finding}, {evidence.side}" if evidence.side else evidence.finding
                found.setdefault(index, name.capitalize())
    return found
