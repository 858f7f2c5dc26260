"""Every setting, read once at start-up from PRELIM_* variables and an optional prelim.toml.

A variable wins over the file, the file over the default. A wrong value is one clear sentence
(`SettingError`) that names the setting, says what was expected and what came; a secret is never repeated.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from connectors.exchange import DraftStatus
from model.wording import LANGUAGES
from plugin import values
from plugin.listeners import Listener, read_listeners
from plugin.values import setting

PREFIX = "PRELIM_"


class SettingError(Exception):
    """A setting has a value that cannot be used."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Prelim's settings; each is PRELIM_ and its name in capitals."""

    database_url: str = setting(
        "sqlite:///prelim.sqlite",
        values.database,
        "where cases, messages, queue and audit log live",
        secret=True,
    )
    mllp_host: str = setting("127.0.0.1", values.host, "address the HL7 listener binds to")
    mllp_port: int = setting(2575, values.whole(0, 65535), "port of the HL7 listener; 0 takes a free one")
    mllp_frame_bytes: int = setting(
        16 * 2**20, values.whole(1024, 2**30), "largest HL7 message accepted, in bytes"
    )
    mllp_idle_seconds: float = setting(
        60.0, values.seconds(0.1, 86400), "a frame must be complete this long after its first byte"
    )
    mllp_connections: int = setting(200, values.whole(1, 10000), "HL7 connections open at the same time")
    listeners: tuple[Listener, ...] = setting(
        (), read_listeners, "HL7 listeners with settings of their own; empty: one, from the mllp settings"
    )
    http_host: str = setting("127.0.0.1", values.host, "address the pages bind to")
    http_port: int = setting(8765, values.whole(0, 65535), "port of the pages; 0 takes a free one")
    http_hosts: tuple[str, ...] = setting(
        ("localhost", "127.0.0.1"),
        values.names,
        "names under which the pages answer; add the proxy's public one",
    )
    web_user_header: str = setting(
        "",
        values.header,
        "request header in which the site's proxy names the user who looks at a case; empty: nobody is named",
    )
    fhir_url: str = setting("", values.url, "base URL of the FHIR server that takes the drafts")
    fhir_release: str = setting("R4", values.one_of("R4", "R5"), "FHIR release that the server speaks")
    fhir_token: str = setting("", values.text, "fixed bearer token for the FHIR server", secret=True)
    fhir_client_id: str = setting(
        "", values.text, "our client id, for a server that asks for SMART Backend Services"
    )
    fhir_keys: Path | None = setting(
        None, values.folder, "folder of private keys (PEM) that sign our token requests; the newest signs"
    )
    fhir_token_url: str = setting(
        "", values.url, "where tokens are asked for; empty: as the server's smart-configuration says"
    )
    fhir_scope: str = setting("system/*.cruds", values.text, "scopes that are asked for, separated by spaces")
    fhir_ca: Path | None = setting(
        None, values.folder, "certificates that the FHIR server's own must come from; empty: the usual ones"
    )
    fhir_certificate: Path | None = setting(
        None, values.folder, "our certificate for a FHIR server that asks for one (mutual TLS)"
    )
    fhir_key: Path | None = setting(None, values.folder, "the key of that certificate")
    fhir_takes: tuple[str, ...] = setting(
        (),
        values.any_of("orders", "studies"),
        "what is taken from the FHIR server beside signed reports: orders, studies or both",
    )
    fhir_notify_url: str = setting(
        "",
        values.url,
        "where the FHIR server reaches our /notify/fhir; given, it is asked to send notifications there",
    )
    fhir_notify_secret: str = setting(
        "", values.text, "bearer token that notifications must carry", secret=True
    )
    fhir_subscribe: str = setting(
        "rest-hook",
        values.one_of("rest-hook", "topic"),
        "kind of subscription that is asked for: R4 rest-hook, or topic-based (R5, and its backport to R4)",
    )
    fhir_retire_seconds: float = setting(
        600.0,
        values.seconds(0, 86400),
        "a draft of ours beside a human's report is withdrawn this long after that was seen",
    )
    fhircast_hub: str = setting("", values.url, "URL of the FHIRcast hub; empty: none is followed")
    fhircast_topics: tuple[str, ...] = setting(
        (), values.any_names, "FHIRcast topics (sessions of workstations) that are followed", secret=True
    )
    fhircast_token: str = setting("", values.text, "bearer token for the FHIRcast hub", secret=True)
    procedure_codes: Path | None = setting(
        None, values.folder, "CSV file that gives the site's procedure codes in LOINC and RadLex"
    )
    fhir_patient_system: str = setting(
        "urn:prelim:patient:{authority}",
        values.text,
        "identifier system of patient ids on the FHIR server; {authority} is the assigning authority",
    )
    fhir_accession_system: str = setting(
        "urn:prelim:accession", values.text, "identifier system of accession numbers on the FHIR server"
    )
    dicomweb_url: str = setting("", values.url, "base URL of the archive's DICOMweb services")
    pacs_changes_url: str = setting(
        "",
        values.url,
        "root URL of an Orthanc whose /changes feed announces studies; empty: QIDO-RS is asked",
    )
    study_settle_seconds: float = setting(
        30.0, values.seconds(0, 86400), "without a feed: a study is complete when unchanged for this long"
    )
    study_bytes: int = setting(4 * 2**30, values.whole(2**20, 2**40), "largest study fetched, in bytes")
    parse_bytes: int = setting(
        4 * 2**30, values.whole(2**26, 2**40), "memory of the DICOM child process, in bytes"
    )
    parse_seconds: float = setting(120.0, values.seconds(1, 3600), "time of the DICOM child process")
    model: Path | None = setting(
        None, values.folder, "folder of the model; empty: the shipped demonstration weights"
    )
    language: str = setting(
        "en",
        values.one_of(*LANGUAGES),
        f"language of the drafts ({', '.join(LANGUAGES)}) where the order does not say one of them",
    )
    templates: Path | None = setting(
        None, values.folder, "folder of report templates (MRRT, *.html); empty: the shipped ones"
    )
    ris: str = setting("", values.peer, "HOST:PORT of the RIS that takes outgoing ORU messages")
    ris_content: tuple[str, ...] = setting(
        ("text",), values.some_of("text", "pdf"), "what a result to the RIS holds: text, pdf or both"
    )
    ris_ca: Path | None = setting(
        None,
        values.folder,
        "certificates that the RIS's own must come from; given, it is sent to by TLS",
    )
    ris_certificate: Path | None = setting(None, values.folder, "our certificate for a RIS that asks for one")
    ris_key: Path | None = setting(None, values.folder, "the key of that certificate")
    ris_per_second: float = setting(
        10.0, values.number(0.01, 1000), "most messages sent to the RIS in a second"
    )
    message_days: int = setting(
        0, values.whole(0, 36500), "days after which bodies of processed messages are erased; 0: never"
    )
    draft_status: DraftStatus = setting(
        DraftStatus.PRELIMINARY, values.draft_status, "status of every draft: preliminary or partial"
    )
    shadow: bool = setting(False, values.flag, "draft and keep, send nothing")
    accession_places: tuple[str, ...] = setting(
        ("IPC-1", "OBR-18"), values.names, "where an order carries its accession number, first match wins"
    )
    patient_identifier_type: str = setting(
        "", values.text, "PID-3.5 of the patient identifier to use, for example MR; empty takes the first"
    )
    patient_authority: str = setting(
        "", values.text, "PID-3.4 of the patient identifier to use; empty takes the first"
    )
    signer_places: tuple[str, ...] = setting(
        ("OBR-32",),
        values.names,
        "where a result names its signer; OBX-16, ORC-11 or TXA-9 only where the site says so",
    )
    worker_threads: int = setting(1, values.whole(1, 64), "drafts written at the same time by one worker")
    worker_name: str = setting(
        "",
        values.text,
        "stable name of this worker, so that a restart finds its own work; empty: the host's name",
    )
    worker_lease_seconds: float = setting(
        15.0, values.seconds(1, 3600), "a worker silent for this long is dead and others take its work"
    )
    poll_seconds: float = setting(
        5.0, values.seconds(0.05, 3600), "how often queue, archive and drafts are looked at"
    )
    retry_seconds: float = setting(
        5.0, values.seconds(0.05, 3600), "first wait after a peer did not answer; doubles"
    )
    peer_timeout_seconds: float = setting(
        30.0, values.seconds(0.1, 600), "how long a peer may take to answer"
    )

    @property
    def hl7_listeners(self) -> tuple[Listener, ...]:
        """Every HL7 listener; the one of the mllp settings where no others are named."""
        return self.listeners or (
            Listener(
                host=self.mllp_host,
                port=self.mllp_port,
                frame_bytes=self.mllp_frame_bytes,
                idle_seconds=self.mllp_idle_seconds,
                connections=self.mllp_connections,
            ),
        )

    @property
    def executor_id(self) -> str:
        """The worker's name in the queue: stable over restarts, different on every host."""
        return self.worker_name or socket.gethostname()


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
    try:
        return Settings(**values.read_all(known, given, lambda name: f"{PREFIX}{name.upper()}"))
    except ValueError as error:
        raise SettingError(str(error)) from None
