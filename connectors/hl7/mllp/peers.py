"""Who is at the other end of a connection, and who may be."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_FINGERPRINT = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Peer:
    """The sender at the other end of a connection."""

    host: str
    """Its address; an IPv4 address where it came as IPv4-mapped IPv6."""
    port: int
    listener: str = ""
    """The name of the listener that it connected to."""
    common_name: str = ""
    """The subject's CN in its certificate; empty without a certificate that was verified."""
    fingerprint: str = ""
    """SHA-256 of its certificate (DER) in 64 small hexadecimal digits; empty without TLS."""

    @property
    def address(self) -> str:
        """Host and port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a peer's certificate says of it."""

    common_name: str = ""
    dns_names: tuple[str, ...] = ()
    """Subject alternative names of type DNS."""
    fingerprint: str = ""
    """SHA-256 of the DER."""

    @classmethod
    def of(cls, connection: ssl.SSLObject | ssl.SSLSocket) -> Certificate:
        """The peer's certificate; an empty one where it showed none. Names count only when verified."""
        der = connection.getpeercert(binary_form=True)
        if not der:
            return cls()
        told: dict[str, object] = dict(connection.getpeercert() or {})
        parts = [part for rdn in _pairs(told.get("subject")) for part in _pairs(rdn)]
        names = [str(value) for kind, value in parts if kind == "commonName"]
        alternatives = _pairs(told.get("subjectAltName"))
        return cls(
            common_name=_printable(names[-1]) if names else "",
            dns_names=tuple(str(name) for kind, name in alternatives if kind == "DNS"),
            fingerprint=hashlib.sha256(der).hexdigest(),
        )


@dataclass(frozen=True, slots=True)
class Senders:
    """Who may send. An empty part allows everybody; where both are given, both must agree."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    certificates: tuple[str, ...] = field(default=())
    """Each a subject's CN, a DNS name, or 64 hexadecimal digits: a SHA-256 fingerprint."""

    @classmethod
    def of(
        cls, networks: Iterable[str | IPv4Network | IPv6Network] = (), certificates: Iterable[str] = ()
    ) -> Senders:
        """Read them as a person writes them: addresses, CIDR networks; fingerprints with or without colons.

        Raises ValueError that names what is no network, or an empty certificate entry.
        """
        found = []
        for text in networks:
            try:
                found.append(ip_network(str(text).strip()))
            except ValueError:
                raise ValueError(
                    f"{str(text)!r} is no address and no network; write for example 10.1.2.3 or 10.1.0.0/16"
                ) from None
        named = tuple(_entry(text) for text in certificates)
        if not all(named):
            raise ValueError("expected a CN, a DNS name or a SHA-256 fingerprint, found an empty entry")
        return cls(tuple(found), named)

    def allow_address(self, host: str) -> bool:
        """Whether a connection from this address may be taken."""
        if not self.networks:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.networks)

    def allow_certificate(self, certificate: Certificate) -> bool:
        """Whether the owner of this certificate may send."""
        if not self.certificates:
            return True
        dns_names = {name.lower() for name in certificate.dns_names}
        # A fingerprint is compared with nothing but fingerprints: anybody may call himself by one.
        return any(
            entry == certificate.fingerprint
            if _FINGERPRINT.fullmatch(entry)
            else entry == certificate.common_name or entry.lower() in dns_names
            for entry in self.certificates
        )


EVERYBODY = Senders()


def plain_host(host: str) -> str:
    """The address without an IPv6 mapping around IPv4, so that networks and logs see one spelling."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _entry(text: str) -> str:
    digits = text.replace(":", "").strip().lower()
    return digits if _FINGERPRINT.fullmatch(digits) else text.strip()


def _pairs(found: object) -> tuple[tuple[object, object], ...]:
    return found if isinstance(found, tuple) else ()


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
