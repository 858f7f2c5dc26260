"""SMART Backend Services against a real authorisation server: what Keycloak takes from us, and what not.

Keycloak fetches our keys from our own pages; what it gives opens a FHIR server that asks Keycloak about it.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from werkzeug.wrappers import Request, Response

from connectors.errors import Rejected
from connectors.fhir.auth import ASSERTION_TYPE, BackendServices, TokenRefused, assertion
from connectors.fhir.client import FhirClient
from connectors.fhir.signing_keys import KeyFolder
from tests.key_files import p384, rsa_key, write_key
from tests.loopback_pages import Serving
from tests.services.keycloak import REALM, SCOPE, root
from tests.web_site import WebSite

pytestmark = pytest.mark.services


class Admin:
    """Keycloak's administrator: adds clients, clears its cache of keys."""

    def __init__(self, address: str) -> None:
        self.root, parts = root(address), urlsplit(address)
        self.realm_url = f"{self.root}/realms/{REALM}"
        self._http = httpx.Client(trust_env=False, timeout=60)
        login = {
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": parts.username,
            "password": parts.password,
        }
        url = f"{self.root}/realms/master/protocol/openid-connect/token"
        token = self._http.post(url, data=login).raise_for_status().json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def add_client(self, client_id: str, jwks_url: str) -> None:
        client = {
            "clientId": client_id,
            "publicClient": False,
            "serviceAccountsEnabled": True,
            "standardFlowEnabled": False,
            "clientAuthenticatorType": "client-jwt",
            "optionalClientScopes": [SCOPE],
            "attributes": {"use.jwks.url": "true", "jwks.url": jwks_url},
            # Keycloak tells a client only about tokens that are meant for it.
            "protocolMappers": [
                {
                    "name": "audience",
                    "protocol": "openid-connect",
                    "protocolMapper": "oidc-audience-mapper",
                    "config": {"included.client.audience": client_id, "access.token.claim": "true"},
                }
            ],
        }
        self._post("clients", client)

    def forget_keys(self) -> None:
        """As after the time for which Keycloak keeps what it fetched."""
        self._post("clear-keys-cache", None)

    def _post(self, path: str, body: object) -> None:
        self._http.post(f"{self.root}/admin/realms/{REALM}/{path}", json=body).raise_for_status()


class Hospital:
    """Our pages with our keys, a client at Keycloak, and a FHIR server that takes Keycloak's tokens only."""

    def __init__(self, address: str, folder: Path) -> None:
        self.folder = folder / "keys"
        self.folder.mkdir()
        self.admin = Admin(address)
        self.client_id = f"prelim-{secrets.token_hex(6)}"
        self.site = WebSite(folder, fhir_keys=self.folder)
        self.pages = Serving(self.site.app)
        self.server = Serving(self._fhir)
        self.admin.add_client(self.client_id, f"{self.pages.url}/.well-known/jwks.json")
        self.token_url = f"{self.admin.realm_url}/protocol/openid-connect/token"
        self.keys = KeyFolder(self.folder)

    def services(self) -> BackendServices:
        return BackendServices(f"{self.server.url}/fhir", self.client_id, self.keys)

    def ask(self, client_assertion: str) -> httpx.Response:
        """Post an assertion as it is."""
        form = {
            "grant_type": "client_credentials",
            "scope": SCOPE,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": client_assertion,
        }
        return httpx.post(self.token_url, data=form, trust_env=False, timeout=60)

    def introspected(self, token: str) -> dict[str, Any]:
        """What Keycloak says of a token (RFC 7662)."""
        form = {
            "token": token,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion(
                self.keys.signing(), self.client_id, self.token_url, at=time.time()
            ),
        }
        answer = httpx.post(f"{self.token_url}/introspect", data=form, trust_env=False, timeout=60)
        return dict(answer.raise_for_status().json())

    def stop(self) -> None:
        self.server.stop()
        self.pages.stop()
        self.site.database.close()

    def _fhir(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        if request.path == "/fhir/.well-known/smart-configuration":
            said: dict[str, Any] = {
                "token_endpoint": self.token_url,
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
            }
            return self._json(200, said)(environ, start_response)
        if not self._taken(request.headers.get("Authorization", "")):
            return self._json(401, {"resourceType": "OperationOutcome"})(environ, start_response)
        statement = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}
        return self._json(200, statement)(environ, start_response)

    def _taken(self, header: str) -> bool:
        """Whether the token is Keycloak's, by its signature, and for us."""
        certificates = httpx.get(
            f"{self.admin.realm_url}/protocol/openid-connect/certs", trust_env=False, timeout=60
        ).json()
        try:
            keys = KeySet.import_key_set(certificates)
            read = jwt.decode(header.removeprefix("Bearer "), keys, algorithms=["RS256"])
        except Exception:
            return False
        return read.claims["azp"] == self.client_id and SCOPE in read.claims["scope"].split()

    @staticmethod
    def _json(status: int, body: dict[str, Any]) -> Response:
        return Response(json.dumps(body), status, content_type="application/json")


