"""Every setting, read once at start-up from PRELIM_* variables and an optional prelim.toml.

A variable wins over the file, the file over the default. A wrong value is one clear sentence
(`SettingError`) that names the setting, says what was expected and what came; a secret is never repeated.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from connectors.exchange import DraftStatus

PREFIX = "PRELIM_"


class SettingError(Exception):
    """A setting has a value that cannot be used."""


def _text(value: object) -> str:
    return str(value).strip()


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            raise ValueError(f"a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return number

    return read


def _seconds(low: float, high: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        try:
            number = float(str(value))
        except ValueError:
            raise ValueError(f"seconds from {low:g} to {high:g}") from None
        if not low <= number <= high:
            raise ValueError(f"seconds from {low:g} to {high:g}")
        return number

    return read


def _flag(value: object) -> bool:
    word = str(value).strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("yes or no")


def _url(value: object) -> str:
    text = str(value).strip().rstrip("/")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("an http:// or https:// address, or nothing") from None
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("an http:// or https:// address, or nothing")
    if parts.username or parts.password:
        raise ValueError("an address without a user or password in it (use PRELIM_FHIR_TOKEN)")
    return text


def _database(value: object) -> str:
    try:
        url = sa.make_url(str(value).strip())
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError("sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME") from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise ValueError("sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")
    name = url.database or ""
    in_memory = (
        name in {"", ":memory:"} or "memory" in url.query.get("mode", ()) or name.startswith("file::memory:")
    )
    if url.drivername == "sqlite" and in_memory:
        raise ValueError("a SQLite file: a database in memory would lose every order at the next start")
    return url.render_as_string(hide_password=False)


def _peer(value: object) -> str:
    text = str(value).strip()
    if not text:
        return text
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("HOST:PORT")
    return text


def _draft_status(value: object) -> DraftStatus:
    try:
        return DraftStatus(str(value).strip())
    except ValueError:
        raise ValueError("preliminary or partial (Prelim cannot send any other status)") from None


def _folder(value: object) -> Path | None:
    text = str(value).strip()
    return Path(text) if text else None


def _names(value: object) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else str(value).split(",")
    names = tuple(str(part).strip() for part in parts if str(part).strip())
    if not names:
        raise ValueError("at least one name, separated by commas")
    return names


def _header(value: object) -> str:
    text = str(value).strip()
    if text and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text):
        raise ValueError("the name of a header (letters, digits and hyphens), or nothing")
    return text


def _setting(default: Any, read: Callable[[object], Any], meaning: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"read": read, "meaning": meaning, "secret": secret})


@dataclass(frozen=True, slots=True)
class Settings:
    """Prelim's settings; each is PRELIM_ and its name in capitals."""

    database_url: str = _setting(
        "sqlite:///prelim.sqlite", _database, "where cases, messages, queue and audit log live", secret=True
    )
    mllp_host: str = _setting("127.0.0.1", _text, "address the HL7 listener binds to")
    mllp_port: int = _setting(2575, _whole(0, 65535), "port of the HL7 listener; 0 takes a free one")
    mllp_frame_bytes: int = _setting(
        16 * 2**20, _whole(1024, 2**30), "largest HL7 message accepted, in bytes"
    )
    mllp_idle_seconds: float = _setting(
        60.0, _seconds(0.1, 86400), "a frame must be complete this long after its first byte"
    )
    mllp_connections: int = _setting(200, _whole(1, 10000), "HL7 connections open at the same time")
    http_host: str = _setting("127.0.0.1", _text, "address the pages bind to")
    http_port: int = _setting(8765, _whole(0, 65535), "port of the pages; 0 takes a free one")
    http_hosts: tuple[str, ...] = _setting(
        ("localhost", "127.0.0.1"), _names, "names under which the pages answer; add the proxy's public one"
    )
    web_user_header: str = _setting(
        "",
        _header,
        "request header in which the site's proxy names the user who looks at a case; empty: nobody is named",
    )
    fhir_url: str = _setting("", _url, "base URL of the FHIR R4 server that takes the drafts")
    fhir_token: str = _setting("", _text, "bearer token for the FHIR server", secret=True)
    fhir_patient_system: str = _setting(
        "urn:prelim:patient:{authority}",
        _text,
        "identifier system of patient ids on the FHIR server; {authority} is the assigning authority",
    )
    fhir_accession_system: str = _setting(
        "urn:prelim:accession", _text, "identifier system of accession numbers on the FHIR server"
    )
    dicomweb_url: str = _setting("", _url, "base URL of the archive's DICOMweb services")
    pacs_changes_url: str = _setting(
        "", _url, "root URL of an Orthanc whose /changes feed announces studies; empty: QIDO-RS is asked"
    )
    study_settle_seconds: float = _setting(
        30.0, _seconds(0, 86400), "without a feed: a study is complete when unchanged for this long"
    )
    study_bytes: int = _setting(4 * 2**30, _whole(2**20, 2**40), "largest study fetched, in bytes")
    parse_bytes: int = _setting(
        4 * 2**30, _whole(2**26, 2**40), "memory of the DICOM child process, in bytes"
    )
    parse_seconds: float = _setting(120.0, _seconds(1, 3600), "time of the DICOM child process")
    model: Path | None = _setting(
        None, _folder, "folder of the model; empty: the shipped demonstration weights"
    )
    ris: str = _setting("", _peer, "HOST:PORT of the RIS that takes outgoing ORU messages")
    draft_status: DraftStatus = _setting(
        DraftStatus.PRELIMINARY, _draft_status, "status of every draft: preliminary or partial"
    )
    shadow: bool = _setting(False, _flag, "draft and keep, send nothing")
    accession_places: tuple[str, ...] = _setting(
        ("IPC-1", "OBR-18"), _names, "where an order carries its accession number, first match wins"
    )
    patient_identifier_type: str = _setting(
        "", _text, "PID-3.5 of the patient identifier to use, for example MR; empty takes the first"
    )
    patient_authority: str = _setting(
        "", _text, "PID-3.4 of the patient identifier to use; empty takes the first"
    )
    signer_places: tuple[str, ...] = _setting(
        ("OBR-32",), _names, "where a result names its signer; OBX-16 or ORC-11 only where the site says so"
    )
    worker_threads: int = _setting(1, _whole(1, 64), "drafts written at the same time by one worker")
    worker_name: str = _setting(
        "", _text, "stable name of this worker, so that a restart finds its own work; empty: the host's name"
    )
    worker_lease_seconds: float = _setting(
        15.0, _seconds(1, 3600), "a worker silent for this long is dead and others take its work"
    )
    poll_seconds: float = _setting(
        5.0, _seconds(0.05, 3600), "how often queue, archive and drafts are looked at"
    )
    retry_seconds: float = _setting(
        5.0, _seconds(0.05, 3600), "first wait after a peer did not answer; doubles"
    )
    peer_timeout_seconds: float = _setting(30.0, _seconds(0.1, 600), "how long a peer may take to answer")

    @property
    def executor_id(self) -> str:
        """The worker's name in the queue: stable over restarts, different on every host."""
        return self.worker_name or socket.gethostname()


