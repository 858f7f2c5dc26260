"""The lines of an HL7 v2 message: bytes to text, one line a segment (v2.5.1 section 2.5). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from connectors.hl7.charsets import UTF_8_MARK, decode, wide
from connectors.hl7.encoding import Encoding, NotHl7, without_controls

_KNOWN = frozenset(
    {"PID", "PV1", "ORC", "OBR", "OBX", "NTE", "EVN", "IPC", "ZDS", "MRG", "TXA", "MSA", "ERR"}
)
"""Names believed in small letters, or alone on a line; any other such line is likelier to be text."""
_HEADER_BYTES = 4096
_BEFORE, _AFTER = b"\x0b\r\n \t", b"\x1c\r\n"
_LINE_END = re.compile("\r\n?|\n")
_LINE_END_BYTES = re.compile(b"\r\n?|\n")
_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\r\n"))


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one message may hold. Lines that continue a field count as segments."""

    segments: int = 20_000
    fields: int = 1_000


def lines(raw: bytes, charset: str, limits: Limits) -> tuple[list[str], Encoding]:
    """The segments of one message as lines, and its encoding.

    Lines end with CR, LF or CRLF; one that is no segment is joined, with a line feed, to the segment it
    continues. Raises NotHl7 when the first is no readable MSH, there are too many, or MSH-18 lies.
    """
    texts, encoding = _wide_lines(raw, limits) or _single_byte_lines(raw, charset, limits)
    return _joined(texts, encoding.field_separator), encoding


def _wide_lines(raw: bytes, limits: Limits) -> tuple[list[str], Encoding] | None:
    """Lines and encoding of a message in UTF-16 or UTF-32; None for any other."""
    text, codec = wide(raw)
    if not codec:
        return None
    text = without_controls(text.lstrip(_BEFORE.decode()).rstrip(_AFTER.decode()))
    _check_beginning(text[:3] == "MSH")
    _check_segments(1 + text.count("\r") + text.count("\n") - text.count("\r\n"), limits)
    texts = _LINE_END.split(text)
    return texts, Encoding.of_msh(texts[0]).reading(codec)


def _single_byte_lines(raw: bytes, charset: str, limits: Limits) -> tuple[list[str], Encoding]:
    """Lines and encoding of a message whose delimiters are single bytes.

    Lines are decoded one by one out of the bytes as they came: a document of megabytes is copied once.
    """
    # Stripped copies are measured and given back at once.
    start, end = len(raw) - len(raw.lstrip(_BEFORE)), len(raw.rstrip(_AFTER))
    if raw.startswith(UTF_8_MARK, start):
        start, charset = start + len(UTF_8_MARK), charset or "utf-8"
    _check_beginning(raw.startswith(b"MSH", start))
    ends = raw.count(b"\r", start, end) + raw.count(b"\n", start, end) - raw.count(b"\r\n", start, end)
    _check_segments(1 + ends, limits)
    spans, place = [], start
    for line_end in _LINE_END_BYTES.finditer(raw, start, end):
        spans.append((place, line_end.start()))
        place = line_end.end()
    spans.append((place, end))
    header = raw[start : min(spans[0][1], start + _HEADER_BYTES)].decode("latin-1")
    delimiters = Encoding.of_msh(header)
    declared = "".join(header.split(delimiters.field_separator)[17:18])
    controls = len(raw.translate(None, _CONTROLS)) != len(raw)
    texts, codec = decode(raw, spans, declared.replace(delimiters.repetition, "~"), charset)
    texts = [without_controls(text) if controls or not text.isascii() else text for text in texts]
    return texts, delimiters.reading(codec)


def _check_beginning(fits: bool) -> None:
    if not fits:
        raise NotHl7(
            "expected one message that begins with MSH, found none; have the sender write MSH first "
            "(a batch, FHS or BHS, is several messages; XML is not read)",
            location="MSH",
            code=100,
        )


def _check_segments(found: int, limits: Limits) -> None:
    if found > limits.segments:
        raise NotHl7(f"expected at most {limits.segments} segments, found {found} lines", code=100)


def _joined(texts: list[str], separator: str) -> list[str]:
    """The segments, with lines that continue one joined to the segment they belong to."""
    begins = [_begins_segment(line, separator) for line in texts]
    if all(begins):
        return texts
    groups: list[list[str]] = []
    for line, begins_one in zip(texts, begins, strict=True):
        if not groups or begins_one:
            groups.append([line])
        else:
            groups[-1].append(line)
    return ["\n".join(group).rstrip("\n") for group in groups]


def _begins_segment(line: str, separator: str) -> bool:
    """Whether a line is a segment; else it continues the field before it.

    What stands where a name should and is none, as `0BX|`, is taken for a segment too and refused
    later: joined to the field before it, a damaged line of a report would vanish.
    """
    if line[3:4] != separator:
        return line.upper() in _KNOWN
    name = line[:3]
    return name.isupper() or not name.isalpha() or name.upper() in _KNOWN
