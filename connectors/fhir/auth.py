"""SMART Backend Services: a signed assertion for a token that lasts minutes.

HL7 SMART App Launch 2.2, backend-services and client-confidential-asymmetric; RFC 6749 4.4, RFC 7523.
Neither assertion nor token is ever in an error or a log.
"""

from __future__ import annotations

import json
import re
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from connectors.errors import ExchangeError, Malformed, Rejected, Unreachable
from connectors.fhir.outcome import error_of_status
from connectors.fhir.retrying import retry_after_seconds
from connectors.fhir.signing_keys import KeyFolder, SigningKey
from connectors.fhir.wire import Answer, Wire, is_loopback

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 180
"""Below the five minutes that are allowed, so that clocks may differ."""
ISSUED_SECONDS = 20
"""How long before now an assertion says that it was issued. Keycloak, left as it comes, takes 15 s into the
future and 60 s into the past: so our clock may be half a minute off either way."""
DEFAULT_SCOPE = "system/*.cruds"
USUAL_TOKEN_SECONDS = 300.0
"""How long a token lasts whose answer does not say it (backend-services: at most five minutes)."""
LONGEST_TOKEN_SECONDS = 86400.0
RENEWED_SECONDS = 30.0
"""A token is renewed this long before its end, or after three quarters of it when that is later."""
MAX_BODY_BYTES = 256 * 1024
ERROR_CODES = frozenset(
    (
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
    )
)
"""RFC 6749 5.2 and RFC 8707 2: what a refusal may be repeated as; its other words stay with the server."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_SAID = {
    "invalid_client": "Register the client id with our public keys (the key set's URL), and compare clocks.",
    "unauthorized_client": "Allow this client the grant client_credentials.",
    "invalid_scope": "Grant the client the scopes that are asked for, or ask for others.",
}


class TokenRefused(Rejected):
    """The authorisation server gives no token."""

    next_step = "Mend how the client is registered, or its settings, then replay."


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    renewed_at: float


class BackendServices:
    """Asks for tokens, keeps the present one, and renews it once for all threads.

    base_url: of the FHIR service, whose smart-configuration names the token URL where none is given.
    token_url: https, or http on this machine.
    clock: seconds that only go forward. wall: seconds since 1970, for the assertion.

    Raises Rejected when token_url is no such URL.
    """

    def __init__(
        self,
        base_url: str,
        client_id: str,
        keys: KeyFolder,
        *,
        scope: str = DEFAULT_SCOPE,
        token_url: str = "",
        timeout_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._client_id = client_id
        self._keys = keys
        self._scope = scope
        self._configured_url = _checked_url(token_url, local=True) if token_url else ""
        self._found_url = ""
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._wire = Wire(
            timeout_seconds=timeout_seconds, transport=transport, max_body_bytes=MAX_BODY_BYTES, tls=tls
        )

    def close(self) -> None:
        """Close the pool."""
        self._wire.close()

    def token(self) -> str:
        """The present token, or a new one.

        Raises TokenRefused, Unreachable, Rejected, Malformed or KeyFileError.
        """
        held = self._held
        if held is not None and self._clock() < held.renewed_at:
            return held.token
        with self._lock:
            held = self._held
            if held is None or self._clock() >= held.renewed_at:
                try:
                    held = self._held = self._ask()
                except ExchangeError:
                    self._held, self._found_url = None, ""  # it may have moved
                    raise
            return held.token

    def drop(self, token: str) -> None:
        """Forget a token that was refused; one that replaced it meanwhile stays."""
        with self._lock:
            if self._held is not None and self._held.token == token:
                self._held = None

    def _ask(self) -> _Held:
        """1. Find the token URL. 2. Sign an assertion for it. 3. Post it. 4. Read the token."""
        key = self._keys.signing()
        url = self._configured_url or self._found_url or self._discovered(key)  # 1
        self._found_url = url
        form = {
            "grant_type": "client_credentials",
            "scope": self._scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion(key, self._client_id, url, at=self._wall()),  # 2
        }
        asked_at = self._clock()
        answer = self._wire.exchange(  # 3
            "POST",
            url,
            action="ask for a token",
            headers={"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"},
            content=urlencode(form).encode("ascii"),
        )
        return _token_of(answer, asked_at)  # 4

    def _discovered(self, key: SigningKey) -> str:
        """The token URL that the FHIR server's smart-configuration names (conformance.html)."""
        action = "read smart-configuration"
        answer = self._wire.exchange(
            "GET",
            f"{self._base}/.well-known/smart-configuration",
            action=action,
            headers={"Accept": "application/json"},
        )
        if answer.status != 200:
            raise _error(answer, action)
        said = _object(answer.body, action=action)
        url = said.get("token_endpoint")
        if not isinstance(url, str):
            raise Malformed(f"{action}: expected token_endpoint, came none. Set the token URL instead.")
        for member, wanted in (
            ("token_endpoint_auth_methods_supported", "private_key_jwt"),
            ("token_endpoint_auth_signing_alg_values_supported", key.algorithm),
        ):
            offered = said.get(member)
            if isinstance(offered, list) and wanted not in offered:
                raise TokenRefused(
                    f"{action}: expected {member} with {wanted}, came without. "
                    "Use a key, or a way to authenticate, that the server takes."
                )
        # A server elsewhere must not send us to a service of this machine.
        return _checked_url(url, local=is_loopback(httpx.URL(self._base).host))


