"""One resource of the sandbox FHIR server as a page for a person; nothing in it is trusted."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from werkzeug.wrappers import Response

from connectors.fhir.attachment import presented_text

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}"
    "h1{font-size:1.4rem}dt{font-weight:600}dd{margin:0 0 .6rem}"
    ".words,pre{white-space:pre-wrap;overflow-wrap:anywhere}"
    ".words{border-left:4px solid #8a5a00;padding-left:1rem}"
    "pre{font-size:.85rem;background:#f3f4f6;padding:1rem}"
)


def resource_page(resource: dict[str, Any], base_url: str) -> Response:
    """The resource's status, words and JSON; every value escaped, and no script may run."""
    kind, identity = str(resource.get("resourceType")), str(resource.get("id"))
    version = str(resource.get("meta", {}).get("versionId", ""))
    name = f"{kind}/{identity}"
    rows = [("Status", str(resource.get("status", ""))), ("Version", version)]
    rows += [("Interpreter", _display(who)) for who in resource.get("resultsInterpreter", [])]
    rows += [
        ("Label", str(label.get("display", ""))) for label in resource.get("meta", {}).get("security", [])
    ]
    details = "".join(f"<dt>{escape(term)}</dt><dd>{escape(value)}</dd>" for term, value in rows if value)
    words = presented_text(resource) or str(resource.get("conclusion", ""))
    document = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/><title>{escape(name)}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(name)}</h1><dl>{details}</dl>"
        + (f'<h2>Text</h2><div class="words">{escape(words)}</div>' if words else "")
        + f'<p><a href="{escape(base_url)}/{escape(name)}/_history">All versions (JSON)</a></p>'
        f"<h2>JSON</h2><pre>{escape(json.dumps(resource, indent=2, ensure_ascii=False))}</pre>"
        "</main></body></html>"
    )
    response = Response(document, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _display(reference: dict[str, Any]) -> str:
    return str(reference.get("display") or reference.get("reference") or "")
