"""Looking at every setting and peer, and saying how to mend what is wrong."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from connectors.dicomweb.client import DicomwebClient
from connectors.dicomweb.notifications import newest_change
from connectors.errors import ExchangeError
from connectors.fhir.client import FhirClient
from model.load import SHIPPED_WEIGHTS
from model.manifest import read_manifest
from model.study import WeightsError
from plugin.db import Database
from plugin.migrate import pending
from plugin.settings import Settings

NOBODY = "prelim-doctor"
"""An accession number that no archive has: asking for it shows that the archive answers."""
SHORT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    well: bool
    said: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at the database, each peer, the model and the ports, one finding each."""
    for name, look in (
        ("database", _database),
        ("FHIR server", _fhir),
        ("image archive", _archive),
        ("archive's feed", _feed),
        ("RIS", _ris),
        ("model", _model),
        ("listener", _listener),
        ("pages", _pages),
    ):
        yield _found(name, look, settings)


def _found(name: str, look: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(name, True, look(settings))
    except ExchangeError as error:
        return Finding(name, False, f"{error} {error.next_step}")
    except (_Ill, WeightsError) as error:
        return Finding(name, False, str(error))


class _Ill(Exception):
    pass


def _database(settings: Settings) -> str:
    database = Database(settings.database_url)
    try:
        kind = database.engine.dialect.name
        if pending(database):
            raise _Ill("Its tables are not those of this version; run `prelim migrate`.")
    except sa.exc.SQLAlchemyError as error:
        raise _Ill(
            f"It does not answer ({type(error).__name__}); see PRELIM_DATABASE_URL, and that the server runs."
        ) from None
    finally:
        database.close()
    return f"{kind}, at the newest revision"


def _fhir(settings: Settings) -> str:
    if not settings.fhir_url:
        if settings.shadow:
            return "not set; nothing is sent in shadow mode"
        raise _Ill("PRELIM_FHIR_URL is empty: drafts have nowhere to go.")
    with FhirClient(
        settings.fhir_url, timeout_seconds=SHORT_SECONDS, token=settings.fhir_token or None
    ) as client:
        version = str(client.capabilities().get("fhirVersion", ""))
    if not version.startswith("4."):
        raise _Ill(f"It speaks FHIR {version or 'of an unknown version'}; R4 (4.0 or 4.3) is needed.")
    return f"FHIR {version}"


def _archive(settings: Settings) -> str:
    if not settings.dicomweb_url:
        raise _Ill("PRELIM_DICOMWEB_URL is empty: there are no images to draft from.")
    with DicomwebClient(settings.dicomweb_url, timeout_seconds=SHORT_SECONDS) as client:
        client.find_studies(accession=NOBODY)
    return "answers QIDO-RS"


def _feed(settings: Settings) -> str:
    if not settings.pacs_changes_url:
        return "not set; waiting orders are looked up in the archive"
    newest = newest_change(settings.pacs_changes_url, timeout_seconds=SHORT_SECONDS)
    return f"at change {newest}"


def _ris(settings: Settings) -> str:
    if not settings.ris:
        return "not set; drafts go to the FHIR server only"
    host, _, port = settings.ris.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=SHORT_SECONDS).close()
    except OSError as error:
        raise _Ill(f"{settings.ris} takes no connection ({error.strerror}); see PRELIM_RIS.") from None
    return f"{settings.ris} takes connections"


def _model(settings: Settings) -> str:
    manifest = read_manifest(settings.model or SHIPPED_WEIGHTS)
    if manifest.architecture != "scripted" and importlib.util.find_spec("torch") is None:
        raise _Ill(
            "torch is not installed: `pip install prelim[model]` on hosts that work; others need none."
        )
    return f"{manifest.card.name} {manifest.card.version}, every file as pinned"


def _port(host: str, port: int, variable: str) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _Ill(
                f"{host}:{port} cannot be bound ({error.strerror}); does Prelim run already? See {variable}."
            ) from None
    return f"{host}:{port} is free"


def _listener(settings: Settings) -> str:
    return _port(settings.mllp_host, settings.mllp_port, "PRELIM_MLLP_HOST and PRELIM_MLLP_PORT")


def _pages(settings: Settings) -> str:
    return _port(settings.http_host, settings.http_port, "PRELIM_HTTP_HOST and PRELIM_HTTP_PORT")
