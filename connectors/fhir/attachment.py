"""Report text in and out of FHIR: our draft as escaped HTML, and anybody's presentedForm as plain text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from html import escape, unescape
from typing import Any

from connectors.exchange import DraftReport

MAX_TEXT_BYTES = 2 * 2**20
"""Of one presentedForm after base64; a longer one is not read as report text."""
HTML, PDF = "text/html", "application/pdf"
"""Media types of the forms in which a draft is written."""
HTML_TYPES = frozenset({"text/html", "application/xhtml", "application/xhtml+xml"})
PLAIN_TYPES = frozenset({"text/plain", "text"})

_BLOCKS = frozenset(
    ("p", "div", "br", "li", "ul", "ol", "tr", "table", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "section")
)
_HIDDEN = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "title", "template")}
"""Elements whose content is no text, and how each ends."""
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Unicode's control characters but for tab and line feed, surrogates, and what is no character."""
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,20})")


def clean(text: str) -> str:
    """The text without what FHIR strings and XHTML cannot hold (XML 1.0 section 2.2, and C1 controls)."""
    return _UNFIT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def narrative(draft: DraftReport) -> str:
    """The XHTML div of the report's narrative, the notice first (FHIR R4 narrative.html)."""
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{_body(draft)}</div>'


def page(draft: DraftReport) -> bytes:
    """The draft as one HTML document, for presentedForm."""
    title = escape(clean(draft.notice))
    return (
        f'<!DOCTYPE html><html lang="{escape(draft.language)}"><head><meta charset="utf-8"/>'
        f"<title>{title}</title></head><body>{_body(draft)}</body></html>"
    ).encode()


def form_of(
    media_type: str, document: bytes, *, title: str, created: str, language: str = "en"
) -> dict[str, Any]:
    """A presentedForm of the whole document, with size and SHA-1 (FHIR R4 datatypes.html#attachment).

    created: an instant. language: BCP 47 tag of what the document says.
    """
    digest = hashlib.sha1(document, usedforsecurity=False).digest()
    return {
        "contentType": media_type,
        "language": language,
        "data": base64.b64encode(document).decode("ascii"),
        "size": len(document),
        "hash": base64.b64encode(digest).decode("ascii"),
        "title": title,
        "creation": created,
    }


def narrative_under(sentence: str, div: str) -> str:
    """A narrative with a sentence above its words; the sentence alone when the narrative is not a div."""
    opening, closed, words = div.partition(">")
    if not (closed and opening.startswith("<div") and words.endswith("</div>")):
        opening, words = '<div xmlns="http://www.w3.org/1999/xhtml"', "</div>"
    return f"{opening}>{_strong(sentence)}{words}"


def page_under(sentence: str, html: bytes) -> bytes:
    """A document that `page` made, with a sentence above its words. Raises ValueError for another one."""
    head, body, words = html.partition(b"<body>")
    if not body:
        raise ValueError("expected an HTML document with a body, found none")
    return head + body + _strong(sentence).encode() + words


def _body(draft: DraftReport) -> str:
    parts = [_strong(draft.notice)]
    for title, text in draft.sections:
        parts.append(f"<h3>{_lines(title)}</h3><p>{_lines(text)}</p>")
    return "".join(parts)


def _strong(sentence: str) -> str:
    return f"<p><b>{_lines(sentence)}</b></p>"


def _lines(text: str) -> str:
    return escape(clean(text)).replace("\n", "<br/>")


def presented(resource: dict[str, Any]) -> list[str]:
    """The data of each presentedForm, still base64; urls are not followed."""
    forms = resource.get("presentedForm")
    return [
        form["data"]
        for form in (forms if isinstance(forms, list) else [])
        if isinstance(form, dict) and isinstance(form.get("data"), str)
    ]


def presented_text(resource: dict[str, Any]) -> str:
    """The first readable presentedForm as plain text; empty when there is none below the cap."""
    forms = resource.get("presentedForm")
    for form in forms if isinstance(forms, list) else []:
        if not isinstance(form, dict) or not isinstance(form.get("data"), str):
            continue
        kind = str(form.get("contentType", "")).partition(";")[0].strip().lower()
        if kind not in HTML_TYPES | PLAIN_TYPES or len(form["data"]) > MAX_TEXT_BYTES * 4 // 3 + 4:
            continue
        try:
            data = base64.b64decode(form["data"])
        except (binascii.Error, ValueError):
            continue
        if len(data) > MAX_TEXT_BYTES:
            continue
        text = data.decode("utf-8", errors="replace").removeprefix("\ufeff")
        readable = plain(text) if kind in HTML_TYPES else clean(text).strip()
        if readable:
            return readable
    return ""


def plain(html: str) -> str:
    """The words of an HTML document: tags stripped, a block a line, scripts and titles left out.

    One pass over text that anybody may have written: the standard library's parser takes time
    quadratic in its length on broken tags. What never closes is shown as words rather than lost.
    """
    words: list[str] = []
    place = 0
    while (start := html.find("<", place)) >= 0:
        words.append(_spaced(html[place:start]))
        named = _TAG.match(html, start)
        mark = "-->" if html.startswith("<!--", start) else ">"
        end = html.find(mark, start) if named or html[start + 1 : start + 2] in {"!", "?"} else -2
        if end == -1:
            place = start
            break
        place = start + 1 if end == -2 else end + len(mark)
        if end == -2:
            words.append("<")
        elif named:
            name = named[2].lower()
            if name in _BLOCKS:
                words.append("\n")
            elif name in _HIDDEN and not named[1]:
                closing = _HIDDEN[name].search(html, place)
                place = closing.start() if closing else place
                if not closing:
                    break
    words.append(_spaced(html[place:]))
    lines = (" ".join(line.split()) for line in clean("".join(words)).split("\n"))
    return "\n".join(line for line in lines if line)


def _spaced(text: str) -> str:
    # Inside HTML a line break is a space; only a block ends a line.
    return unescape(" ".join(text.split("\n")))
