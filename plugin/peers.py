"""The FHIR server as the settings say it is spoken to: one place for service, pages and doctor."""

from __future__ import annotations

import ssl

from connectors.errors import ExchangeError
from connectors.fhir.auth import BackendServices
from connectors.fhir.client import FhirClient
from connectors.fhir.retrying import Patience
from connectors.fhir.signing_keys import KeyFileError, KeyFolder
from connectors.tls import TlsFileError, client_context
from plugin.settings import SettingError, Settings


def fhir_client(
    settings: Settings, *, timeout_seconds: float | None = None, patience: Patience | None = None
) -> FhirClient:
    """A client of the FHIR server. Raises SettingError.

    timeout_seconds, patience: others than the settings give, for whoever wants to know soon.
    """
    if not settings.fhir_url:
        raise SettingError("PRELIM_FHIR_URL must name the FHIR server.")
    seconds = timeout_seconds or settings.peer_timeout_seconds
    tls = _tls(settings)
    services = _backend_services(settings, seconds, tls)
    try:
        return FhirClient(
            settings.fhir_url,
            timeout_seconds=seconds,
            token=services or settings.fhir_token or None,
            release=settings.fhir_release,
            tls=tls,
            patience=patience,
        )
    except ExchangeError as error:
        raise SettingError(f"PRELIM_FHIR_URL: {error}") from None


def fhir_keys(settings: Settings) -> KeyFolder | None:
    """The keys that sign our token requests; None where none are set."""
    return KeyFolder(settings.fhir_keys) if settings.fhir_keys else None


def _backend_services(
    settings: Settings, timeout_seconds: float, tls: ssl.SSLContext | None
) -> BackendServices | None:
    keys = fhir_keys(settings)
    if not settings.fhir_client_id and keys is None:
        return None
    if settings.fhir_token:
        raise SettingError(
            "PRELIM_FHIR_TOKEN and PRELIM_FHIR_CLIENT_ID (with PRELIM_FHIR_KEYS) exclude each other: "
            "set the fixed token, or what SMART Backend Services need, or neither."
        )
    if not settings.fhir_client_id or keys is None:
        raise SettingError("PRELIM_FHIR_CLIENT_ID and PRELIM_FHIR_KEYS must be set together, or neither.")
    try:
        keys.signing()
    except KeyFileError as error:
        raise SettingError(f"PRELIM_FHIR_KEYS: {error}.") from None
    try:
        return BackendServices(
            settings.fhir_url,
            settings.fhir_client_id,
            keys,
            scope=settings.fhir_scope,
            token_url=settings.fhir_token_url,
            timeout_seconds=timeout_seconds,
            tls=tls,
        )
    except ExchangeError as error:
        raise SettingError(f"PRELIM_FHIR_TOKEN_URL: {error}") from None


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """How the FHIR server is spoken to by TLS; None for the usual authorities and no certificate of ours."""
    ca, certificate, key = settings.fhir_ca, settings.fhir_certificate, settings.fhir_key
    if (certificate is None) != (key is None):
        raise SettingError("PRELIM_FHIR_CERTIFICATE and PRELIM_FHIR_KEY must be set together, or neither.")
    if ca is None and certificate is None:
        return None
    if not settings.fhir_url.startswith("https:"):
        raise SettingError(
            "PRELIM_FHIR_CA and PRELIM_FHIR_CERTIFICATE need an https:// address in PRELIM_FHIR_URL."
        )
    try:
        return client_context(ca, certificate, key)
    except TlsFileError as error:
        raise SettingError(f"PRELIM_FHIR_CA, _CERTIFICATE and _KEY: {error}.") from None
