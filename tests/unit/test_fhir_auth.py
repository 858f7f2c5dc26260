"""SMART Backend Services against an authorisation server that is made up, honest or not."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet

from connectors.errors import ExchangeError, Malformed, Rejected, Unreachable
from connectors.fhir.auth import (
    ASSERTION_SECONDS,
    ISSUED_SECONDS,
    MAX_BODY_BYTES,
    BackendServices,
    TokenRefused,
    _token_of,
)
from connectors.fhir.client import FhirClient
from connectors.fhir.retrying import ONE_ATTEMPT
from connectors.fhir.signing_keys import KeyFolder
from connectors.fhir.wire import Answer
from tests.key_files import write_key

BASE = "https://fhir.test/r4"
TOKEN_URL = "https://auth.test/token"
SMART = f"{BASE}/.well-known/smart-configuration"
GIVEN = {"access_token": "first", "token_type": "Bearer", "expires_in": 300}
NOW = 1_800_000_000.0


class Site:
    """A FHIR server and its authorisation server, and our client's side of them."""

    def __init__(self, folder: Path, **options: Any) -> None:
        write_key(folder / "a.pem")
        self.keys = KeyFolder(folder)
        self.asked: list[httpx.Request] = []
        self.smart_status = 200
        self.smart: Any = {"token_endpoint": TOKEN_URL}
        self.token_answer: Callable[[], httpx.Response] = lambda: httpx.Response(200, json=GIVEN)
        self.fhir_status: Callable[[str], int] = lambda _: 200
        self.at = 1000.0
        options = {"token_url": TOKEN_URL, "base_url": BASE, **options}
        self.services = BackendServices(
            client_id="prelim",
            keys=self.keys,
            transport=httpx.MockTransport(self._answer),
            clock=lambda: self.at,
            wall=lambda: NOW,
            **options,
        )
        self.client = FhirClient(
            options["base_url"],
            token=self.services,
            transport=httpx.MockTransport(self._answer),
            patience=ONE_ATTEMPT,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.path.endswith("/smart-configuration"):
            return httpx.Response(self.smart_status, json=self.smart)
        if request.url.path.endswith("/token"):
            return self.token_answer()
        return httpx.Response(
            self.fhir_status(request.headers["Authorization"]), json={"resourceType": "Patient"}
        )

    @property
    def tokens_asked(self) -> int:
        return len([request for request in self.asked if request.url.path.endswith("/token")])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_token_is_asked_for_by_a_signed_assertion(site: Site) -> None:
    """SMART: iss and sub are the client, aud the token URL, exp within five minutes."""
    assert site.services.token() == "first"
    (request,) = site.asked
    assert (request.method, str(request.url)) == ("POST", TOKEN_URL)
    form = parse_qs(request.content.decode(), strict_parsing=True)
    text = form.pop("client_assertion")[0]
    assert form == {
        "grant_type": ["client_credentials"],
        "scope": ["system/*.cruds"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
    }
    read = jwt.decode(text, KeySet.import_key_set(site.keys.published()), algorithms=["ES384"])
    assert read.header == {"alg": "ES384", "kid": site.keys.signing().kid, "typ": "JWT"}
    assert len(read.claims.pop("jti")) >= 32
    assert read.claims == {
        "iss": "prelim",
        "sub": "prelim",
        "aud": TOKEN_URL,
        "iat": int(NOW) - ISSUED_SECONDS,
        "exp": int(NOW) + ASSERTION_SECONDS,
    }
    assert ISSUED_SECONDS + ASSERTION_SECONDS <= 300


def test_no_assertion_is_used_twice(site: Site) -> None:
    """Each has a jti of its own."""
    site.token_answer = lambda: httpx.Response(200, json={**GIVEN, "expires_in": 1})
    for _ in range(3):
        site.services.token()
        site.at += 2
    keys = KeySet.import_key_set(site.keys.published())
    forms = [parse_qs(request.content.decode()) for request in site.asked]
    read = [jwt.decode(form["client_assertion"][0], keys, algorithms=["ES384"]) for form in forms]
    assert len({one.claims["jti"] for one in read}) == 3


@pytest.mark.parametrize(
    ("lasts", "renewed_after"), [(300, 270.0), (60, 45.0), (4, 3.0), (10**9, 86370.0), (None, 270.0)]
)
def test_a_token_is_kept_until_shortly_before_its_end(
    site: Site, lasts: int | None, renewed_after: float
) -> None:
    """Just before it is renewed, and just at it."""
    answer = {name: value for name, value in {**GIVEN, "expires_in": lasts}.items() if value is not None}
    site.token_answer = lambda: httpx.Response(200, json=answer)
    site.services.token()
    site.at += renewed_after - 0.001
    site.services.token()
    assert site.tokens_asked == 1
    site.at += 0.001
    site.services.token()
    assert site.tokens_asked == 2


def test_many_threads_ask_for_one_token(site: Site) -> None:
    """The others wait for it."""
    started = threading.Barrier(8)

    def ask(_: int) -> str:
        started.wait()
        return site.services.token()

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(8))) == {"first"}
    assert site.tokens_asked == 1


