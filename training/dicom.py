"""A volume as CT Image Storage files (PS3.3 A.3), the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from model.study import Volume

IMPLEMENTATION_UID = "2.25.329800735698586629295641978511506172918"
_RESCALE_INTERCEPT = -1024
_ZIP_EPOCH = (2026, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class StudyLabels:
    """What the files say about whose images they are."""

    patient_name: str = "PHANTOM^SYNTHETIC"
    patient_id: str = "PHANTOM"
    issuer_of_patient_id: str = ""
    accession: str = ""
    study_instance_uid: str = ""
    """Empty: derived from the volume's own."""
    study_description: str = "CT CHEST"
    birth_date: str = "19600101"
    sex: str = "O"
    study_date: str = "20260105"
    study_time: str = "083000"


def derived_uid(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that depends on nothing but the parts."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def dicom_files(volume: Volume, labels: StudyLabels) -> dict[str, bytes]:
    """File name -> bytes of one CT Image Storage instance for each slice, feet first."""
    study = labels.study_instance_uid or derived_uid("study", volume.study_instance_uid)
    series = derived_uid("series", study, volume.series_instance_uid)
    return {
        f"slice-{index + 1:03d}.dcm": _instance(volume, labels, study, series, index)
        for index in range(volume.voxels.shape[0])
    }


def write_dicom(volume: Volume, folder: Path, labels: StudyLabels) -> list[Path]:
    """Write the slices of a volume into a folder, which is made when it is missing; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in dicom_files(volume, labels).items():
        path = folder / name
        path.write_bytes(content)
        paths.append(path)
    return paths


def write_zip(volume: Volume, path: Path, labels: StudyLabels) -> None:
    """Write the slices of a volume as one deflated archive; entries carry a fixed date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in dicom_files(volume, labels).items():
            entry = zipfile.ZipInfo(name, date_time=_ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, compresslevel=9)


def _instance(volume: Volume, labels: StudyLabels, study: str, series: str, index: int) -> bytes:
    between_slices, between_rows, between_columns = volume.spacing_mm
    count, rows, columns = volume.voxels.shape
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = derived_uid("instance", series, index)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = "PRELIM_PHANTOM"

    ds = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    # Patient (C.7.1.1)
    ds.PatientName = labels.patient_name
    ds.PatientID = labels.patient_id
    if labels.issuer_of_patient_id:
        ds.IssuerOfPatientID = labels.issuer_of_patient_id
    ds.PatientBirthDate = labels.birth_date
    ds.PatientSex = labels.sex
    # General Study (C.7.2.1) and General Series (C.7.3.1)
    ds.StudyInstanceUID = study
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = labels.study_date
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = labels.study_time
    ds.ReferringPhysicianName = ""
    ds.StudyID = "1"
    ds.AccessionNumber = labels.accession
    ds.StudyDescription = labels.study_description
    ds.Modality = "CT"
    ds.SeriesInstanceUID = series
    ds.SeriesNumber = 1
    ds.SeriesDescription = "Synthetic phantom"
    ds.BodyPartExamined = "CHEST"
    ds.PatientPosition = "HFS"
    # Frame of Reference (C.7.4.1) and General Equipment (C.7.5.1)
    ds.FrameOfReferenceUID = derived_uid("frame", study)
    ds.PositionReferenceIndicator = ""
    ds.Manufacturer = "Prelim"
    ds.ManufacturerModelName = "Synthetic phantom"
    # General Image (C.7.6.1), Image Plane (C.7.6.2), Image Pixel (C.7.6.3): columns run to the
    # patient's left and rows to the back, as in Volume.
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.AcquisitionNumber = 1
    ds.InstanceNumber = index + 1
    ds.ImageComments = "Synthetic phantom, no patient"
    ds.BurnedInAnnotation = "NO"
    ds.PixelSpacing = [between_rows, between_columns]
    ds.SliceThickness = between_slices
    ds.SpacingBetweenSlices = between_slices
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [
        round(-between_columns * (columns - 1) / 2, 4),
        round(-between_rows * (rows - 1) / 2, 4),
        round(between_slices * (index - (count - 1) / 2), 4),
    ]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    # CT Image (C.8.2.1)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = _RESCALE_INTERCEPT, 1, "HU"
    ds.KVP = None
    ds.WindowCenter, ds.WindowWidth = [-500, 40], [1400, 400]
    stored = np.clip(np.rint(volume.voxels[index]) - _RESCALE_INTERCEPT, 0, 4095).astype("<u2")
    ds.PixelData = stored.tobytes()
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
