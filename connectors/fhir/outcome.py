"""How a FHIR server's refusals become this package's errors: one table, and no patient data.

A server's diagnostics quote what was sent, so of an OperationOutcome only the coded issue types and
the plain element paths are kept (FHIR R4 OperationOutcome.issue.code and .expression).
"""

from __future__ import annotations

import json
import re
from typing import Any

import httpx

from connectors.errors import Conflict, ExchangeError, Malformed, Rejected, Unreachable


class Absent(Rejected):
    """The server has no such resource, or it was deleted."""

    next_step = "Check whether somebody deleted it, or whether the base URL changed."


BY_STATUS: dict[int, type[ExchangeError]] = {
    400: Rejected,
    404: Absent,
    408: Unreachable,
    409: Conflict,
    410: Absent,
    412: Conflict,
    422: Rejected,
    423: Unreachable,
    425: Unreachable,
    429: Unreachable,
    501: Rejected,
    505: Rejected,
}
BY_STATUS_CLASS: dict[int, type[ExchangeError]] = {3: Rejected, 4: Rejected, 5: Unreachable}
BY_FAILURE: tuple[tuple[type[Exception], type[ExchangeError]], ...] = (
    (httpx.DecodingError, Malformed),
    (httpx.LocalProtocolError, Rejected),
    (httpx.UnsupportedProtocol, Rejected),
    (httpx.TransportError, Unreachable),
    (httpx.InvalidURL, Rejected),
    (httpx.HTTPError, Unreachable),
)

ISSUE_TYPES = frozenset(
    (
        "invalid",
        "structure",
        "required",
        "value",
        "invariant",
        "security",
        "login",
        "unknown",
        "expired",
        "forbidden",
        "suppressed",
        "processing",
        "not-supported",
        "duplicate",
        "multiple-matches",
        "not-found",
        "deleted",
        "too-long",
        "code-invalid",
        "extension",
        "too-costly",
        "business-rule",
        "conflict",
        "transient",
        "lock-error",
        "no-store",
        "exception",
        "timeout",
        "incomplete",
        "throttled",
        "informational",
    )
)
"""FHIR R4 value set issue-type."""

_HAPI_COMMENT = re.compile(r"/\*.*?\*/")
_ELEMENT_PATH = re.compile(r"[A-Z][A-Za-z]{1,40}(?:\.[a-z][A-Za-z]{1,40}(?:\[\d{1,4}\])?){0,12}")
_MAX_ISSUES = 8


def error_of_status(
    status: int, *, action: str, body: bytes, retry_after_seconds: float | None = None
) -> ExchangeError:
    """The error for an answer that is not 2xx.

    action: what was tried, without identifiers, for example "update DiagnosticReport".
    retry_after_seconds: what the answer's Retry-After says; None when it says nothing.
    """
    kind = BY_STATUS.get(status) or BY_STATUS_CLASS.get(status // 100) or Malformed
    told = summary(body)
    hint = " A redirect is never followed: configure the URL it leads to." if status // 100 == 3 else ""
    words = f"{action}: expected 2xx, came {status}{told and f' ({told})'}.{hint} {kind.next_step}"
    if issubclass(kind, Unreachable):
        return kind(words, retry_after_seconds=retry_after_seconds)
    return kind(words)


def error_of_failure(failure: Exception, *, action: str) -> ExchangeError:
    """The error for a request that got no answer; the failure's own text may quote a URL: it is left out."""
    kind = next((ours for theirs, ours in BY_FAILURE if isinstance(failure, theirs)), Unreachable)
    return kind(f"{action}: expected an answer, came {type(failure).__name__}. {kind.next_step}")


def summary(body: bytes) -> str:
    """Issue types and element paths of an OperationOutcome; empty when the body is not one."""
    try:
        outcome: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome":
        return ""
    issues = outcome.get("issue")
    told = []
    for issue in issues[:_MAX_ISSUES] if isinstance(issues, list) else []:
        if not isinstance(issue, dict):
            continue
        code = issue.get("code")
        words = code if isinstance(code, str) and code in ISSUE_TYPES else "unnamed issue"
        paths = [path for path in map(_plain_path, _strings(issue.get("expression"))) if path]
        told.append(f"{words} at {', '.join(paths)}" if paths else words)
    return "; ".join(told)


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)][:4] if isinstance(value, list) else []


def _plain_path(expression: str) -> str:
    # HAPI writes "Bundle.entry[0].resource/*DiagnosticReport/17*/.status".
    path = _HAPI_COMMENT.sub("", expression)
    return path if _ELEMENT_PATH.fullmatch(path) else ""