def _read(name: str, value: object, read: Callable[[object], Any], *, secret: bool) -> Any:
    try:
        return read(value)
    except ValueError as error:
        # An address may hold a password before its @, even where none belongs.
        hidden = secret or "@" in str(value)
        came = "a value that is not repeated here" if hidden else repr(value)
        raise SettingError(f"{PREFIX}{name.upper()} must be {error}; it is {came}.") from None


def load(environment: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """Read the settings.

    1. Values of `file` (default: PRELIM_SETTINGS, else ./prelim.toml when it exists).
    2. PRELIM_* variables of `environment` (default: the process's) over them.
    3. Any name that is no setting is an error: a misspelt setting would silently do nothing.

    Raises SettingError.
    """
    environment = os.environ if environment is None else environment
    known = {spec.name: spec for spec in fields(Settings)}
    given: dict[str, object] = {}
    path = file or Path(environment.get(f"{PREFIX}SETTINGS", "prelim.toml"))
    if file or f"{PREFIX}SETTINGS" in environment or path.is_file():
        try:
            given.update(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingError(f"The settings file {path} cannot be read: {error}.") from None
        for name in given:
            if name not in known:
                raise SettingError(f"The settings file {path} names {name!r}, which is no setting.")
    for variable, value in environment.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in {"settings", "require_services"}:
            continue
        if name not in known:
            raise SettingError(f"{variable} is no setting; `prelim doctor` lists them.")
        given[name] = value
    return Settings(
        **{
            name: _read(name, value, known[name].metadata["read"], secret=known[name].metadata["secret"])
            for name, value in given.items()
        }
    )
