"""Takes out of a strange HTML document what html.parser would take quadratic time for. No torch here."""

from __future__ import annotations

import re

from model.structured.template import TemplateError

MAXIMUM_TAG = 2000
"""Characters of one tag."""

_BLOCK = re.compile(r"<!--|<(script|style)\b([^<>]{0,2000})>", re.IGNORECASE)
_LONE = re.compile(r"<(?![a-z/!][^<>]*>)", re.IGNORECASE)
_XML = re.compile(r"""\btype\s*=\s*["']?(?:text|application)/xml\b""", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_DECLARATION = re.compile(r"<![^<>]*>")


def tidied(text: str) -> tuple[str, str]:
    """(document without comments, scripts, styles and declarations, content of its scripts of XML).

    Takes time linear in the length: each part is looked at once, and one that has no end is refused. A `<`
    that starts no whole tag becomes words. Raises TemplateError.
    """
    kept, scripts, start = [], [], 0
    while block := _BLOCK.search(text, start):
        kept.append(text[start : block.start()])
        end = "-->" if block[1] is None else f"</{block[1].lower()}"
        place = text.find(end, block.end()) if block[1] is None else _find(text, end, block.end())
        if place < 0:
            raise TemplateError("expected every comment, script and style to be closed; one is not")
        if block[1] is not None and _XML.search(block[2]):
            scripts.append(text[block.end() : place])
        start = place + len(end)
        if block[1] is not None:
            closed = text.find(">", start)
            start = len(text) if closed < 0 else closed + 1
    kept.append(text[start:])
    return _plain("".join(kept)), _plain("".join(scripts))


def _find(text: str, end: str, start: int) -> int:
    found = re.compile(re.escape(end), re.IGNORECASE).search(text, start)
    return -1 if found is None else found.start()


def _plain(text: str) -> str:
    text = _LONE.sub("&lt;", _DECLARATION.sub("", text))
    if any(len(tag[0]) > MAXIMUM_TAG for tag in _TAG.finditer(text)):
        raise TemplateError(f"expected tags of at most {MAXIMUM_TAG} characters, found a longer one")
    return text
