"""`prelim doctor` over the FHIR server: its release, how we show who we are, whose patients."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.fhir_statement import Lack
from plugin.doctor import Finding, examine
from plugin.settings import Settings
from tests.case_samples import fresh_url
from tests.key_files import write_key
from tests.loopback_pages import Serving


@pytest.fixture
def server() -> Iterator[FhirServer]:
    with FhirServer() as running:
        yield running


def found(folder: Path, url: str, **settings: Any) -> Finding:
    """The finding about the FHIR server."""
    whole = Settings(database_url=fresh_url(folder), mllp_port=0, http_port=0, fhir_url=url, **settings)
    (finding,) = [finding for finding in examine(whole) if finding.name == "FHIR server"]
    return finding


def test_a_server_of_the_release_that_is_set_is_well(tmp_path: Path, server: FhirServer) -> None:
    """With its version, how it is spoken to, and by which system patients are looked up."""
    finding = found(tmp_path, server.base_url)
    assert finding.well
    assert finding.said == "FHIR 4.0.1; no token; patients by urn:prelim:patient:{authority}"
    assert (
        "; a fixed token; patients by urn:x"
        in found(tmp_path, server.base_url, fhir_token="secret", fhir_patient_system="urn:x").said
    )


def test_a_server_of_another_release_is_a_finding(tmp_path: Path, server: FhirServer) -> None:
    """What it speaks, and the setting."""
    finding = found(tmp_path, server.base_url, fhir_release="R5")
    assert not finding.well
    assert finding.said == "It speaks FHIR 4.0.1; PRELIM_FHIR_RELEASE is R5 (5.0)."


@pytest.mark.parametrize(
    ("version", "release"),
    [("4.0", "R4"), ("4.0.1", "R4"), ("4.3.0", "R4"), ("5.0.0", "R5"), ("3.0.2", ""), ("4.4.0", "")],
)  # fmt: skip
def test_each_version_belongs_to_one_release_at_most(tmp_path: Path, version: str, release: str) -> None:
    """4.0 and 4.3 are R4, 5.0 is R5; others are neither."""
    pages = Serving(_speaking(version))
    try:
        well = {name for name in ("R4", "R5") if found(tmp_path, pages.url, fhir_release=name).well}
    finally:
        pages.stop()
    assert well == ({release} if release else set())


def test_a_server_that_is_down_is_asked_once(tmp_path: Path) -> None:
    """Doctor wants to know now, and names what to do."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        finding = found(tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}/fhir")
    assert not finding.well
    assert "ConnectError" in finding.said


def test_keys_are_shown_by_kid_and_a_refused_token_is_a_finding(tmp_path: Path) -> None:
    """The token is asked for as in earnest."""
    keys = tmp_path / "keys"
    keys.mkdir()
    write_key(keys / "a.pem")
    smart = {"fhir_client_id": "prelim", "fhir_keys": keys}
    pages = Serving(_authorising(200, {"access_token": "t", "token_type": "Bearer"}))
    finding = found(tmp_path, pages.url, fhir_token_url=f"{pages.url}/token", **smart)
    pages.stop()
    assert finding.well
    assert "SMART Backend Services as prelim, ES384 with key " in finding.said
    pages = Serving(_authorising(400, {"error": "invalid_client"}))
    finding = found(tmp_path, pages.url, fhir_token_url=f"{pages.url}/token", **smart)
    pages.stop()
    assert not finding.well
    assert "invalid_client" in finding.said


def test_without_a_server_only_shadow_mode_is_well(tmp_path: Path) -> None:
    """Nothing is sent there."""
    assert not found(tmp_path, "").well
    assert found(tmp_path, "", shadow=True).well


def test_what_the_server_cannot_do_is_said(tmp_path: Path) -> None:
    """Each limit after the rest; it is no fault of a setting."""
    with FhirServer(lacks=frozenset({Lack.TRANSACTIONS})) as server:
        finding = found(tmp_path, server.base_url)
    assert finding.well
    assert "; It has no transactions: the parts of a draft are written one by one" in finding.said


def _speaking(version: str) -> Any:
    return Response(
        json.dumps({"resourceType": "CapabilityStatement", "fhirVersion": version}),
        content_type="application/fhir+json",
    )


def _authorising(status: int, token_answer: dict[str, str]) -> Any:
    @Request.application
    def application(request: Request) -> Response:
        if request.path == "/token":
            return Response(json.dumps(token_answer), status)
        return _speaking("4.0.1")

    return application
