"""The FHIR server by TLS: whose certificate is trusted, which one we show, and what is said when it fails."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.errors import Unreachable
from connectors.fhir.retrying import ONE_ATTEMPT
from connectors.tls import server_context
from plugin.peers import fhir_client
from plugin.settings import SettingError, Settings
from tests.certificates import Authority, Issued

STATEMENT = json.dumps({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}).encode()


class _Metadata(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(STATEMENT)))
        self.end_headers()
        self.wfile.write(STATEMENT)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's word
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Metadata)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that fails is what is tested."""


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[str]:
    """A FHIR server by TLS; gives its base URL."""
    with _Server(context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}/fhir"
        finally:
            server.shutdown()
            thread.join()


class Site:
    """An authority, its FHIR server, and our certificate."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.server = self.authority.issue("server")
        self.ours = self.authority.issue("prelim")
        self.strangers = Authority(folder, "strangers")

    def context(self, *, mutual: bool) -> ssl.SSLContext:
        client_ca = self.authority.certificate if mutual else None
        return server_context(self.server.certificate, self.server.key, client_ca)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def ask(url: str, ca: Path | None, shown: Issued | None = None) -> str:
    """The FHIR version of a server that is asked as the settings say."""
    settings = Settings(
        fhir_url=url,
        fhir_ca=ca,
        fhir_certificate=shown.certificate if shown else None,
        fhir_key=shown.key if shown else None,
    )
    with fhir_client(settings, timeout_seconds=5, patience=ONE_ATTEMPT) as client:
        return str(client.capabilities()["fhirVersion"])


def test_the_servers_certificate_must_come_from_the_authority_that_is_set(site: Site) -> None:
    """Ours is trusted; strangers' is not, nor are the usual ones enough for it."""
    with serving(site.context(mutual=False)) as url:
        assert ask(url, site.authority.certificate) == "4.0.1"
        for ca in (site.strangers.certificate, None):
            with pytest.raises(Unreachable):
                ask(url, ca)


def test_a_certificate_for_another_host_is_not_accepted(site: Site) -> None:
    """The name that is configured must be in it."""
    with serving(site.context(mutual=False)) as url, pytest.raises(Unreachable):
        ask(url.replace("127.0.0.1", "localhost"), site.authority.certificate)


def test_a_server_that_asks_for_a_certificate_gets_ours(site: Site) -> None:
    """With it the server answers; without, or with a stranger's, it does not."""
    with serving(site.context(mutual=True)) as url:
        assert ask(url, site.authority.certificate, site.ours) == "4.0.1"
        for shown in (None, site.strangers.issue("stranger")):
            with pytest.raises(Unreachable):
                ask(url, site.authority.certificate, shown)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("missing", "none.pem"),
        ("certificate only", "FHIR_CERTIFICATE and PRELIM_FHIR_KEY"),
        ("key only", "FHIR_CERTIFICATE and PRELIM_FHIR_KEY"),
        ("wrong key", "does not belong"),
        ("expired", "expired"),
        ("plain", "need an https:// address"),
    ],
)
def test_tls_files_that_cannot_be_used_are_told(site: Site, tmp_path: Path, case: str, words: str) -> None:
    """Before anything is asked, in one sentence that names setting or file."""
    ours, other, old = site.ours, site.server, site.authority.issue("old", expired=True)
    url, ca = "https://fhir.example/r4", site.authority.certificate
    settings = {
        "missing": Settings(fhir_url=url, fhir_ca=tmp_path / "none.pem"),
        "certificate only": Settings(fhir_url=url, fhir_certificate=ours.certificate),
        "key only": Settings(fhir_url=url, fhir_key=ours.key),
        "wrong key": Settings(fhir_url=url, fhir_certificate=ours.certificate, fhir_key=other.key),
        "expired": Settings(fhir_url=url, fhir_certificate=old.certificate, fhir_key=old.key),
        "plain": Settings(fhir_url="http://fhir.example/r4", fhir_ca=ca),
    }
    with pytest.raises(SettingError, match=words):
        fhir_client(settings[case])
