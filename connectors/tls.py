"""TLS contexts for every connector: version 1.2 or newer, mutual where certificates of clients are given."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from connectors.errors import ExchangeError


class TlsFileError(ExchangeError):
    """A certificate or key file cannot be used; the message names it and says why."""

    next_step = "Mend the file, or name another."


def server_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """For a server. certificate: PEM, its own first, then the chain. key: PEM, not encrypted.

    client_ca: PEM; given, only clients with a certificate of these authorities are let in. Raises
    TlsFileError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_own(context, certificate, key)
    if client_ca is not None:
        _load_authorities(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """For a client that verifies the server's certificate and its host name.

    ca: PEM of the authorities to trust, those of the system by default. certificate, key: PEM, both or
    neither, for servers that ask for them. Raises TlsFileError, and ValueError when one is missing.
    """
    if (certificate is None) != (key is None):
        raise ValueError("expected both a client certificate and its key, or neither; found one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_authorities(context, ca)
    if certificate is not None and key is not None:
        _load_own(context, certificate, key)
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    own, *_ = _certificates(certificate)
    if own.not_valid_after_utc < datetime.now(UTC):
        expired = own.not_valid_after_utc.date()
        raise TlsFileError(f"{certificate}: the certificate expired on {expired}")
    pem = _read(key)
    try:
        private = load_pem_private_key(pem, password=None)
    except TypeError:
        raise TlsFileError(f"{key}: the key is encrypted; expected one without a passphrase") from None
    except Exception:  # the library has many ways to say so, and some would quote the key
        raise TlsFileError(f"{key}: expected a private key in PEM, found none that can be read") from None
    if private.public_key() != own.public_key():
        raise TlsFileError(f"{key}: the key does not belong to the certificate in {certificate}")
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise TlsFileError(f"{certificate}: {error.reason or 'cannot be used'}") from None


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    _certificates(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsFileError(f"{path}: {error.reason or 'cannot be used'}") from None


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise TlsFileError(f"{path}: expected certificates in PEM, found none that can be read") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFileError(f"{path}: {error.strerror or type(error).__name__}") from None
