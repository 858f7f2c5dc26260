"""The pixels of a study as a volume in patient orientation, read by a process that may fail alone."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import connectors
from connectors.dicomweb.patients import date_of, patient_of
from connectors.errors import Malformed
from connectors.exchange import Patient

MEMORY_BYTES = 3 * 1024**3
DEADLINE_SECONDS = 120.0
MAX_VOXELS = 256 * 1024**2
"""1,024 slices of 512 x 512."""
_HEADER_CAP_BYTES = 1024 * 1024
_READER = "connectors.dicomweb.reader"


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its voxels, and whose they are."""

    voxels: NDArray[np.float32]
    """(slices, height, width). Hounsfield units for CT, else the stored values after rescale; brighter is
    always higher. Slices run from feet to head, rows from front to back, columns from the patient's
    right to the patient's left."""
    spacing_mm: tuple[float, float, float]
    """Distance between slices, rows and columns, in millimetres."""
    modality: str
    study_instance_uid: str
    series_instance_uid: str
    patient: Patient
    accession: str
    study_date: date | None
    description: str
    """Series Description, or else Study Description."""


def read_series(
    folder: Path,
    *,
    memory_bytes: int = MEMORY_BYTES,
    deadline_seconds: float = DEADLINE_SECONDS,
    max_voxels: int = MAX_VOXELS,
) -> Series:
    """Read the best series among the DICOM files under `folder`, in a child process with limits.

    `memory_bytes` bounds the child's address space, about 12 bytes a voxel and 400 MB besides;
    `deadline_seconds` its time; `max_voxels` what a series may claim. reader.read_folder tells which
    series is chosen.

    Raises Malformed with the rule that was broken and the file's ordinal, never with patient data;
    RuntimeError when the child could not run at all.
    """
    with tempfile.TemporaryDirectory(prefix="prelim-reader-") as name:
        result = Path(name)
        status = _run(folder, result, memory_bytes, deadline_seconds, max_voxels)
        if status == 0:
            return _collect(result, max_voxels)
        if status == 3:
            raise Malformed(str(_json(result / "refusal.json").get("reason", "refused without a reason")))
        if status < 0:
            # Killed from outside or by a limit, or a decoder crashed: no word from the child.
            name_of_signal = signal.Signals(-status).name
            raise Malformed(
                f"the reader process ended by {name_of_signal}: the files need more memory or time than "
                f"they may have ({memory_bytes} bytes, {deadline_seconds:g} seconds), or break the decoder"
            )
        raise RuntimeError(f"the reader process failed with exit status {status}: is pydicom installed?")


def _run(folder: Path, result: Path, memory_bytes: int, deadline_seconds: float, max_voxels: int) -> int:
    command = [sys.executable, "-P", "-s", "-m", _READER, str(folder.resolve()), str(result)]
    limits = [str(memory_bytes), str(math.ceil(deadline_seconds) + 1), str(max_voxels)]
    # No secret of ours is in the environment of a process that parses what strangers sent.
    environment = {
        "PYTHONPATH": str(Path(connectors.__file__).resolve().parents[1]),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": os.defpath,
        "TMPDIR": str(result),
    }
    try:
        return subprocess.run(  # noqa: S603 - our own interpreter and module, no shell
            command + limits,
            cwd=result,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=deadline_seconds,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        raise Malformed(f"reading the files took longer than {deadline_seconds:g} seconds") from None


def _collect(result: Path, max_voxels: int) -> Series:
    """Take what the child left, trusting it no more than the files it read."""
    voxel_file, header = result / "voxels.npy", _json(result / "header.json")
    if voxel_file.stat().st_size > max_voxels * 4 + _HEADER_CAP_BYTES:
        raise Malformed(f"the series holds more than {max_voxels} voxels")
    try:
        # Mapped copy-on-write, so that the pages are not copied; the mapping outlives the deleted file.
        mapped = np.load(voxel_file, mmap_mode="c", allow_pickle=False)
        voxels = np.ascontiguousarray(mapped.view(np.ndarray))
        spacing = tuple(float(length) for length in header["spacing_mm"])
    except (ValueError, TypeError, KeyError):
        raise Malformed("the reader process left a result that cannot be read") from None
    if voxels.dtype != np.float32 or voxels.ndim != 3 or len(spacing) != 3:
        raise Malformed("the reader process left something other than one volume")

    def text(key: str) -> str:
        return str(header.get(key, ""))

    return Series(
        voxels=voxels,
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        modality=text("modality"),
        study_instance_uid=text("study_instance_uid"),
        series_instance_uid=text("series_instance_uid"),
        patient=patient_of(
            identifier=text("patient_id"),
            issuer=text("issuer"),
            person_name=text("person_name"),
            birth_date=text("birth_date"),
            sex=text("sex"),
        ),
        accession=text("accession"),
        study_date=date_of(text("study_date")),
        description=text("description"),
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > _HEADER_CAP_BYTES:
        raise Malformed("the reader process left no result, or one beyond all measure")
    found = json.loads(path.read_text(encoding="ascii"))
    if not isinstance(found, dict):
        raise Malformed("the reader process left a result that cannot be read")
    return found
