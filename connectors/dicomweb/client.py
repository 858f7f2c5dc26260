"""The image archive over DICOMweb: studies found (QIDO-RS), fetched (WADO-RS) and stored (STOW-RS)."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from connectors.dicomweb.answers import count_of, first_text, people_of, texts, values
from connectors.dicomweb.multipart import Parts, boundary_of
from connectors.dicomweb.peer import Peer, Query, failure_of, read_json
from connectors.dicomweb.uids import checked_uid
from connectors.errors import Malformed, Rejected, Unreachable
from connectors.exchange import StudyRef

_DICOM_JSON = "application/dicom+json"
_DICOM_PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""PS3.18 section 8.7.3.5.2: the star asks for what is stored, so that no archive transcodes for us."""

STUDY_UID, SERIES_UID = "0020000D", "0020000E"
ACCESSION, MODALITY, MODALITIES, ISSUER = "00080050", "00080060", "00080061", "00100021"
STUDY_DESCRIPTION, STUDY_INSTANCES, SERIES_INSTANCES = "00081030", "00201208", "00201209"
FAILED, REFERENCED = "00081198", "00081199"

PREFERRED_MODALITIES = ("CT", "MR")
"""Series of the first of these that a study holds are fetched, and no others."""
LONGEST_ACCESSION = 64
"""An SH value has 16 characters (PS3.5 section 6.2); archives accept longer ones."""


