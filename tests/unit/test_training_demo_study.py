"""The embedded hospital's study can be made again from one command."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pydicom
from click.testing import CliRunner

from training.cli import data
from training.phantoms import SHAPE, SPACING_MM

SHIPPED = Path(__file__).parents[2] / "connectors" / "sandbox" / "studies" / "chest-ct.zip"
COMMAND = [
    "phantom",
    "--seed",
    "20260106",
    "--side",
    "left",
    "--patient-name",
    "DEMO^PATIENT",
    "--patient-id",
    "DEMO-0001",
    "--issuer",
    "DEMOHOSP",
    "--accession",
    "DEMO-ACC-1",
    "--study-uid",
    "2.25.214748364720260105",
]


def _entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_demo_study_is_what_its_command_makes(tmp_path: Path) -> None:
    """The same command gives the shipped DICOM files byte for byte."""
    out = tmp_path / "chest-ct.zip"
    result = CliRunner().invoke(data, [*COMMAND, "--finding", "pleural effusion", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert _entries(out) == _entries(SHIPPED)


def test_the_demo_study_is_one_ct_series_of_the_demo_patient() -> None:
    """Every file reads as CT Image Storage of one study, named for no real patient."""
    files = [pydicom.dcmread(io.BytesIO(content)) for content in _entries(SHIPPED).values()]
    assert len(files) == SHAPE[0]
    assert {(f.Rows, f.Columns) for f in files} == {SHAPE[1:]}
    assert {(f.SliceThickness, *f.PixelSpacing) for f in files} == {SPACING_MM}
    assert {str(f.PatientName) for f in files} == {"DEMO^PATIENT"}
    assert {(f.PatientID, f.IssuerOfPatientID) for f in files} == {("DEMO-0001", "DEMOHOSP")}
    assert {f.AccessionNumber for f in files} == {"DEMO-ACC-1"}
    assert {f.StudyInstanceUID for f in files} == {"2.25.214748364720260105"}
    assert {f.SOPClassUID for f in files} == {pydicom.uid.CTImageStorage}
    assert len({f.SeriesInstanceUID for f in files}) == 1
    assert len({f.SOPInstanceUID for f in files}) == SHAPE[0]


def test_the_demo_study_shows_fluid_on_the_left_only() -> None:
    """Behind the left lung lies water density, behind the right one air: columns run to the left."""
    files = [pydicom.dcmread(io.BytesIO(content)) for content in _entries(SHIPPED).values()]
    voxels = np.stack([f.pixel_array.astype(np.float32) + float(f.RescaleIntercept) for f in files])
    right, left = voxels[10:16, 70:76, 22:40], voxels[10:16, 70:76, 70:88]
    assert np.median(right) < -700
    assert -40 < np.median(left) < 60
