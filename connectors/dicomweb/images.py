"""What one DICOM image says of itself, before its pixels are decoded. Runs only in the reader process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.dicomweb.geometry import Plane
from connectors.errors import Malformed

MODALITIES = ("CT", "MR")
"""What is read as a volume, the preferred first."""
LARGEST_SCALE = 1e9
"""Largest slope and intercept."""
_MOST_FRAMES = 100_000


class Unusable(Exception):
    """The file is sound DICOM but no slice that a volume can be made of; the message says why."""


@dataclass(frozen=True, slots=True)
class Belonging:
    """Whose the file is; equal for all files of one study."""

    patient_id: str
    issuer: str
    study_instance_uid: str
    accession: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Stored value to meaning: value * slope + intercept (PS3.3 C.11.1)."""

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class Image:
    """One file with one or more slices."""

    path: Path
    ordinal: int
    sop_instance_uid: str
    series_instance_uid: str
    modality: str
    original: bool
    """Image Type (0008,0008) value 1 is ORIGINAL."""
    inverted: bool
    """MONOCHROME1: the lowest value is shown white."""
    planes: tuple[Plane, ...]
    scales: tuple[Scale, ...]

    @property
    def voxel_count(self) -> int:
        """Voxels of all slices, as claimed."""
        return len(self.planes) * self.planes[0].shape[0] * self.planes[0].shape[1]


def belonging_of(dataset: Any) -> Belonging:
    """Read whose the file is."""
    return Belonging(
        text(dataset, "PatientID"),
        text(dataset, "IssuerOfPatientID"),
        text(dataset, "StudyInstanceUID"),
        text(dataset, "AccessionNumber"),
    )


def image_of(dataset: Any, path: Path, ordinal: int, max_voxels: int) -> Image:
    """Read the header of one image. Raises Unusable, and Malformed for what contradicts itself."""
    modality = text(dataset, "Modality").upper()
    kind = [str(value).upper() for value in _many(dataset, "ImageType")]
    rows, columns = _whole(dataset, "Rows"), _whole(dataset, "Columns")
    if not rows or not columns:
        raise Unusable("it holds no image: Rows (0028,0010) or Columns (0028,0011) is missing or zero")
    frames = _whole(dataset, "NumberOfFrames") or 1
    if frames > _MOST_FRAMES or frames * rows * columns > max_voxels:
        raise Malformed(f"it claims more than {max_voxels} voxels")
    if modality not in MODALITIES:
        raise Unusable(f"its modality is not one of {', '.join(MODALITIES)}")
    if "LOCALIZER" in kind:
        raise Unusable("it is a localizer")
    _check_grey(dataset)
    planes, scales = _slices(dataset, modality, frames, (rows, columns))
    return Image(
        path=path,
        ordinal=ordinal,
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        series_instance_uid=text(dataset, "SeriesInstanceUID"),
        modality=modality,
        original=bool(kind) and kind[0] == "ORIGINAL",
        inverted=text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        planes=planes,
        scales=scales,
    )


