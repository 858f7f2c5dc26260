"""What `prelim doctor` says about the FHIR server: its release, how we show who we are, whose patients,
and how our subscriptions stand there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from werkzeug.sansio.utils import host_is_trusted

from connectors.fhir.capabilities import shortcomings
from connectors.fhir.notices.subscriptions import standing
from connectors.fhir.retrying import ONE_ATTEMPT
from plugin.peers import fhir_client, fhir_keys
from plugin.settings import SettingError, Settings
from plugin.subscribing import wanted

VERSIONS = {"R4": ("4.0.", "4.3."), "R5": ("5.0.",)}
"""Beginnings of CapabilityStatement.fhirVersion for each release; R4B (4.3) reads what is written as R4."""


def examine_fhir(settings: Settings, *, timeout_seconds: float) -> str:
    """Ask the server what it is. Raises SettingError and ExchangeError for what is wrong."""
    if not settings.fhir_url:
        if settings.shadow:
            return "not set; nothing is sent in shadow mode"
        raise SettingError("PRELIM_FHIR_URL is empty: drafts have nowhere to go.")
    with fhir_client(settings, timeout_seconds=timeout_seconds, patience=ONE_ATTEMPT) as client:
        statement = client.capabilities()
    return "; ".join(
        [
            f"FHIR {_version(statement, settings.fhir_release)}",
            _authentication(settings),
            f"patients by {settings.fhir_patient_system}",
            *shortcomings(statement),
        ]
    )


def examine_subscriptions(settings: Settings, *, site: str, timeout_seconds: float) -> str:
    """How each of our subscriptions stands; changes nothing.

    site: the name by which this installation's subscriptions are known; empty where it never asked for any.
    Raises SettingError and ExchangeError for what is wrong.
    """
    asked_for = wanted(settings)
    if not asked_for:
        return "not asked for; the server is polled"
    host = urlsplit(settings.fhir_notify_url).netloc
    if not host_is_trusted(host, [*settings.http_hosts, settings.http_host]):
        raise SettingError(
            f"PRELIM_FHIR_NOTIFY_URL names {host}, under which our pages do not answer: add the host "
            "to PRELIM_HTTP_HOSTS."
        )
    if not site:
        return "asked for when Prelim starts; until then the server is polled"
    with fhir_client(settings, timeout_seconds=timeout_seconds, patience=ONE_ATTEMPT) as client:
        told = [
            standing(client, replace(one, site=site), endpoint=settings.fhir_notify_url) for one in asked_for
        ]
    said = "; ".join(map(str, told))
    if not all(one.active for one in told):
        raise SettingError(f"{said}. What is not active is found by polling, later.")
    return said


def _version(statement: dict[str, Any], release: str) -> str:
    version = str(statement.get("fhirVersion", ""))
    wanted = VERSIONS[release]
    if not f"{version}.".startswith(wanted):
        named = " or ".join(start.rstrip(".") for start in wanted)
        raise SettingError(
            f"It speaks FHIR {version[:20] or 'of an unknown version'}; PRELIM_FHIR_RELEASE is {release} "
            f"({named})."
        )
    return version[:20]


def _authentication(settings: Settings) -> str:
    keys = fhir_keys(settings)
    if keys is not None:
        key = keys.signing()
        way = f"SMART Backend Services as {settings.fhir_client_id}, {key.algorithm} with key {key.kid}"
    else:
        way = "a fixed token" if settings.fhir_token else "no token"
    return f"{way} and a certificate" if settings.fhir_certificate else way
