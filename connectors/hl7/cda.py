"""The readable words of a CDA document (HL7 CDA R2, section 4.3). Pure.

No entity and no document type is taken from a stranger: expansion bombs and outside files both need one.
"""

from __future__ import annotations

from xml.parsers import expat

from connectors.hl7.encoding import without_controls
from connectors.hl7.message import NotHl7

DEPTH = 200
"""The most elements that may stand inside each other."""

_BLOCKS = frozenset(
    {"title", "text", "paragraph", "list", "item", "table", "caption", "tr", "br", "thead", "tbody"}
)
_CELLS = frozenset({"td", "th"})


def cda_text(xml: bytes, charset: str | None = None) -> str:
    """Titles and narrative of every section, a block a line; empty for XML that is no CDA.

    charset: the character set of `xml` where the XML declaration does not decide.
    Raises NotHl7 for what is no well-formed XML, declares a document type, or is nested too deep.
    """
    reader = _Reader(charset)
    try:
        reader.parser.Parse(xml, True)
    except (expat.ExpatError, LookupError, ValueError):
        # `from None`: what the parser quotes may be the patient's.
        raise _refused("expected well-formed XML, found something else") from None
    return reader.text()


class _Reader:
    """Collects the character data of section/title, section/text and plain nonXMLBody/text."""

    def __init__(self, charset: str | None) -> None:
        self.parser = expat.ParserCreate(charset, namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.parser.StartDoctypeDeclHandler = _no_doctype
        self._open: list[str] = []
        self._inside = 0
        """How deep the narrative is that is being read; 0 outside."""
        self._words: list[str] = []

    def text(self) -> str:
        """What was collected, with runs of white space made one space and without empty lines."""
        lines = (" ".join(line.split()) for line in without_controls("".join(self._words)).split("\n"))
        return "\n".join(line for line in lines if line)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local, parent = name.rpartition(" ")[2], self._open[-1] if self._open else ""
        self._open.append(local)
        if len(self._open) > DEPTH:
            raise _refused(f"expected elements at most {DEPTH} deep, found deeper ones", 104)
        if self._inside:
            self._words.append("\n" if local in _BLOCKS else " " if local in _CELLS else "")
        elif self._open[0] == "ClinicalDocument" and (
            (parent == "section" and local in {"title", "text"})
            or (parent == "nonXMLBody" and local == "text" and _is_plain(attributes))
        ):
            self._inside = len(self._open)
            self._words.append("\n")

    def _end(self, name: str) -> None:
        if self._inside:
            if name.rpartition(" ")[2] in _BLOCKS:
                self._words.append("\n")
            if len(self._open) == self._inside:
                self._inside = 0
        self._open.pop()

    def _data(self, words: str) -> None:
        if self._inside:
            self._words.append(words)


def _is_plain(attributes: dict[str, str]) -> bool:
    return attributes.get("representation", "TXT") == "TXT" and attributes.get("mediaType", "text/plain") == (
        "text/plain"
    )


def _no_doctype(*_: object) -> None:
    raise _refused("expected XML without a document type (DOCTYPE), found one")


def _refused(words: str, code: int = 102) -> NotHl7:
    return NotHl7(f"OBX-5: {words}; have the sender mend the CDA document", location="OBX-5", code=code)
