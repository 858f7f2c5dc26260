"""HL7 v2 messages: bytes to segments, fields and components, and back. Pure.

Positions count from one, as in the standard: `message.first("PID").field(3).component(1)` is PID-3.1
and `message.first("MSH").field(10)` is MSH-10. Reading is tolerant (v2.5.1 section 2.6), writing strict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from connectors.hl7.encoding import Encoding, NotHl7
from connectors.hl7.lines import Limits, lines

__all__ = ["Field", "Limits", "Message", "NotHl7", "Segment", "Value", "build", "parse"]

Component = str | tuple[str, ...]
Repetition = str | tuple[Component, ...]
Value = Repetition | list[Repetition]
"""A field to write: text, a tuple of components (text or tuples of subcomponents), or a list of these."""

_NAME = re.compile("[A-Za-z][A-Za-z0-9]{2}")
_LIMITS = Limits()
_HEADERS = frozenset({"MSH", "BHS", "FHS"})
"""Segments whose first field is the field separator itself."""


_USUAL = Encoding()
"""The delimiters that everything we write has."""


class Field:
    """One field, or one repetition of it, as it stands in the message."""

    __slots__ = ("_encoding", "raw")

    def __init__(self, raw: str, encoding: Encoding) -> None:
        self.raw = raw
        self._encoding = encoding

    def __repr__(self) -> str:
        return f"<Field of {len(self.raw)} characters>"

    def __bool__(self) -> bool:
        """Whether it is valued; the null `""` (v2.5.1 section 2.5.3.1) is not."""
        return self.raw not in ("", '""')

    @property
    def repetitions(self) -> tuple[Field, ...]:
        """Every repetition, empty ones too; none for an empty field."""
        if not self.raw:
            return ()
        if self._encoding.repetition not in self.raw:
            return (self,)
        return tuple(Field(part, self._encoding) for part in self.raw.split(self._encoding.repetition))

    @property
    def text(self) -> str:
        """All of it with escapes decoded, delimiters and all: for text types (ST, TX, FT)."""
        return self._encoding.unescape(self.raw)

    def component(self, number: int, subcomponent: int = 1) -> str:
        """One component of the first repetition with escapes decoded; empty when absent.

        Where a component has subcomponents and none is asked for, the first is meant.
        """
        if number < 1 or subcomponent < 1:
            raise ValueError("HL7 positions count from one")
        if self.raw.isalnum() or not self.raw:  # every delimiter is punctuation
            return self.raw if number == subcomponent == 1 else ""
        encoding = self._encoding
        components = self.raw.split(encoding.repetition, 1)[0].split(encoding.component, number)
        if number > len(components):
            return ""
        parts = components[number - 1].split(encoding.subcomponent, subcomponent)
        return encoding.unescape(parts[subcomponent - 1]) if subcomponent <= len(parts) else ""

    def has_subcomponents(self, number: int = 1) -> bool:
        """Whether a component of the first repetition is divided into subcomponents."""
        encoding = self._encoding
        components = self.raw.split(encoding.repetition, 1)[0].split(encoding.component, number)
        return number <= len(components) and encoding.subcomponent in components[number - 1]


class Segment:
    """One segment. An absent one is empty, so that reading an optional field needs no question first.

    A segment that was parsed keeps its line and is split into fields when it is first asked for one: most
    segments of a message never are, and some hold a document of megabytes.
    """

    __slots__ = ("_encoding", "_fields", "_line", "name")

    def __init__(self, name: str, fields: Sequence[str], encoding: Encoding) -> None:
        """fields: the raw fields, the first of them SEG-1."""
        self.name = name
        self._line = ""
        self._fields = [name, *fields]
        self._encoding = encoding

    @classmethod
    def of_line(cls, line: str, encoding: Encoding) -> Segment:
        """The segment of a line that begins with a segment name."""
        segment = cls.__new__(cls)
        segment.name = line[:3].upper()
        segment._line = line
        segment._encoding = encoding
        return segment

    def _all(self) -> list[str]:
        """Every raw field under its number; the name stands in the place of number 0."""
        line = self._line
        if line:
            separator = self._encoding.field_separator
            fields = line.split(separator)
            if self.name in _HEADERS:
                fields.insert(1, separator)
            elif len(fields) == 1:
                fields.append("")
            self._fields, self._line = fields, ""
        return self._fields

    def __repr__(self) -> str:
        return f"<Segment {self.name} of {len(self)} fields>"

    def __bool__(self) -> bool:
        """Whether the message has this segment."""
        return bool(self._line) or len(self._fields) > 1

    def __len__(self) -> int:
        """The number of the last field."""
        return len(self._all()) - 1

    def field(self, number: int) -> Field:
        """The field of this number, counted from one; an empty one when absent."""
        if number < 1:
            raise ValueError("HL7 positions count from one")
        fields = self._all()
        return Field(fields[number] if number < len(fields) else "", self._encoding)

    def value(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """A code or identifier: one component of the first repetition, without white space around it."""
        fields = self._all() if self._line else self._fields
        if number >= len(fields) or not fields[number]:
            return ""  # as most are
        return self.field(number).component(component, subcomponent).strip()


class Message:
    """One parsed message. Its representation names no patient."""

    def __init__(self, raw: bytes, segments: tuple[Segment, ...], encoding: Encoding) -> None:
        self.raw = raw
        """The bytes as they came, for storage and for hashes."""
        self.segments = segments
        self.encoding = encoding

    def __repr__(self) -> str:
        return f"<Message of {len(self.segments)} segments>"

    def first(self, name: str) -> Segment:
        """The first segment of this name; an empty one when there is none."""
        found = self._by_name.get(name)
        return found[0] if found else Segment(name, (), self.encoding)

    def all(self, name: str) -> tuple[Segment, ...]:
        """Every segment of this name, in order."""
        return tuple(self._by_name.get(name, ()))

    @cached_property
    def _by_name(self) -> dict[str, list[Segment]]:
        found: dict[str, list[Segment]] = {}
        for segment in self.segments:
            found.setdefault(segment.name, []).append(segment)
        return found

    @cached_property
    def header(self) -> Segment:
        """The MSH segment."""
        return self.segments[0]

    @cached_property
    def type(self) -> str:
        """MSH-9.1 and MSH-9.2 as ORM^O01; without the event when there is none."""
        return "^".join(part for part in (self.header.value(9, 1), self.header.value(9, 2)) if part)

    @cached_property
    def control_id(self) -> str:
        """MSH-10 exactly as sent, for MSA-2; may be empty."""
        return self.header.field(10).text

    @property
    def sending_application(self) -> str:
        """MSH-3.1."""
        return self.header.value(3)

    @property
    def sending_facility(self) -> str:
        """MSH-4.1."""
        return self.header.value(4)

    @property
    def source(self) -> str:
        """Sending application and facility as APPLICATION|FACILITY."""
        return f"{self.sending_application}|{self.sending_facility}"

    @property
    def timestamp(self) -> str:
        """MSH-7 as sent; `datatypes.moment` reads it."""
        return self.header.value(7)

    @property
    def version(self) -> str:
        """MSH-12.1, for example 2.5.1."""
        return self.header.value(12)


def parse(raw: bytes, *, charset: str = "", limits: Limits = _LIMITS) -> Message:
    """Parse one message. `batches.split` cuts what holds several.

    Segments end with CR, LF or CRLF; a line that is no segment continues the field before it, as some
    senders break text and base64 without escaping.
    Bytes of an MLLP frame around the message are ignored; a byte-order mark says how its bytes are read,
    whatever MSH-18 does, as do the zeros of UTF-16 and UTF-32. Escape sequences are decoded when a field
    is read, after the message is split: `\\X0D\\` is text and never a new segment.

    charset: overrides MSH-18 (and a mark of UTF-8), for senders that lie.
    Raises NotHl7 (a Malformed) that names the segment and the field and never quotes the message.
    """
    texts, encoding = lines(raw, charset, limits)
    segments = tuple(_segment(number, line, encoding, limits) for number, line in enumerate(texts, 1))
    if sum(segment.name == "MSH" for segment in segments) > 1:
        raise NotHl7(
            "expected one MSH, found several: send them as a batch, or each message in its own frame",
            location="MSH",
            code=100,
        )
    return Message(raw, segments, encoding)


def _segment(number: int, line: str, encoding: Encoding, limits: Limits) -> Segment:
    name, separator = line[:3], encoding.field_separator
    if not _NAME.fullmatch(name) or line[3:4] not in ("", separator):
        raise NotHl7(
            f"segment {number}: expected a segment name of a letter and two letters or digits; a line end "
            "inside text must be sent as \\.br\\",
            code=100,
        )
    count = line.count(separator)
    if count > limits.fields:
        raise NotHl7(
            f"segment {number} ({name.upper()}): expected at most {limits.fields} fields, found {count}",
            location=name.upper(),
            code=104,
        )
    return Segment.of_line(line, encoding)


def build(segments: Iterable[tuple[str, Mapping[int, Value]]]) -> bytes:
    """Write a message as UTF-8 with the usual delimiters; MSH-1, MSH-2 and MSH-18 are filled in here.

    Fields are given by number: `build([("MSH", {9: ("ORM", "O01")}), ("PID", {3: ("1", "", "", "HOSP")})])`.
    Every text is escaped: no data can make a segment, a field or the end of a frame. `parse` reads every
    text back as it was, but for line breaks, which become line feeds, and other control characters,
    which become spaces; what is no character (a lone surrogate) becomes a question mark.
    """
    written: list[bytes] = []
    for name, fields in segments:
        if (not written) != (name == "MSH"):
            raise ValueError("expected one MSH, and that first")
        written.append(segment(name, {**fields, 18: "UNICODE UTF-8"} if name == "MSH" else fields))
    return b"".join(written)


def segment(name: str, fields: Mapping[int, Value]) -> bytes:
    """Write one segment as `build` does, with its line end; fields 1 and 2 of a header are filled in."""
    if not _NAME.fullmatch(name) or name != name.upper():
        raise ValueError("expected a three-character segment name in capitals, as MSH")
    encoding = _USUAL
    written = {number: _written(value, encoding) for number, value in fields.items()}
    if name in _HEADERS:
        written[2] = "^~\\&"
        written.pop(1, None)
    first = 2 if name in _HEADERS else 1
    last = max(written, default=first)
    line = "|".join([name, *(written.get(number, "") for number in range(first, last + 1))])
    return f"{line}\r".encode(errors="replace")


def _written(value: Value, encoding: Encoding) -> str:
    if isinstance(value, list):
        return encoding.repetition.join(_written(repetition, encoding) for repetition in value)
    if isinstance(value, str):
        return encoding.escape(value)
    return encoding.component.join(
        encoding.escape(part)
        if isinstance(part, str)
        else encoding.subcomponent.join(encoding.escape(sub) for sub in part)
        for part in value
    )
