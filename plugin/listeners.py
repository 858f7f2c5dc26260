"""The HL7 listeners of a site, each with settings of its own for the senders that it serves. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from connectors.hl7.charsets import codec_name
from plugin import values
from plugin.values import setting

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
FETCHED = "fhir"
"""Name of the channel by which resources of the FHIR server come; no listener may have it."""


def _networks(value: object) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(name) for name in values.names(value))
    except ValueError:
        raise ValueError("addresses or networks, for example 10.1.2.3 or 10.1.0.0/16") from None


def _charset(value: object) -> str:
    name = str(value).strip()
    if name and not codec_name(name):
        raise ValueError("a character set of HL7 table 0211, for example UNICODE UTF-8 or 8859/1, or nothing")
    return name


def _name(value: object) -> str:
    name = str(value).strip()
    if not _NAME.fullmatch(name):
        raise ValueError("a name of small letters, digits and hyphens, at most 40")
    if name == FETCHED:
        raise ValueError(f"another name than {FETCHED}, which is that of the FHIR server's resources")
    return name


@dataclass(frozen=True, slots=True)
class Listener:
    """One HL7 listener: a table under `[[listeners]]` in prelim.toml."""

    name: str = setting("default", _name, "its name in the log and in the store of messages")
    host: str = setting("127.0.0.1", values.host, "address it binds to")
    port: int = setting(2575, values.whole(0, 65535), "its port; 0 takes a free one")
    frame_bytes: int = setting(16 * 2**20, values.whole(1024, 2**30), "largest message accepted, in bytes")
    idle_seconds: float = setting(
        60.0, values.seconds(0.1, 86400), "a frame must be complete this long after its first byte"
    )
    quiet_seconds: float = setting(
        3600.0, values.seconds(0.1, 604800), "how long a connection may rest between two messages"
    )
    connections: int = setting(200, values.whole(1, 10000), "connections open at the same time")
    tls_certificate: Path | None = setting(
        None, values.folder, "its certificate, PEM; given, it speaks TLS and nothing else"
    )
    tls_key: Path | None = setting(None, values.folder, "the key of its certificate, PEM")
    tls_client_ca: Path | None = setting(
        None, values.folder, "certificates that a sender's own must come from; given, each sender needs one"
    )
    allowed_addresses: tuple[Network, ...] = setting(
        (), _networks, "addresses or networks of its senders; empty: any"
    )
    allowed_certificates: tuple[str, ...] = setting(
        (), values.names, "common names, DNS names or SHA-256 fingerprints of its senders; empty: any"
    )
    ack_mode: str = setting(
        "auto",
        values.one_of("auto", "original", "enhanced"),
        "acknowledgements as MSH-15 and MSH-16 ask (auto), or always of one mode",
    )
    application_acks: str = setting(
        "", values.peer, "HOST:PORT that takes application acknowledgements; empty: the same connection"
    )
    charset: str = setting("", _charset, "character set of senders whose MSH-18 lies; empty: as MSH-18 says")
    accession_places: tuple[str, ...] = setting(
        (), values.names, "where its senders write the accession number; empty: as the site's setting says"
    )


def read_listeners(value: object) -> tuple[Listener, ...]:
    """A list of tables, or the same as JSON text. Raises ValueError with what was expected."""
    given = value
    if isinstance(value, str):
        try:
            given = json.loads(value) if value.strip() else []
        except ValueError:
            raise ValueError("a list of listeners (in a variable: as JSON)") from None
    if not isinstance(given, Sequence) or not all(isinstance(table, dict) for table in given):
        raise ValueError("a list of listeners (in a variable: as JSON)")
    known = {spec.name: spec for spec in fields(Listener)}
    found = []
    for number, table in enumerate(given, 1):
        which = table["name"] if _is_name(table.get("name")) else f"number {number}"
        unknown = sorted(set(table) - set(known))
        if unknown:
            raise _wrong(f"{which} names {unknown[0]!r}, which is no setting of a listener")
        try:
            found.append(Listener(**values.read_all(known, table, str)))
        except ValueError as error:
            raise _wrong(f"in {which} {str(error).rstrip('.')}") from None
    _check(found)
    return tuple(found)


def _check(listeners: Sequence[Listener]) -> None:
    names = [listener.name for listener in listeners]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise _wrong(f"each needs a name of its own; two are {name}")
    places: dict[tuple[str, int], str] = {}
    for listener in listeners:
        place = (listener.host, listener.port)
        if listener.port and place in places:
            both, where = f"{places[place]} and {listener.name}", f"{listener.host}:{listener.port}"
            raise _wrong(f"each needs an address and port of its own; {both} have {where}")
        places[place] = listener.name
    for listener in listeners:
        if bool(listener.tls_certificate) != bool(listener.tls_key):
            one = "tls_certificate" if listener.tls_certificate else "tls_key"
            raise _wrong(f"{listener.name} needs tls_certificate and tls_key together; it has {one} alone")
        if listener.tls_client_ca and not listener.tls_certificate:
            raise _wrong(f"{listener.name} needs tls_certificate for tls_client_ca")
        if listener.allowed_certificates and not listener.tls_client_ca:
            raise _wrong(f"{listener.name} needs tls_client_ca for allowed_certificates")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value.strip()) is not None


def _wrong(what: str) -> ValueError:
    return values.Inside(f"a list of listeners, and {what}")