def test_a_token_that_the_fhir_server_refuses_is_renewed_once(site: Site) -> None:
    """401 drops it, the request is sent once more with a new one; a second 401 stands."""
    names = iter(["first", "second", "third"])
    site.token_answer = lambda: httpx.Response(200, json={**GIVEN, "access_token": next(names)})
    site.fhir_status = lambda header: 401 if header == "Bearer first" else 200
    assert site.client.read("Patient/1") == {"resourceType": "Patient"}
    site.fhir_status = lambda _: 401
    with pytest.raises(Rejected):
        site.client.read("Patient/1")
    sent = [request.headers.get("Authorization") for request in site.asked if "Patient" in str(request.url)]
    assert sent == ["Bearer first", "Bearer second", "Bearer second", "Bearer third"]


def test_a_fixed_token_that_is_refused_is_not_tried_again() -> None:
    """There is no other."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(401)

    with pytest.raises(Rejected):
        FhirClient(BASE, token="fixed", transport=httpx.MockTransport(answer)).read("Patient/1")
    assert len(asked) == 1


def test_a_token_dropped_late_leaves_the_new_one(site: Site) -> None:
    """Another thread's 401 for an old token does not cost the new one."""
    site.services.token()
    site.services.drop("an older one")
    site.services.token()
    assert site.tokens_asked == 1


@pytest.mark.parametrize(
    "code", ["invalid_client", "invalid_scope", "unauthorized_client", "invalid_request", "invalid_grant"]
)
@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_is_told_by_its_code_only(
    site: Site, code: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """error_description may repeat what was sent: neither it nor the assertion is told or logged."""
    caplog.set_level(logging.DEBUG)
    refusal = {"error": code, "error_description": "Zebedee", "error_uri": "https://evil.test"}
    site.token_answer = lambda: httpx.Response(status, json=refusal)
    with pytest.raises(TokenRefused, match=code) as refused:
        site.services.token()
    assertion = parse_qs(site.asked[0].content.decode())["client_assertion"][0]
    said = str(refused.value) + caplog.text
    assert not [secret for secret in ("Zebedee", "evil", assertion) if secret in said]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": "Zebedee"}, TokenRefused),
        (401, None, TokenRefused),
        (302, None, TokenRefused),
        (201, GIVEN, TokenRefused),
        (429, None, Unreachable),
        (500, None, Unreachable),
        (503, {"error": "server_error"}, Unreachable),
        (200, None, Malformed),
        (200, [], Malformed),
        (200, {**GIVEN, "token_type": "mac"}, Malformed),
        (200, {**GIVEN, "token_type": None}, Malformed),
        (200, {**GIVEN, "access_token": ""}, Malformed),
        (200, {**GIVEN, "access_token": "a\r\nX: y"}, Malformed),
        (200, {**GIVEN, "access_token": 7}, Malformed),
        (200, {**GIVEN, "expires_in": "soon"}, Malformed),
        (200, {**GIVEN, "expires_in": 0}, Malformed),
        (200, {**GIVEN, "expires_in": True}, Malformed),
    ],
)
def test_an_answer_without_a_token_is_an_error(
    site: Site, status: int, body: object, expected: type[ExchangeError]
) -> None:
    """Nothing of it is guessed at or repeated, and the next call asks again."""
    site.token_answer = lambda: httpx.Response(status, json=body, headers={"Location": "https://evil.test"})
    with pytest.raises(ExchangeError) as raised:
        site.services.token()
    assert type(raised.value) is expected
    assert "Zebedee" not in str(raised.value)
    assert {request.url.host for request in site.asked} == {"auth.test"}
    site.token_answer = lambda: httpx.Response(200, json=GIVEN)
    assert site.services.token() == "first"


@pytest.mark.parametrize("status", [404, 409, 410, 412])
@pytest.mark.parametrize("token_url", [TOKEN_URL, ""])
def test_a_token_server_says_nothing_about_a_report(tmp_path: Path, status: int, token_url: str) -> None:
    """Its 404 or 412 is neither Absent nor Conflict: those would say that a person deleted or changed it."""
    site = Site(tmp_path, token_url=token_url)
    site.token_answer = lambda: httpx.Response(status)
    site.smart_status = 200 if token_url else status
    with pytest.raises(ExchangeError) as raised:
        site.client.read("DiagnosticReport/1")
    assert type(raised.value) is TokenRefused