@pytest.fixture
def hospital(keycloak: str, tmp_path: Path) -> Iterator[Hospital]:
    site = Hospital(keycloak, tmp_path)
    yield site
    site.stop()


@pytest.mark.parametrize("kind", ["ES384", "RS384"])
def test_a_token_is_given_and_opens_the_fhir_server(hospital: Hospital, kind: str) -> None:
    """From smart-configuration to a resource; Keycloak calls the token active and the scope granted."""
    write_key(hospital.folder / "a.pem", p384() if kind == "ES384" else rsa_key())
    assert hospital.keys.signing().algorithm == kind
    services = hospital.services()
    with FhirClient(f"{hospital.server.url}/fhir", token=services) as client:
        assert client.capabilities()["fhirVersion"] == "4.0.1"
        said = hospital.introspected(services.token())
    assert said["active"] is True
    assert SCOPE in said["scope"].split()
    assert said["client_id"] == hospital.client_id


def test_without_a_token_the_fhir_server_stays_shut(hospital: Hospital) -> None:
    """So that the test above shows something."""
    write_key(hospital.folder / "a.pem")
    with FhirClient(f"{hospital.server.url}/fhir") as client, pytest.raises(Rejected):
        client.capabilities()


def test_a_key_that_is_not_published_gets_nothing(hospital: Hospital, tmp_path: Path) -> None:
    """A stranger who signs in our name is refused, and the error names the code."""
    write_key(hospital.folder / "a.pem")
    strange = tmp_path / "strange"
    strange.mkdir()
    write_key(strange / "a.pem")
    services = BackendServices(f"{hospital.server.url}/fhir", hospital.client_id, KeyFolder(strange))
    with pytest.raises(TokenRefused, match="invalid_client"):
        services.token()


def test_a_scope_that_is_not_granted_is_refused(hospital: Hospital) -> None:
    """invalid_scope, in words that say what to do."""
    write_key(hospital.folder / "a.pem")
    services = BackendServices(
        f"{hospital.server.url}/fhir", hospital.client_id, hospital.keys, scope="system/*.dream"
    )
    with pytest.raises(TokenRefused, match="invalid_scope"):
        services.token()


def test_an_assertion_counts_once_and_not_after_its_end(hospital: Hospital) -> None:
    """Keycloak takes ours; the same again is a replay, and one from ten minutes ago has run out."""
    write_key(hospital.folder / "a.pem")
    key = hospital.keys.signing()

    def signed(at: float) -> str:
        return assertion(key, hospital.client_id, hospital.token_url, at=at)

    once = signed(time.time())
    assert [hospital.ask(once).status_code, hospital.ask(once).status_code] == [200, 400]
    expired = hospital.ask(signed(time.time() - 600))
    assert (expired.status_code, expired.json()["error"]) == (400, "invalid_client")


@pytest.mark.parametrize("clock", [-30, 30])
def test_clocks_may_differ_by_half_a_minute(hospital: Hospital, clock: int) -> None:
    """Ours may be behind or ahead: the assertion is young and alive all the same."""
    write_key(hospital.folder / "a.pem")
    text = assertion(hospital.keys.signing(), hospital.client_id, hospital.token_url, at=time.time() + clock)
    assert hospital.ask(text).status_code == 200


def test_an_assertion_for_another_server_is_refused(hospital: Hospital) -> None:
    """aud binds it to one token URL: what one server got cannot be used at another."""
    write_key(hospital.folder / "a.pem")
    key = hospital.keys.signing()
    text = assertion(key, hospital.client_id, "https://elsewhere.example/token", at=time.time())
    assert hospital.ask(text).status_code == 400


def test_an_unsigned_assertion_is_refused_and_never_ours(hospital: Hospital) -> None:
    """alg none opens nothing, and what we send names the algorithm of its key."""
    write_key(hospital.folder / "a.pem")
    key = hospital.keys.signing()
    header, claims, _ = assertion(key, hospital.client_id, hospital.token_url, at=time.time()).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] == "ES384"
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    assert hospital.ask(f"{none}.{claims}.").status_code == 400


def test_keys_are_changed_without_a_gap(hospital: Hospital) -> None:
    """The new key is published, then it signs while the old one still counts, then the old one is gone."""
    write_key(hospital.folder / "1.pem")
    hospital.services().token()
    old = hospital.keys.signing()
    # Published, and not used yet.
    write_key(hospital.folder / "2.next.pem", rsa_key())
    hospital.services().token()
    assert hospital.keys.signing() is not None
    assert hospital.keys.signing().kid == old.kid
    # It signs; Keycloak, which knew the old one only, fetches our keys again.
    (hospital.folder / "2.next.pem").rename(hospital.folder / "2.pem")
    assert hospital.keys.signing().algorithm == "RS384"
    hospital.services().token()
    late = assertion(old, hospital.client_id, hospital.token_url, at=time.time())
    assert hospital.ask(late).status_code == 200
    # The old one is gone.
    (hospital.folder / "1.pem").unlink()
    hospital.admin.forget_keys()
    hospital.services().token()
    later = assertion(old, hospital.client_id, hospital.token_url, at=time.time())
    assert hospital.ask(later).status_code == 400