class DicomwebClient:
    """One DICOMweb service, for example http://archive/dicom-web. Safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float = 30.0,
        deadline_seconds: float = 900.0,
        auth: tuple[str, str] | None = None,
        bearer_token: str = "",
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        """Prepare; nothing is sent yet.

        `timeout_seconds` is for each connect and each read, `deadline_seconds` for a whole exchange.
        Raises ValueError when the URL is not http or https.
        """
        self._peer = Peer(
            base_url,
            "image archive",
            timeout_seconds=timeout_seconds,
            deadline_seconds=deadline_seconds,
            auth=auth,
            bearer_token=bearer_token,
            verify=verify,
        )

    def __enter__(self) -> DicomwebClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._peer.close()

    def find_studies(
        self, accession: str | None = None, study_instance_uid: str | None = None
    ) -> tuple[StudyRef, ...]:
        """Find studies by accession number, study instance UID, or both (PS3.18 section 10.6).

        Only exact matches are returned, whatever the archive's own rule is. Raises ValueError without a
        key, Malformed when a key could match more than itself, and as Peer.exchange.
        """
        params: dict[str, str | list[str]] = {}
        if accession is not None:
            params["AccessionNumber"] = _checked_accession(accession)
        if study_instance_uid is not None:
            params["StudyInstanceUID"] = checked_uid(study_instance_uid, "study instance UID")
        if not params:
            raise ValueError("find_studies needs an accession number or a study instance UID")
        # Repeated, not joined: PS3.18 section 8.3.4.3 allows both, but Orthanc ignores an escaped comma.
        params["includefield"] = [STUDY_DESCRIPTION, ISSUER, MODALITIES, STUDY_INSTANCES]
        found = (_study_of(entry) for entry in self._query("/studies", params))
        return tuple(
            study
            for study in found
            if (accession is None or study.accession == accession.strip())
            and (study_instance_uid is None or study.study_instance_uid == study_instance_uid)
        )

    def fetch_study(
        self, study_instance_uid: str, folder: Path, *, byte_cap: int, series_cap: int = 3
    ) -> int:
        """Fetch the series of a study that a report can be drafted from, and return the number of files.

        Of the study's CT series (or MR, when there is no CT) the `series_cap` largest are retrieved, each
        whole in one exchange (PS3.18 section 10.4), and streamed into `folder`, which must exist, as
        001-000001.dcm and so on: no name comes from the data. On failure the files are removed again.

        Raises Unreachable also when fewer instances come than the archive counts, Malformed when more
        than `byte_cap` bytes come or no series is of a kind we read, and as Peer.exchange.
        """
        study = checked_uid(study_instance_uid, "study instance UID")
        written: list[Path] = []
        room = byte_cap
        try:
            for ordinal, (series, count) in enumerate(self._series_to_fetch(study)[:series_cap], 1):
                files, size = self._fetch_series(study, series, folder, ordinal, room, written)
                room -= size
                if count is not None and files < count:
                    raise Unreachable(
                        f"the image archive counts {count} instances in series {ordinal} but sent {files}: "
                        "the study may still be arriving, fetch it again"
                    )
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise
        return len(written)

    def store(self, files: Iterable[Path | bytes]) -> int:
        """Store DICOM files (PS3.18 section 10.5) and return how many the archive took.

        Raises Rejected when the archive refuses any of them, and as Peer.exchange.
        """
        boundary = secrets.token_hex(16)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        with self._peer.exchange(
            "POST",
            "/studies",
            accept=_DICOM_JSON,
            headers={"Content-Type": kind},
            content=_encoded(files, boundary),
            also=(202, 409),
        ) as answer:
            told = read_json(answer, "image archive")
            status = answer.status
        entry = told if isinstance(told, dict) else {}
        failed, taken = len(values(entry, FAILED)), len(values(entry, REFERENCED))
        if failed:
            raise Rejected(f"the image archive refused {failed} of {failed + taken} instances")
        if status == 409:
            raise failure_of(status, "image archive")
        return taken

    def _query(self, path: str, params: Query, *, absent_ok: bool = False) -> list[dict[str, Any]]:
        told = self._peer.json(path, accept=_DICOM_JSON, params=params, absent_ok=absent_ok)
        if told is None:  # 204 No Content: nothing matched
            return []
        if not isinstance(told, list) or not all(isinstance(entry, dict) for entry in told):
            raise Malformed("the image archive answered a query with something that is no list of datasets")
        return told

    def _series_to_fetch(self, study: str) -> list[tuple[str, int | None]]:
        """Return (series instance UID, instance count) of the series to read, the largest first."""
        fields: Query = {"includefield": [SERIES_INSTANCES]}
        entries = self._query(f"/studies/{study}/series", fields, absent_ok=True)
        if not entries:
            raise Unreachable("the image archive holds no series of this study yet: fetch it again later")
        for modality in PREFERRED_MODALITIES:
            series = [
                (
                    checked_uid(first_text(entry, SERIES_UID), "series instance UID"),
                    count_of(entry, SERIES_INSTANCES),
                )
                for entry in entries
                if first_text(entry, MODALITY) == modality
            ]
            if series:
                return sorted(series, key=lambda item: (-(item[1] or 0), item[0]))
        kinds = " or ".join(PREFERRED_MODALITIES)
        raise Malformed(f"expected a series of modality {kinds}; the study has none among its {len(entries)}")

    def _fetch_series(
        self, study: str, series: str, folder: Path, ordinal: int, room: int, written: list[Path]
    ) -> tuple[int, int]:
        """Stream one series into `folder`; return (files, bytes). Appends each path before writing to it."""
        files = size = 0
        path = f"/studies/{study}/series/{series}"
        with self._peer.exchange("GET", path, accept=_DICOM_PARTS) as answer:
            for part in Parts(answer.chunks, boundary_of(answer.content_type)):
                files += 1
                target = folder / f"{ordinal:03}-{files:06}.dcm"
                written.append(target)
                with target.open("xb") as out:
                    for chunk in part:
                        size += len(chunk)
                        if size > room:
                            raise Malformed(
                                "the study is larger than the byte cap: raise the cap if it is to be read"
                            )
                        out.write(chunk)
        return files, size


def _checked_accession(accession: str) -> str:
    """Return the accession number as a key that can match only itself (PS3.4 section C.2.2.2)."""
    text = accession.strip()
    if not text or len(text) > LONGEST_ACCESSION or not text.isprintable() or any(c in "*?\\" for c in text):
        raise Malformed(
            "the accession number cannot be looked up: expected 1 to "
            f"{LONGEST_ACCESSION} printable characters without wildcards (* ? \\)"
        )
    return text


def _study_of(entry: dict[str, Any]) -> StudyRef:
    return StudyRef(
        study_instance_uid=checked_uid(first_text(entry, STUDY_UID), "study instance UID"),
        patient=people_of(entry),
        accession=first_text(entry, ACCESSION),
        modalities=texts(entry, MODALITIES),
        description=first_text(entry, STUDY_DESCRIPTION),
        instance_count=count_of(entry, STUDY_INSTANCES),
    )


def _encoded(files: Iterable[Path | bytes], boundary: str) -> Iterator[bytes]:
    """Yield a multipart/related body of DICOM parts."""
    for item in files:
        yield f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
        if isinstance(item, bytes):
            yield item
        else:
            with item.open("rb") as source:
                while chunk := source.read(1 << 20):
                    yield chunk
    yield f"\r\n--{boundary}--\r\n".encode("ascii")