def test_a_throttled_token_server_says_when_to_come_back(site: Site) -> None:
    """Its Retry-After is carried."""
    site.token_answer = lambda: httpx.Response(429, headers={"Retry-After": "77"})
    with pytest.raises(Unreachable) as raised:
        site.client.read("Patient/1")
    assert raised.value.retry_after_seconds == 77.0


def test_a_token_answer_is_capped(site: Site) -> None:
    """At the cap it is read, a byte more is not."""
    body = json.dumps(GIVEN).encode()
    site.token_answer = lambda: httpx.Response(200, content=body.ljust(MAX_BODY_BYTES + 1))
    with pytest.raises(Malformed):
        site.services.token()
    site.token_answer = lambda: httpx.Response(200, content=body.ljust(MAX_BODY_BYTES))
    assert site.services.token() == "first"


def test_the_token_url_is_found_below_the_fhir_server(tmp_path: Path) -> None:
    """In smart-configuration, which is asked without a token, once while it works."""
    site = Site(tmp_path, token_url="")
    site.client.read("Patient/1")
    site.at += 1000
    site.client.read("Patient/1")
    asked = [str(request.url) for request in site.asked]
    assert asked == [SMART, TOKEN_URL, f"{BASE}/Patient/1", TOKEN_URL, f"{BASE}/Patient/1"]
    assert "Authorization" not in site.asked[0].headers


def test_a_token_url_that_moved_is_looked_up_again(tmp_path: Path) -> None:
    """After whatever went wrong."""
    site = Site(tmp_path, token_url="")
    site.services.token()
    site.at += 1000
    site.token_answer = lambda: httpx.Response(404)
    with pytest.raises(Rejected):
        site.services.token()
    site.token_answer = lambda: httpx.Response(200, json=GIVEN)
    site.smart = {"token_endpoint": "https://new.test/token"}
    site.services.token()
    assert str(site.asked[-1].url) == "https://new.test/token"


UNSAFE = [
    "http://auth.test/token",
    "https://me:pw@auth.test/token",
    "https://auth.test/token#x",
    "ftp://auth.test/token",
    "file:///etc/passwd",
    "/token",
    "https://",
    "http://[",
    "http://169.254.169.254/token",
]


@pytest.mark.parametrize("url", [*UNSAFE, "http://127.0.0.1:1/token", "https://localhost/token"])
def test_a_token_url_that_is_not_safe_is_not_asked(tmp_path: Path, url: str) -> None:
    """A server elsewhere can name neither plain http nor a service of this machine."""
    site = Site(tmp_path, token_url="")
    site.smart = {"token_endpoint": url}
    with pytest.raises(Rejected):
        site.services.token()
    assert [str(request.url) for request in site.asked] == [SMART]


@pytest.mark.parametrize("url", UNSAFE)
def test_a_token_url_of_the_settings_must_be_safe_too(tmp_path: Path, url: str) -> None:
    """It is seen at once."""
    with pytest.raises(Rejected):
        Site(tmp_path, token_url=url)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_a_token_url_on_this_machine_may_be_plain(tmp_path: Path, host: str) -> None:
    """Where the settings say so, or where the FHIR server is on this machine as well."""
    url = f"http://{host}/token"
    assert Site(tmp_path, token_url=url).services.token() == "first"
    near = Site(tmp_path, token_url="", base_url="http://127.0.0.1:8081/fhir")
    near.smart = {"token_endpoint": url}
    assert near.services.token() == "first"


@pytest.mark.parametrize(
    ("smart", "expected"),
    [
        ({}, Malformed),
        ({"token_endpoint": 7}, Malformed),
        ([], Malformed),
        ({"token_endpoint": TOKEN_URL, "token_endpoint_auth_methods_supported": ["client_secret_basic"]},
         Rejected),
        ({"token_endpoint": TOKEN_URL, "token_endpoint_auth_signing_alg_values_supported": ["RS384"]},
         Rejected),
    ],
)  # fmt: skip
def test_a_smart_configuration_that_does_not_fit_is_said(
    tmp_path: Path, smart: object, expected: type[ExchangeError]
) -> None:
    """Without a token URL, without private_key_jwt, or without our key's algorithm: no token is asked for."""
    site = Site(tmp_path, token_url="")
    site.smart = smart
    with pytest.raises(expected):
        site.services.token()
    assert site.tokens_asked == 0


@given(st.integers(100, 599), st.binary(max_size=300))
def test_no_answer_breaks_what_reads_it(status: int, body: bytes) -> None:
    """Any bytes are a token or one of our errors."""
    with suppress(ExchangeError):
        assert _token_of(Answer(status, body, httpx.Headers()), 0.0).token
