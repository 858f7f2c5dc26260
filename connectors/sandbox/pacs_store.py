"""What the sandbox archive holds: instances in memory, and the feed of what changed."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

STUDY_TAGS = {
    "StudyDate": ("00080020", "DA"),
    "StudyTime": ("00080030", "TM"),
    "AccessionNumber": ("00080050", "SH"),
    "StudyDescription": ("00081030", "LO"),
    "PatientName": ("00100010", "PN"),
    "PatientID": ("00100020", "LO"),
    "IssuerOfPatientID": ("00100021", "LO"),
    "PatientBirthDate": ("00100030", "DA"),
    "PatientSex": ("00100040", "CS"),
    "StudyInstanceUID": ("0020000D", "UI"),
}
SERIES_TAGS = {
    "Modality": ("00080060", "CS"),
    "SeriesDescription": ("0008103E", "LO"),
    "SeriesInstanceUID": ("0020000E", "UI"),
}


@dataclass(slots=True)
class Instance:
    data: bytes
    tags: dict[str, str]
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(slots=True)
class Holdings:
    """What the archive holds: study UID -> series UID -> SOP instance UID -> instance."""

    studies: dict[str, dict[str, dict[str, Instance]]] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)
    """(change type, resource); a change's number is its place, counted from 1."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add(self, data: bytes) -> Instance:
        """Hold one instance; the same SOP instance again replaces it. Raises InvalidDicomError."""
        dataset = dcmread(BytesIO(data), stop_before_pixels=True)
        tags = {name: _text(dataset, name) for name in (*STUDY_TAGS, *SERIES_TAGS)}
        instance = Instance(data, tags, _text(dataset, "SOPClassUID"), _text(dataset, "SOPInstanceUID"))
        study, series = tags["StudyInstanceUID"], tags["SeriesInstanceUID"]
        if not (study and series and instance.sop_instance_uid):
            raise InvalidDicomError("an instance needs study, series and SOP instance UIDs")
        with self.lock:
            if study not in self.studies:
                self.changes.append(("NewStudy", resource_of(tags["PatientID"], study)))
            self.studies.setdefault(study, {}).setdefault(series, {})[instance.sop_instance_uid] = instance
        return instance

    def instances(self, study: str, series: str | None = None) -> list[Instance]:
        with self.lock:
            held = self.studies.get(study, {})
            return [
                instance
                for uid, members in held.items()
                if series in {None, uid}
                for instance in members.values()
            ]

    def announce(self, study: str) -> None:
        """Write into the feed that a study is stable. Raises KeyError when it is not held."""
        with self.lock:
            if study not in self.studies:
                raise KeyError("the sandbox archive does not hold this study")
            patient = self.instances(study)[0].tags["PatientID"]
            self.changes.append(("StableStudy", resource_of(patient, study)))


def resource_of(patient_id: str, study_instance_uid: str) -> str:
    """Return the identifier that Orthanc gives a study: SHA-1 of patient ID and study UID, in groups of 8."""
    digest = hashlib.sha1(f"{patient_id}|{study_instance_uid}".encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[at : at + 8] for at in range(0, 40, 8))


def files_in(source: Path) -> Iterator[bytes]:
    if source.is_dir():
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            yield path.read_bytes()
        return
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("/"):
                yield archive.read(name)


def _text(dataset: Any, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value)
