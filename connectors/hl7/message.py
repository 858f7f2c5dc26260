"""HL7 v2 messages: bytes to segments, fields and components, and back. Pure.

Positions count from one, as in the standard: `message.first("PID").field(3).component(1)` is PID-3.1
and `message.first("MSH").field(10)` is MSH-10. Reading is tolerant (v2.5.1 section 2.6), writing strict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from connectors.hl7.encoding import Encoding, NotHl7, decode, without_controls

__all__ = ["Field", "Limits", "Message", "NotHl7", "Segment", "Value", "build", "parse"]

Component = str | tuple[str, ...]
Repetition = str | tuple[Component, ...]
Value = Repetition | list[Repetition]
"""A field to write: text, a tuple of components (text or tuples of subcomponents), or a list of these."""

_NAME = re.compile("[A-Za-z][A-Za-z0-9]{2}")
_KNOWN = frozenset(
    {"PID", "PV1", "ORC", "OBR", "OBX", "NTE", "EVN", "IPC", "ZDS", "MRG", "TXA", "MSA", "ERR"}
)
"""Names believed in small letters, or alone on a line; any other such line is likelier to be text."""
_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one message may hold. Lines that continue a field count as segments."""

    segments: int = 20_000
    fields: int = 1_000


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
        parts = self.raw.split(self._encoding.repetition) if self.raw else []
        return tuple(Field(part, self._encoding) for part in parts)

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
    """One segment. An absent one is empty, so that reading an optional field needs no question first."""

    __slots__ = ("_encoding", "_fields", "name")

    def __init__(self, name: str, fields: Sequence[str], encoding: Encoding) -> None:
        """fields: the raw fields, the first of them SEG-1."""
        self.name = name
        self._fields = fields
        self._encoding = encoding

    def __repr__(self) -> str:
        return f"<Segment {self.name} of {len(self._fields)} fields>"

    def __bool__(self) -> bool:
        """Whether the message has this segment."""
        return bool(self._fields)

    def __len__(self) -> int:
        """The number of the last field."""
        return len(self._fields)

    def field(self, number: int) -> Field:
        """The field of this number, counted from one; an empty one when absent."""
        if number < 1:
            raise ValueError("HL7 positions count from one")
        return Field(self._fields[number - 1] if number <= len(self._fields) else "", self._encoding)

    def value(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """A code or identifier: one component of the first repetition, without white space around it."""
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
        found = next((segment for segment in self.segments if segment.name == name), None)
        return found if found is not None else Segment(name, (), self.encoding)

    def all(self, name: str) -> tuple[Segment, ...]:
        """Every segment of this name, in order."""
        return tuple(segment for segment in self.segments if segment.name == name)

    @cached_property
    def header(self) -> Segment:
        """The MSH segment."""
        return self.segments[0]

    @cached_property
    def type(self) -> str:
        """MSH-9.1 and MSH-9.2 as ORM^O01; without the event when there is none."""
        return "^".join(part for part in (self.header.value(9, 1), self.header.value(9, 2)) if part)

    @property
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


def parse(raw: bytes, *, charset: str = "", limits: Limits = Limits()) -> Message:
    """Parse one message.

    Segments end with CR, LF or CRLF; a line that is no segment continues the field before it, as some
    senders break text and base64 without escaping.
    Bytes of an MLLP frame or a byte-order mark around the message are ignored. Escape sequences are
    decoded when a field is read, after the message is split: `\\X0D\\` is text and never a new segment.

    charset: overrides MSH-18, for senders that lie. Raises NotHl7 (a Malformed) that names the segment
    and the field and never quotes the message.
    """
    body = raw.lstrip(b"\x0b\r\n \t").rstrip(b"\x1c\r\n")
    if body.startswith(b"\xef\xbb\xbf"):
        body, charset = body[3:], charset or "utf-8"
    if not body.startswith(b"MSH"):
        raise NotHl7(
            "expected a message that begins with MSH; batches (FHS, BHS), XML and UTF-16 are not read: "
            "send each message in its own frame",
            location="MSH",
            code=100,
        )
    header = re.split(b"[\r\n]", body[:_HEADER_BYTES], maxsplit=1)[0].decode("latin-1")
    delimiters = Encoding.of_msh(header)
    declared = header.split(delimiters.field_separator)[17:18]
    text, codec = decode(body, "~".join(declared).replace(delimiters.repetition, "~"), charset)
    encoding = replace(delimiters, charset=codec)
    segments = tuple(
        _segment(number, line, encoding, limits)
        for number, line in enumerate(_lines(without_controls(text), encoding, limits), 1)
    )
    if sum(segment.name == "MSH" for segment in segments) > 1:
        raise NotHl7(
            "expected one MSH, found several: send each message in its own frame", location="MSH", code=100
        )
    return Message(raw, segments, encoding)


def _lines(text: str, encoding: Encoding, limits: Limits) -> list[str]:
    """The segments as lines, with continued lines joined to the segment they belong to."""
    text = text.replace("\r\n", "\r").replace("\n", "\r")
    found = 1 + text.count("\r")
    if found > limits.segments:
        raise NotHl7(f"expected at most {limits.segments} segments, found {found} lines", code=100)
    groups: list[list[str]] = []
    for line in text.split("\r"):
        if not groups or _begins_segment(line, encoding.field_separator):
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
    return not name.isalpha() or name.isupper() or name.upper() in _KNOWN


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
    fields = line[4:].split(separator)
    # MSH-1 is the field separator itself, so that MSH-2 is the first that is split off.
    return Segment(name.upper(), [separator, *fields] if number == 1 else fields, encoding)


def build(segments: Iterable[tuple[str, Mapping[int, Value]]]) -> bytes:
    """Write a message as UTF-8 with the usual delimiters; MSH-1, MSH-2 and MSH-18 are filled in here.

    Fields are given by number: `build([("MSH", {9: ("ORM", "O01")}), ("PID", {3: ("1", "", "", "HOSP")})])`.
    Every text is escaped: no data can make a segment, a field or the end of a frame.
    """
    encoding = Encoding()
    lines: list[str] = []
    for name, fields in segments:
        if not _NAME.fullmatch(name) or name != name.upper() or (not lines) != (name == "MSH"):
            raise ValueError("expected one MSH, first, then three-character segment names in capitals")
        written = {number: _written(value, encoding) for number, value in fields.items()}
        if name == "MSH":
            written = {18: "UNICODE UTF-8", **written, 2: "^~\\&"}
            written.pop(1, None)
        first = 2 if name == "MSH" else 1
        last = max(written, default=first)
        lines.append("|".join([name, *(written.get(number, "") for number in range(first, last + 1))]))
    return ("\r".join(lines) + "\r").encode("utf-8", errors="replace")


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