def assertion(key: SigningKey, client_id: str, token_url: str, *, at: float) -> str:
    """The client's signed word for one token request (client-confidential-asymmetric, "authentication JWT").

    at: seconds since 1970. iat is optional there, but a server may take only a minute without it.
    """
    return key.signed(
        {
            "iss": client_id,
            "sub": client_id,
            "aud": token_url,
            "jti": secrets.token_urlsafe(32),
            "iat": int(at) - ISSUED_SECONDS,
            "exp": int(at) + ASSERTION_SECONDS,
        }
    )


def _checked_url(text: str, *, local: bool) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise Rejected("Expected a token URL; came something unreadable.") from None
    here = bool(url.host) and is_loopback(url.host)
    safe = url.scheme == "https" or (url.scheme == "http" and here)
    if not (safe and url.host) or (here and not local) or url.userinfo or url.fragment:
        raise Rejected(
            "Expected a token URL with https, or one on this machine where the FHIR server is too, "
            "without user and fragment; came another. Nothing was sent there."
        )
    return text


def _token_of(answer: Answer, asked_at: float) -> _Held:
    action = "ask for a token"
    if answer.status in {400, 401, 403}:
        code = _error_code(answer.body)
        if code:
            raise TokenRefused(
                f"{action}: expected one, came {code}. {_SAID.get(code, TokenRefused.next_step)}"
            )
    if answer.status != 200:
        raise _error(answer, action)
    said = _object(answer.body, action=action)
    token, kind = said.get("access_token"), said.get("token_type")
    if not (isinstance(token, str) and _TOKEN.fullmatch(token)):
        raise Malformed(f"{action}: expected access_token, came none that a header can carry.")
    if not (isinstance(kind, str) and kind.lower() == "bearer"):
        raise Malformed(f"{action}: expected token_type bearer, came another.")
    lasts = said.get("expires_in", USUAL_TOKEN_SECONDS)
    if isinstance(lasts, bool) or not isinstance(lasts, int | float) or not lasts > 0:
        raise Malformed(f"{action}: expected expires_in in seconds, came something else.")
    lasts = min(float(lasts), LONGEST_TOKEN_SECONDS)
    return _Held(token, asked_at + max(lasts - RENEWED_SECONDS, lasts * 0.75))


def _error(answer: Answer, action: str) -> ExchangeError:
    error = error_of_status(
        answer.status,
        action=action,
        body=b"",  # its words may repeat the assertion
        retry_after_seconds=retry_after_seconds(answer.headers),
    )
    if isinstance(error, Unreachable):
        return error
    # Its 404 or 409 is no word about the resource that the token was for: that is neither gone nor changed.
    return TokenRefused(f"{action}: expected 200, came {answer.status}. {TokenRefused.next_step}")


def _error_code(body: bytes) -> str:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    code = said.get("error") if isinstance(said, dict) else None
    return code if isinstance(code, str) and code in ERROR_CODES else ""


def _object(body: bytes, *, action: str) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Malformed(f"{action}: expected a JSON object, came something else.")
    return said
