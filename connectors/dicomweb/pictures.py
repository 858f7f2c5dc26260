"""Slices as PNG pictures, the way they are shown on a reading screen."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CT_LUNG = (-600.0, 1500.0)
"""Window centre and width in Hounsfield units."""
CT_SOFT_TISSUE = (40.0, 400.0)


def render_png(voxels_slice: NDArray[np.float32], window_center: float, window_width: float) -> bytes:
    """Render one (height, width) slice as an 8-bit grey PNG through the linear window of PS3.3 C.11.2.1.2.1.

    Centre and width are in the voxels' unit. Raises ValueError when the width is under 1 (as the clause
    demands) or the array is no slice.
    """
    if voxels_slice.ndim != 2 or 0 in voxels_slice.shape:
        raise ValueError(f"expected one slice (height, width), got an array of shape {voxels_slice.shape}")
    if not window_width >= 1:
        raise ValueError("a window is at least 1 wide")
    shown = np.asarray(voxels_slice, dtype=np.float32)
    span = max(window_width - 1.0, 1e-6)
    grey = ((shown - (window_center - 0.5)) / span + 0.5) * 255.0
    pixels = np.rint(np.clip(np.nan_to_num(grey), 0.0, 255.0)).astype(np.uint8)
    out = BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def evenly_spaced(slice_count: int, pictures: int) -> tuple[int, ...]:
    """Return at most `pictures` different slice indices, evenly spread, away from the first and last edge."""
    count = min(slice_count, pictures)
    return tuple(int((index + 0.5) * slice_count / count) for index in range(count))


def slice_pngs(
    voxels: NDArray[np.float32], pictures: int, window_center: float, window_width: float
) -> tuple[tuple[int, bytes], ...]:
    """Render evenly spaced slices of a (slices, height, width) volume: (slice index, PNG), feet to head."""
    return tuple(
        (index, render_png(voxels[index], window_center, window_width))
        for index in evenly_spaced(len(voxels), pictures)
    )


def default_window(voxels: NDArray[np.float32], modality: str) -> tuple[float, float]:
    """Return centre and width: soft tissue for CT, else from the 1st to the 99th percentile."""
    if modality == "CT":
        return CT_SOFT_TISSUE
    low, high = (float(value) for value in np.percentile(voxels, (1, 99)))
    return (low + high) / 2, max(high - low, 1.0)
