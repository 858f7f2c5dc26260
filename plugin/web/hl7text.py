"""An HL7 message as a person reads it: line by line as it came, and field by field. Pure.

What is shown is text for a template that escapes it. Nothing in it can hide: control characters and those
that turn the direction of text are shown by name, and what is too long is cut and says how long it was.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from connectors.hl7.encoding import Encoding
from connectors.hl7.message import Message, NotHl7, parse
from plugin.web.fieldnames import FIELDS, SEGMENTS

LINES = 400
"""Lines, and segments, of one message on a page."""
VALUES = 10_000
"""Fields and components after which no further segment is shown."""
PARTS = 400
"""Components of one field."""
LONGEST = 2000
"""Characters of one line or value."""
BASE64_FROM = 200
"""A run of base64 of this length is cut to its beginning and its size."""
BASE64_KEPT = 24

_BASE64 = re.compile(rf"[A-Za-z0-9+/]{{{BASE64_FROM},}}={{0,2}}")
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|$)")
_CONTROLS = (
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL"),
    *("BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI"),
    *("DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB"),
    *("CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US"),
)
"""Names of ISO 646; fonts of workstations often lack the pictures that Unicode has for them."""
_TEXT_TYPES = frozenset({"ST", "TX", "FT"})
"""OBX-2 of an OBX-5 that has no components."""


@dataclass(frozen=True, slots=True)
class Part:
    """One component or subcomponent."""

    place: str
    """PID-3.4, PID-3[2].1 in the second repetition, PID-3.4.1 for a subcomponent."""
    value: str


@dataclass(frozen=True, slots=True)
class ShownField:
    """One valued field."""

    place: str
    """PID-3."""
    name: str
    value: str
    """The whole field as it stands, escapes decoded where it has no parts."""
    parts: tuple[Part, ...]
    """Its components, where it has more than one."""


@dataclass(frozen=True, slots=True)
class ShownSegment:
    """One segment."""

    name: str
    meaning: str
    fields: tuple[ShownField, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A message for a page."""

    lines: tuple[str, ...]
    more_lines: int
    """Lines that were left out."""
    segments: tuple[ShownSegment, ...]
    more_segments: int
    unreadable: str
    """Why it has no segments; empty where it could be read."""


def shown_message(raw: bytes, charset: str = "") -> Shown:
    """A message as it came. charset: of its listener, where MSH-18 lies."""
    try:
        message = parse(raw, charset=charset)
    except NotHl7 as error:
        lines, more = _lines(raw, "utf-8")
        return Shown(lines, more, (), 0, str(error))
    lines, more = _lines(raw, message.encoding.charset)
    segments: list[ShownSegment] = []
    values = 0
    for index in range(min(len(message.segments), LINES)):
        if values >= VALUES:
            break
        segments.append(_segment(message, index))
        values += sum(1 + len(field.parts) for field in segments[-1].fields)
    return Shown(lines, more, tuple(segments), len(message.segments) - len(segments), "")


def visible(text: str, kept: str = "") -> str:
    """The text with every character that shows nothing, or moves others, written by its name; but `kept`."""
    if text.isprintable():
        return text
    return "".join(character if character in kept else _named(character) for character in text)


def shortened_value(text: str) -> str:
    """The text with long base64 and whatever else is too long cut, each with its size."""
    text = _BASE64.sub(_cut_base64, text)
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} … [{len(text) - LONGEST:,} characters more]"


def _lines(raw: bytes, charset: str) -> tuple[tuple[str, ...], int]:
    text = raw.decode(charset, errors="backslashreplace")
    found = [(line, end) for line, end in _LINE.findall(text) if line or end]
    # A CR ends a segment; any other line end is told, for a sender's LF is often what is wrong.
    told = [line + ("" if end == "\r" else end) for line, end in found[:LINES]]
    return tuple(visible(shortened_value(line)) for line in told), max(0, len(found) - LINES)


def _named(character: str) -> str:
    code = ord(character)
    if code < len(_CONTROLS):
        return f"‹{_CONTROLS[code]}›"
    if character == " " or not unicodedata.category(character).startswith(("C", "Z")):
        return character
    return f"‹U+{code:04X}›"


def _cut_base64(found: re.Match[str]) -> str:
    run = found[0]
    return f"{run[:BASE64_KEPT]}… [base64, {len(run):,} characters, about {len(run) * 3 // 4:,} bytes]"


def _segment(message: Message, index: int) -> ShownSegment:
    segment = message.segments[index]
    text_value = segment.name == "OBX" and segment.value(2) in _TEXT_TYPES
    fields = []
    for number in range(1, len(segment) + 1):
        raw = segment.field(number).raw
        if not raw:
            continue
        place = f"{segment.name}-{number}"
        whole = (segment.name == "MSH" and number < 3) or (text_value and number == 5)
        parts = () if whole else _parts(place, raw, message.encoding)
        decoded = segment.name != "MSH" or number > 2
        value = message.encoding.unescape(raw) if decoded and not parts else raw
        name = FIELDS.get(segment.name, {}).get(number, "")
        fields.append(ShownField(place, name, visible(shortened_value(value), "\n"), parts))
    return ShownSegment(segment.name, SEGMENTS.get(segment.name, ""), tuple(fields))


def _parts(place: str, raw: str, encoding: Encoding) -> tuple[Part, ...]:
    """The valued components of each repetition; none where the field is one value."""
    if not any(mark in raw for mark in (encoding.component, encoding.subcomponent, encoding.repetition)):
        return ()
    repetitions = raw.split(encoding.repetition)
    found: list[Part] = []
    for count, repetition in enumerate(repetitions, 1):
        base = place if len(repetitions) == 1 else f"{place}[{count}]"
        for number, component in enumerate(repetition.split(encoding.component), 1):
            subcomponents = component.split(encoding.subcomponent)
            for minor, value in enumerate(subcomponents, 1):
                if len(found) == PARTS:
                    return (*found, Part("…", "The rest of this field is not shown."))
                if value:
                    here = f"{base}.{number}" + (f".{minor}" if len(subcomponents) > 1 else "")
                    found.append(Part(here, visible(shortened_value(encoding.unescape(value)), "\n")))
    return tuple(found)
