"""Looking at every setting and peer, and saying how to mend what is wrong."""

from __future__ import annotations

import http.client
import importlib.util
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from connectors.dicomweb.client import DicomwebClient
from connectors.dicomweb.notifications import newest_change
from connectors.errors import ExchangeError
from connectors.tls import server_context
from model.load import SHIPPED_WEIGHTS
from model.manifest import read_manifest
from model.study import WeightsError
from plugin.casting import cast_client
from plugin.db import Database, now
from plugin.doctor_fhir import examine_fhir, examine_subscriptions
from plugin.listeners import Listener
from plugin.messages import DEAD_LETTERS, WAITING
from plugin.migrate import pending
from plugin.outbox import RIS
from plugin.pipeline import codes, ris_tls, systems
from plugin.procedures import unmapped
from plugin.settings import SettingError, Settings
from plugin.subscribing import installation
from plugin.tally import count_states, waiting
from plugin.templates import site_templates

NOBODY = "prelim-doctor"
"""An accession number that no archive has: asking for it shows that the archive answers."""
SHORT_SECONDS = 5.0
RECENT_DAYS = 90
"""So far back orders are looked at for procedures without a code."""
LONG_WAIT_SECONDS = 15 * 60
"""A message in the outbox for longer says that its receiver does not answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    well: bool
    said: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at the database, each peer, the model and the ports, one finding each."""
    looks: tuple[tuple[str, Callable[[Settings], str]], ...] = (
        ("database", _database),
        ("FHIR server", _fhir),
        ("FHIR subscriptions", _subscriptions),
        ("procedure codes", _codes),
        ("image archive", _archive),
        ("archive's feed", _feed),
        ("RIS", _ris),
        ("outbox", _outbox),
        ("FHIRcast hub", _hub),
        ("model", _model),
        ("report templates", _templates),
        *((f"listener {listener.name}", partial(_listener, listener)) for listener in settings.hl7_listeners),
        ("pages", _pages),
    )
    for name, look in looks:
        yield _found(name, look, settings)


