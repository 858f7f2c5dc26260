"""The slices that the case page shows: those that the draft points at, and some evenly spread. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageDraw

from connectors.dicomweb.pictures import CT_LUNG, default_window, evenly_spaced, render_png
from connectors.dicomweb.pixels import Series
from model.facts import head_name
from model.readings import SEEN, Box
from model.study import Draft

EVIDENCE_AT_MOST = 6
EVENLY_SPREAD = 6
FRAME = (255, 176, 0)
"""Colour of the line around evidence: amber, told from every grey and by readers who see no red or green."""
_FRAME_SHARE = 200
"""The line is this part of the longer edge wide: visible on a picture of any size."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture."""

    slice_index: int
    caption: str
    png: bytes
    finding: str = ""
    """The finding head whose evidence it shows; empty for a slice that shows none."""


def pictures(series: Series, draft: Draft) -> Sequence[Shown]:
    """Evidence slices of the draft first, each named by its finding, then slices from feet to head.

    A slice of evidence has a line around the box of its finding. CT is shown in the soft tissue window, and
    evidence in the lung window as well.
    """
    count = len(series.voxels)
    windows = [("", default_window(series.voxels, series.modality))]
    if series.modality == "CT":
        windows = [("soft tissue", windows[0][1]), ("lung", CT_LUNG)]
    shown = []
    for (index, finding), box in list(_pointed_at(draft, count).items())[:EVIDENCE_AT_MOST]:
        for name, window in windows:
            label = f", {name} window" if name else ""
            caption = f"{finding.capitalize()}: slice {index + 1} of {count}{label}"
            png = _framed(render_png(series.voxels[index], *window), box, index)
            shown.append(Shown(index, caption, png, finding))
    for index in evenly_spaced(count, EVENLY_SPREAD):
        caption = f"Slice {index + 1} of {count}"
        shown.append(Shown(index, caption, render_png(series.voxels[index], *windows[0][1])))
    return shown


def _pointed_at(draft: Draft, slices: int) -> Mapping[tuple[int, str], Box | None]:
    """(slice index, finding head) -> its box, in the order of the draft."""
    found: dict[tuple[int, str], Box | None] = {}
    for sentence in draft.sentences:
        for evidence in sentence.evidence:
            index = evidence.slice_index
            seen = evidence.probability is not None and evidence.probability >= SEEN
            # Where a finding would be if it were there is nothing to show.
            if seen and index is not None and 0 <= index < slices:
                found.setdefault((index, head_name(evidence.finding, evidence.side)), evidence.box)
    return found


def _framed(png: bytes, box: Box | None, index: int) -> bytes:
    """A picture of a slice with a line around what the box holds of it; as it is where that is nothing.

    The line runs outside of the box, so that it covers nothing of it but at the picture's edge.
    """
    if box is None or not box[0] <= index < box[3]:
        return png
    picture = Image.open(BytesIO(png)).convert("RGB")
    width, height = picture.size
    top, left, bottom, right = max(box[1], 0), max(box[2], 0), min(box[4], height), min(box[5], width)
    if top >= bottom or left >= right:
        return png
    line = max(1, round(max(width, height) / _FRAME_SHARE))
    corners = (
        max(left - line, 0),
        max(top - line, 0),
        min(right + line, width) - 1,
        min(bottom + line, height) - 1,
    )
    ImageDraw.Draw(picture).rectangle(corners, outline=FRAME, width=line)
    out = BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()
