"""Several messages in one file or frame: FHS, BHS, BTS, FTS, or none of them (v2.5.1 section 2.10.3). Pure.

A file holds batches, a batch holds messages, and every envelope segment may be absent; senders also paste
messages one after another. A count that disagrees (BTS-1, FTS-1) or a segment that belongs to no message
refuses all of it, before anything is applied: something was lost on the way, and nobody can say what. A
message that cannot be read is one of those counted, and is left to whoever reads it: the others are not its
hostages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from uuid import uuid4

from connectors.hl7.charsets import UTF_8_MARK, signature, wide
from connectors.hl7.encoding import Encoding, NotHl7
from connectors.hl7.message import Field, Segment, Value, segment

MOST_MESSAGES = 10_000
"""In one file or frame: each is taken by itself, and each is answered. No more batches, for each is answered
too."""

_BEFORE = b"\x0b\r\n \t"
_BLANK = b"\x0b\x1c\r\n \t"
_ABSENT = Segment("BHS", (), Encoding())
_COUNT = re.compile("[0-9]{1,9}")
_NAMES = (b"BTS", b"FTS", b"BHS", b"FHS")
_BEGINNING = re.compile(rb"(?:MSH|[BF]HS)(?:[!#-/:-@\[-`{-~]|[\r\n]|\Z)")


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: what stands between BHS and BTS, or would."""

    header: Segment
    """BHS; empty when the sender wrote none."""
    messages: tuple[bytes, ...] = field(repr=False)
    """Each as `parse` takes it, in the bytes of the file."""
    declared: int | None = None
    """BTS-1, which agrees with the messages; None when not given."""

    @property
    def control_id(self) -> str:
        """BHS-11, else BHS-9, where some senders write it; may be empty."""
        return _control_id(self.header)


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A file of batches. Messages without any envelope are one batch of a file, both without headers."""

    header: Segment
    """FHS; empty when the sender wrote none."""
    batches: tuple[Batch, ...]
    declared: int | None = None
    """FTS-1, which agrees with the batches; None when not given."""

    @property
    def messages(self) -> tuple[bytes, ...]:
        """Every message, in order."""
        return tuple(message for batch in self.batches for message in batch.messages)

    @property
    def control_id(self) -> str:
        """That of FHS, else the first that a BHS gives; may be empty."""
        own = (batch.control_id for batch in self.batches if batch.control_id)
        return _control_id(self.header) or next(own, "")


def is_batch(raw: bytes) -> bool:
    """Whether bytes hold more than one message or any envelope segment, for `split` rather than `parse`.

    Reads the first bytes, then looks for line ends that a header or a trailer follows; decodes nothing but
    UTF-16 and UTF-32.
    """
    try:
        body, _, _ = _single_bytes(raw)
    except NotHl7:
        return False
    start = len(body) - len(body.lstrip(_BEFORE))
    if not _BEGINNING.match(body, start):
        return False
    if not body.startswith(b"MSH", start):
        return True
    # Most messages hold none of the names, and that is told faster.
    if body.find(b"MSH", start + 3) < 0 and not any(name in body for name in _NAMES):
        return False
    return _boundaries(body, start).search(body) is not None


def split(raw: bytes) -> BatchFile:
    """Cut a file or frame into its messages.

    Every message keeps its bytes, line ends included; a byte-order mark in front of the file is repeated in
    front of each, because it says how they are read.

    Raises NotHl7 when a segment stands outside any message, an envelope is out of order, BTS-1 or FTS-1 is
    no number or disagrees, or there are more than MOST_MESSAGES messages or batches.
    """
    body, codec, mark = _single_bytes(raw)
    reader = _Reader()
    for name, chunk in _chunks(body):
        if name == b"MSH":
            reader.message(mark + (chunk.decode().encode(codec) if codec else chunk))
        else:
            reader.envelope(name.decode(), chunk)
    return reader.end()


def answer(file: BatchFile, answers: Sequence[bytes], *, at: datetime | None = None) -> bytes:
    """The answering file: the acknowledgements of the messages, in the envelopes that the sender used.

    Section 2.10.3.3 has a batch answered by a batch of acknowledgements, whose BHS-12 (FHS-12) repeats the
    sender's BHS-11 (FHS-11) and whose BTS-1 counts them. It lets them be those of errors only, none then
    meaning that all went well; here every message that asks for an acknowledgement gets its own, so that
    silence never has to be read as success.

    answers: one for each of `file.messages`, in order, empty where the sender wants none. at: BHS-7 and
    FHS-7, now by default. Empty when no message wants an answer. Without envelopes the
    acknowledgements follow each other as the messages did. Raises ValueError when answers are missing.
    """
    if len(answers) != len(file.messages):
        raise ValueError(f"expected one answer for each of {len(file.messages)} messages, got {len(answers)}")
    if file.messages and not any(answers):
        return b""
    moment = (at or datetime.now(UTC)).strftime("%Y%m%d%H%M%S%z")
    written, place = [], 0
    for batch in file.batches:
        own = [found for found in answers[place : place + len(batch.messages)] if found]
        place += len(batch.messages)
        if batch.header or file.header:
            trailer = segment("BTS", {1: str(len(own))})
            own = [_header("BHS", batch.header or file.header, moment), *own, trailer]
        written += own
    if file.header:
        trailer = segment("FTS", {1: str(len(file.batches))})
        written = [_header("FHS", file.header, moment), *written, trailer]
    return b"".join(written)


def refusal(raw: bytes, ack: bytes, *, at: datetime | None = None) -> bytes:
    """The answer to bytes that `split` refused: one acknowledgement under the envelope they begin with.

    ack: names no message, as in `acknowledge(None, AckCode.AE, AckError.of(error))`; what it refuses is
    told by BHS-12 or FHS-12.
    """
    try:
        body, _, _ = _single_bytes(raw)
    except NotHl7:
        return ack
    body = body.lstrip(_BEFORE)
    headers = {"FHS": _ABSENT, "BHS": _ABSENT}
    for line in re.split(b"[\r\n]+", body[:8192], maxsplit=2)[:2]:
        name = line[:3].decode("latin-1")
        if name not in headers:
            break
        headers[name] = _read(name, line)
    batch = Batch(headers["BHS"], (b"",))
    return answer(BatchFile(headers["FHS"], (batch,)), [ack], at=at)


class _Reader:
    """The file as far as it is read."""

    def __init__(self) -> None:
        self._file = self._batch = _ABSENT
        self._closed: list[Batch] = []
        self._messages: list[bytes] = []
        self._count = 0
        self._open = False
        self._ended = False
        self._declared: int | None = None

    def message(self, raw: bytes) -> None:
        self._check_order("MSH", self._ended)
        self._count += 1
        if self._count > MOST_MESSAGES:
            raise NotHl7(f"expected at most {MOST_MESSAGES} messages in a file; send smaller files", code=104)
        self._messages.append(raw)
        self._open = True

    def envelope(self, name: str, chunk: bytes) -> None:
        line, _, rest = chunk.lstrip(_BLANK).replace(b"\n", b"\r").partition(b"\r")
        if rest.strip(_BLANK):
            raise NotHl7(
                f"a segment after {name} belongs to no message; every message begins with MSH",
                location=name,
                code=100,
            )
        found = _read(name, line.rstrip(_BLANK))
        if name == "FHS":
            self._check_order(name, self._open or bool(self._closed) or bool(self._file) or self._ended)
            self._file = found
        elif name == "BHS":
            self._check_order(name, self._ended)
            if self._open:
                self._close(None)
            self._batch, self._open = found, True
        elif name == "BTS":
            self._check_order(name, self._ended or not self._open)
            self._close(_count(found))
        else:
            self._check_order(name, self._ended)
            self._end(_count(found))

    def end(self) -> BatchFile:
        if not self._ended:
            self._end(None)
        return BatchFile(self._file, tuple(self._closed), self._declared)

    def _close(self, declared: int | None) -> None:
        _check_count("BTS-1", "messages", declared, {len(self._messages)})
        if len(self._closed) == MOST_MESSAGES:
            raise NotHl7(f"expected at most {MOST_MESSAGES} batches in a file; send smaller files", code=104)
        self._closed.append(Batch(self._batch, tuple(self._messages), declared))
        self._batch, self._messages, self._open = _ABSENT, [], False

    def _end(self, declared: int | None) -> None:
        if self._open:
            self._close(None)
        found = {len(self._closed)}
        if not any(batch.header or batch.declared is not None for batch in self._closed):
            # Without BHS and BTS some senders count what they see, the messages.
            found.add(self._count)
        _check_count("FTS-1", "batches", declared, found)
        self._declared, self._ended = declared, True

    @staticmethod
    def _check_order(name: str, wrong: bool) -> None:
        if wrong:
            raise NotHl7(
                f"{name} is out of order; expected FHS, then BHS, messages and BTS of each batch, then FTS",
                location=name,
                code=100,
            )


def _count(trailer: Segment) -> int | None:
    text = trailer.value(1)
    if text and not _COUNT.fullmatch(text):
        raise NotHl7(
            f"{trailer.name}-1: expected a number or nothing", location=f"{trailer.name}-1", code=102
        )
    return int(text) if text else None


def _check_count(place: str, what: str, declared: int | None, found: set[int]) -> None:
    if declared is not None and declared not in found:
        raise NotHl7(
            f"{place}: expected {declared} {what}, found {min(found)}; nothing is taken, send it whole",
            location=place,
        )


def _single_bytes(raw: bytes) -> tuple[bytes, str, bytes]:
    """(bytes in which delimiters are single, codec of UTF-16 or UTF-32 or empty, byte-order mark)."""
    text, codec = wide(raw)
    if codec:
        return text.encode(), codec, signature(raw.removeprefix(b"\x0b"))[1]
    start = len(raw) - len(raw.lstrip(_BEFORE))
    if raw.startswith(UTF_8_MARK, start):
        return raw[start + len(UTF_8_MARK) :], "", UTF_8_MARK
    return raw, "", b""


def _boundaries(body: bytes, start: int) -> re.Pattern[bytes]:
    """What tells the next header or trailer from the text of a message, in a file that begins at start."""
    return _boundary(body[start + 3 : start + 4], not body.startswith(b"MSH", start))


@lru_cache(maxsize=64)
def _boundary(separator: bytes, enveloped: bool) -> re.Pattern[bytes]:
    """A line end and the header or trailer that follows it, in a file of this field separator.

    A header with other delimiters is known by three of them in a row: a word of a report may begin with
    the letters. Alone on its line, BTS ends a batch only where a header began it, and is a word elsewhere.
    """
    own = re.escape(separator)
    bare = rb"|[\r\n]|\Z" if enveloped else b""
    return re.compile(
        rb"[\r\n]\x0b?(?=(?:MSH|[BF]HS)(?:%b|[!#-/:-@\[-`{-~]{3})|[BF]TS(?:%b%b))" % (own, own, bare)
    )


def _chunks(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, bytes) of every message and every envelope segment, each up to where the next begins."""
    place = len(body) - len(body.lstrip(_BEFORE))
    if not _BEGINNING.match(body, place):
        raise NotHl7(
            "expected a batch that begins with FHS, BHS or MSH; XML is not read", location="MSH", code=100
        )
    for found in _boundaries(body, place).finditer(body, place):
        yield body[place : place + 3], body[place : found.start() + 1]
        place = found.end()
    yield body[place : place + 3], body[place:]


def _read(name: str, line: bytes) -> Segment:
    """An envelope segment; it names no character set, and its delimiters may be none."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = line.decode("latin-1")
    try:
        encoding = Encoding.of_msh(text)
    except NotHl7:
        encoding = Encoding(text[3:4] or "|")
    return Segment.of_line(text, encoding)


def _header(name: str, theirs: Segment, moment: str) -> bytes:
    """The header of an answer: their receiver is the sender, their control id the reference."""
    fields: dict[int, Value] = {
        3: _hd(theirs.field(5)),
        4: _hd(theirs.field(6)),
        5: _hd(theirs.field(3)),
        6: _hd(theirs.field(4)),
        7: moment,
        11: uuid4().hex[:20],
        12: _control_id(theirs),
    }
    return segment(name, fields)


def _control_id(header: Segment) -> str:
    return header.field(11).text or header.field(9).text


def _hd(hd: Field) -> Value:
    parts = tuple(hd.component(number) for number in (1, 2, 3))
    return parts if parts[1] else parts[0]