def _found(name: str, look: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(name, True, look(settings))
    except ExchangeError as error:
        return Finding(name, False, f"{error} {error.next_step}")
    except (_Ill, SettingError, WeightsError) as error:
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
    return examine_fhir(settings, timeout_seconds=SHORT_SECONDS)


def _subscriptions(settings: Settings) -> str:
    database = Database(settings.database_url)
    try:
        site = ""
        if not pending(database):
            with database.read() as session:
                site = installation(session)
    except sa.exc.SQLAlchemyError:
        site = ""
    finally:
        database.close()
    return examine_subscriptions(settings, site=site, timeout_seconds=SHORT_SECONDS)


def _codes(settings: Settings) -> str:
    known = codes(settings)
    if settings.procedure_codes is None:
        said = "not set; procedures without a code of their own go out as LOINC 18748-4"
    else:
        said = f"{len(known.codes)} procedures in the file"
    database = Database(settings.database_url)
    try:
        if pending(database):
            return said
        with database.read() as session:
            lacking = len(unmapped(session, known, now() - timedelta(days=RECENT_DAYS)))
    except sa.exc.SQLAlchemyError:
        return said
    finally:
        database.close()
    if settings.procedure_codes is None or not lacking:
        return said
    return (
        f"{said}; {lacking} that were ordered in the last {RECENT_DAYS} days are not in it, "
        "see `prelim codes unmapped`"
    )


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
    context = ris_tls(settings)
    try:
        with socket.create_connection((host, int(port)), timeout=SHORT_SECONDS) as plain:
            if context is None:
                return f"{settings.ris} takes connections"
            with context.wrap_socket(plain, server_hostname=host) as secure:
                return f"{settings.ris} takes connections by {secure.version()}"
    except ssl.SSLCertVerificationError as error:
        raise _Ill(
            f"The certificate of {settings.ris} is not accepted ({error.verify_message}); see PRELIM_RIS_CA."
        ) from None
    except ssl.SSLError as error:
        raise _Ill(
            f"{settings.ris} speaks no TLS with us ({error.reason}); see PRELIM_RIS_CA and PRELIM_RIS_KEY."
        ) from None
    except OSError as error:
        raise _Ill(
            f"{settings.ris} takes no connection ({error.strerror or error}); see PRELIM_RIS."
        ) from None


def _outbox(settings: Settings) -> str:
    database = Database(settings.database_url)
    try:
        if pending(database):
            return "not looked at: see the database"
        with database.read() as session:
            queued, states = waiting(session), count_states(session)
    except sa.exc.SQLAlchemyError:
        return "not looked at: see the database"
    finally:
        database.close()
    told = [
        f"{one.messages} wait for {one.destination} since {one.since.isoformat(timespec='seconds')}"
        for one in queued
    ] or ["nothing waits"]
    told += [
        f"{states[state]} {state.lower()}" for state in sorted(DEAD_LETTERS - {WAITING}) if states[state]
    ]
    said = ", ".join(told)
    if not settings.ris and any(one.destination == RIS for one in queued):
        raise _Ill(f"{said}: PRELIM_RIS is empty, so nothing is sent there.")
    if any((now() - one.since).total_seconds() > LONG_WAIT_SECONDS for one in queued):
        raise _Ill(f"{said}: does the receiver answer? See `prelim message list --state WAITING`.")

    return said


def _hub(settings: Settings) -> str:
    if not settings.fhircast_hub:
        return "not set; nothing is offered where reports are opened"
    with cast_client(settings, systems(settings), SHORT_SECONDS) as client:
        for topic in settings.fhircast_topics:
            client.unsubscribe(topic, client.subscribe(topic))
    return f"subscribes to {len(settings.fhircast_topics)} topics"


def _model(settings: Settings) -> str:
    manifest = read_manifest(settings.model or SHIPPED_WEIGHTS)
    if manifest.architecture != "scripted" and importlib.util.find_spec("torch") is None:
        raise _Ill(
            "torch is not installed: `pip install prelim[model]` on hosts that work; others need none."
        )
    card = manifest.card
    return f"{card.name} {card.version}, every file as pinned; drafts in {settings.language}"


def _templates(settings: Settings) -> str:
    return f"{len(site_templates(settings))}, read"


def _port(host: str, port: int, variable: str, settings: Settings) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if _runs(settings):
                return f"{host}:{port} is in use, and Prelim runs"
            raise _Ill(
                f"{host}:{port} cannot be bound ({error.strerror}); does Prelim run already? See {variable}."
            ) from None
    return f"{host}:{port} is free"


def _runs(settings: Settings) -> bool:
    """Whether the pages of a running Prelim answer where ours would."""
    bound = ipaddress.ip_address(settings.http_host) if _is_address(settings.http_host) else None
    host = settings.http_host if bound is None or not bound.is_unspecified else "localhost"
    asked = http.client.HTTPConnection(host, settings.http_port, timeout=SHORT_SECONDS)
    try:
        asked.request("GET", "/healthz", headers={"Host": settings.http_hosts[0]})
        answer = asked.getresponse()
        return answer.status == 200 and answer.read(100).strip() == b'{"alive":true}'
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _listener(listener: Listener, settings: Settings) -> str:
    kind = "plain"
    if listener.tls_certificate and listener.tls_key:
        server_context(listener.tls_certificate, listener.tls_key, listener.tls_client_ca)
        kind = "TLS, senders with certificates" if listener.tls_client_ca else "TLS"
    variable = "PRELIM_LISTENERS" if settings.listeners else "PRELIM_MLLP_HOST and PRELIM_MLLP_PORT"
    return f"{_port(listener.host, listener.port, variable, settings)} ({kind})"


def _pages(settings: Settings) -> str:
    return _port(settings.http_host, settings.http_port, "PRELIM_HTTP_HOST and PRELIM_HTTP_PORT", settings)