def text(dataset: Any, keyword: str) -> str:
    """Return a value as text, decoded and stripped; empty when there is none."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _check_grey(dataset: Any) -> None:
    samples, photometric = _whole(dataset, "SamplesPerPixel"), text(dataset, "PhotometricInterpretation")
    if samples != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise Unusable("its pixels are no grey values: expected one sample, MONOCHROME1 or MONOCHROME2")
    if _whole(dataset, "BitsAllocated") not in {8, 16, 32}:
        raise Unusable("expected 8, 16 or 32 Bits Allocated (0028,0100)")
    if dataset.get("ModalityLUTSequence"):
        raise Unusable("its values go through a Modality LUT (0028,3000), which is not supported")


def _slices(
    dataset: Any, modality: str, frames: int, shape: tuple[int, int]
) -> tuple[tuple[Plane, ...], tuple[Scale, ...]]:
    each = dataset.get("PerFrameFunctionalGroupsSequence")
    if not each:
        if frames > 1:
            raise Unusable("it holds several frames without functional groups (PS3.3 C.7.6.16): no positions")
        return (_plane(dataset, dataset, dataset, shape),), (_scale(dataset, modality),)
    if len(each) != frames:
        raise Malformed(f"it claims {frames} frames but describes {len(each)}")
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or ()), None)
    planes, scales = [], []
    for group in each:
        position, orientation, measures, transformation = (
            _macro(name, group, shared)
            for name in (
                "PlanePositionSequence",
                "PlaneOrientationSequence",
                "PixelMeasuresSequence",
                "PixelValueTransformationSequence",
            )
        )
        planes.append(_plane(position, orientation, measures, shape))
        scales.append(_scale(transformation, modality))
    return tuple(planes), tuple(scales)


def _macro(name: str, group: Any, shared: Any) -> Any:
    """Return a functional group's item: the frame's own, else the one shared by all (PS3.3 C.7.6.16.1.1)."""
    for holder in (group, shared):
        items = holder.get(name) if holder is not None else None
        if items:
            return items[0]
    return None


def _plane(position: Any, orientation: Any, measures: Any, shape: tuple[int, int]) -> Plane:
    place = _numbers(position, "ImagePositionPatient", 3)
    cosines = _numbers(orientation, "ImageOrientationPatient", 6)
    spacing = _numbers(measures, "PixelSpacing", 2)
    thickness = _numbers(measures, "SliceThickness", 1)
    if place is None or cosines is None:
        raise Unusable(
            "it does not say where in the patient it lies: Image Position and Image Orientation (Patient) "
            "(0020,0032), (0020,0037) are needed to tell left from right"
        )
    if spacing is None:
        raise Unusable("it has no Pixel Spacing (0028,0030)")
    return Plane(
        shape=shape,
        position=(place[0], place[1], place[2]),
        along_row=(cosines[0], cosines[1], cosines[2]),
        along_column=(cosines[3], cosines[4], cosines[5]),
        spacing=(spacing[0], spacing[1]),
        thickness=thickness[0] if thickness else None,
    )


def _scale(holder: Any, modality: str) -> Scale:
    slope, intercept = _numbers(holder, "RescaleSlope", 1), _numbers(holder, "RescaleIntercept", 1)
    if modality == "CT":
        if slope is None or intercept is None:
            raise Unusable("a CT image without Rescale Slope and Intercept has no Hounsfield units")
        # PS3.3 C.11.1.1.2: Hounsfield units are the default where the type is absent.
        if text(holder, "RescaleType").upper() not in {"", "HU", "HU_MOD"}:
            raise Unusable("its Rescale Type (0028,1054) is not HU")
    factor, offset = slope[0] if slope else 1.0, intercept[0] if intercept else 0.0
    if factor == 0:
        raise Malformed("its Rescale Slope (0028,1053) is zero")
    # With 32-bit stored values this keeps every voxel a finite 32-bit float.
    if max(abs(factor), abs(offset)) > LARGEST_SCALE:
        raise Malformed(f"its Rescale Slope or Intercept is beyond {LARGEST_SCALE:g}")
    return Scale(factor, offset)


def _many(dataset: Any, keyword: str) -> list[Any]:
    value = dataset.get(keyword) if dataset is not None else None
    if value is None or value == "":
        return []
    return list(value) if not isinstance(value, (str, bytes)) and hasattr(value, "__iter__") else [value]


def _numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return `count` finite numbers, or None when the attribute is absent or empty."""
    found = _many(dataset, keyword)
    if not found:
        return None
    numbers = tuple(float(value) for value in found)
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise Malformed(f"{keyword} is not {count} finite numbers")
    return numbers


def _whole(dataset: Any, keyword: str) -> int:
    """Return a whole number, 0 when there is none."""
    found = _many(dataset, keyword)
    if not found:
        return 0
    if len(found) != 1 or int(found[0]) < 0:
        raise Malformed(f"{keyword} is not one number from zero up")
    return int(found[0])
