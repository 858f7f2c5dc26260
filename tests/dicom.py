"""DICOM files made for tests: small CT series whose every voxel is known."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from connectors.dicomweb.uids import new_uid

SPACING_MM = (5.0, 0.75, 0.5)
"""Of the phantom: between slices, rows and columns."""
X, Y, Z = 0, 1, 2


def phantom(shape: tuple[int, int, int] = (4, 6, 8)) -> NDArray[np.float32]:
    """A volume in which every voxel has its own value, from -1000 up, in Hounsfield units."""
    count = shape[0] * shape[1] * shape[2]
    return (np.arange(count, dtype=np.float32) - 1000).reshape(shape)


def ct_series(
    volume: NDArray[np.float32],
    *,
    along_row: tuple[int, int] = (X, 1),
    along_column: tuple[int, int] = (Y, 1),
    **changes: Any,
) -> list[Dataset]:
    """Write a (feet to head, front to back, right to left) volume as CT images of one series.

    `along_row` and `along_column` give (patient axis, sign) of Image Orientation (Patient); `changes` are
    set on every image.
    """
    (row_axis, row_sign), (column_axis, column_sign) = along_row, along_column
    across = 3 - row_axis - column_axis
    lengths = {X: volume.shape[2], Y: volume.shape[1], Z: volume.shape[0]}
    spacing = {X: SPACING_MM[2], Y: SPACING_MM[1], Z: SPACING_MM[0]}
    study, series, frame = new_uid(), new_uid(), new_uid()
    by_axis = volume.transpose(2, 1, 0)  # indexed x, y, z
    images = []
    for index in range(lengths[across]):
        plane = np.moveaxis(by_axis, across, 0)[index]
        if row_axis < column_axis:  # the two axes left are in x, y, z order; rows run along the column's
            plane = plane.T
        plane = plane[::column_sign, ::row_sign]
        place = [0.0, 0.0, 0.0]
        place[across] = index * spacing[across]
        for axis, sign in (along_row, along_column):
            place[axis] = 0.0 if sign > 0 else (lengths[axis] - 1) * spacing[axis]
        cosines = [0.0] * 6
        cosines[row_axis], cosines[3 + column_axis] = float(row_sign), float(column_sign)
        image = ct_image(plane, study, series)
        image.FrameOfReferenceUID = frame
        image.InstanceNumber = index + 1
        image.ImagePositionPatient = place
        image.ImageOrientationPatient = cosines
        image.PixelSpacing = [spacing[column_axis], spacing[row_axis]]
        image.SliceThickness = spacing[across]
        for keyword, value in changes.items():
            setattr(image, keyword, value)
        images.append(image)
    return images


def ct_image(plane: NDArray[np.float32], study: str, series: str) -> Dataset:
    """One CT image with stored values offset by 1024, without its place in the patient."""
    image = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = new_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.PatientID, image.PatientName = "TEST-1", "Test^Patient"
    image.PatientBirthDate, image.PatientSex = "19700102", "F"
    image.IssuerOfPatientID = "TESTS"
    image.StudyDate, image.StudyTime, image.StudyID = "20260102", "101112", "1"
    image.AccessionNumber = "ACC-1"
    image.ReferringPhysicianName = ""
    image.StudyDescription, image.SeriesDescription = "CT of a phantom", "axial"
    image.SeriesNumber = 1
    image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    stored = np.ascontiguousarray(plane + 1024).astype("<i2")
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 1
    image.PixelData = stored.tobytes()
    return image


def enhanced_ct(volume: NDArray[np.float32], *, backwards: bool = False) -> Dataset:
    """The volume as one enhanced CT image, a frame a slice; `backwards` stores the frames head first."""
    singles = ct_series(volume)[:: -1 if backwards else 1]
    image = ct_image(volume[0], new_uid(), new_uid())
    image.SOPClassUID = EnhancedCTImageStorage
    image.NumberOfFrames = len(singles)
    image.PixelData = b"".join(single.PixelData for single in singles)
    del image.RescaleSlope, image.RescaleIntercept
    shared = Dataset()
    shared.PlaneOrientationSequence = [_with(ImageOrientationPatient=singles[0].ImageOrientationPatient)]
    shared.PixelMeasuresSequence = [_with(PixelSpacing=singles[0].PixelSpacing, SliceThickness=5)]
    image.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for single in singles:
        group = Dataset()
        group.PlanePositionSequence = [_with(ImagePositionPatient=single.ImagePositionPatient)]
        group.PixelValueTransformationSequence = [
            _with(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
        ]
        groups.append(group)
    image.PerFrameFunctionalGroupsSequence = groups
    return image


def _with(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def encoded(image: Dataset) -> bytes:
    """One image as the bytes of a DICOM file."""
    out = BytesIO()
    image.save_as(out, enforce_file_format=True)
    return out.getvalue()


def write(folder: Path, images: list[Dataset] | list[bytes]) -> Path:
    """Write images into a folder, last first, so that no reader may rely on the order of the names."""
    for number, image in enumerate(reversed(images)):
        data = image if isinstance(image, bytes) else encoded(image)
        (folder / f"{number:04}.dcm").write_bytes(data)
    return folder
