"""Acknowledgements: which a message gets, and ACK with MSA and ERR (v2.5.1 sections 2.9 and 2.15). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

from connectors.errors import Malformed
from connectors.hl7.charsets import codec_name
from connectors.hl7.encoding import Encoding
from connectors.hl7.message import Message, NotHl7, Value, build, parse, segment
from connectors.hl7.salvage import salvaged


class Verdict(StrEnum):
    """What became of a message."""

    ACCEPT = "A"
    """Committed to safe storage."""
    ERROR = "E"
    """Its content must be mended before it is sent again."""
    REJECT = "R"
    """It could not be taken now, or is of a type that is not supported; unchanged it may succeed later."""


class AckMode(StrEnum):
    """How a listener acknowledges, whatever its senders ask for."""

    AUTO = "auto"
    """As MSH-15 and MSH-16 ask: both empty is original mode (v2.5.1 section 2.9.2), else enhanced (2.9.3)."""
    ORIGINAL = "original"
    """Always one AA, AE or AR, for senders that fill MSH-15 and know no CA."""
    ENHANCED = "enhanced"
    """An empty MSH-15 asks for the accept acknowledgement (AL), an empty MSH-16 for nothing (NE)."""


class AckCode(StrEnum):
    """MSA-1, HL7 table 0008."""

    AA = "AA"
    AE = "AE"
    AR = "AR"
    CA = "CA"
    CE = "CE"
    CR = "CR"

    @property
    def verdict(self) -> Verdict:
        """The second letter: accept, error or reject."""
        return Verdict(self.value[1])


@dataclass(frozen=True, slots=True)
class AckError:
    """One ERR segment (v2.5.1 section 2.15.5). Its words must hold no patient data."""

    words: str
    """ERR-8, for a person."""
    code: int = 207
    """ERR-3, HL7 table 0357."""
    location: str = ""
    """SEG or SEG-field for ERR-2."""
    severity: str = "E"
    """ERR-4, HL7 table 0516: E error, F fatal, W warning, I information."""

    @classmethod
    def of(cls, error: Malformed) -> AckError:
        """The ERR of a message that could not be read; NotHl7 knows the place and the code."""
        if isinstance(error, NotHl7):
            return cls(str(error), error.code, error.location)
        return cls(str(error), 102)


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement that came back."""

    code: AckCode
    control_id: str
    """MSA-2: the MSH-10 of the message that it answers; empty when the peer could not read that."""
    text: str = field(default="", repr=False)
    """The peer's words: ERR-8, MSA-3 or the text of ERR-3. They may quote the message: do not log them."""
    error_code: str = ""
    """ERR-3.1; before v2.5 MSA-6.1 or ERR-1.4."""
    raw: bytes = field(default=b"", repr=False)

    @property
    def accepted(self) -> bool:
        """Whether the message is in the peer's safe storage (AA or CA)."""
        return self.code.verdict is Verdict.ACCEPT

    @property
    def retryable(self) -> bool:
        """Whether the same message may be sent again unchanged later (AR or CR)."""
        return self.code.verdict is Verdict.REJECT


@dataclass(frozen=True, slots=True)
class Answers:
    """What goes back for one message, framed nowhere yet; empty where nothing does."""

    accept: bytes = field(default=b"", repr=False)
    """The accept acknowledgement: CA, CE or CR."""
    application: bytes = field(default=b"", repr=False)
    """The application acknowledgement: AA, AE or AR."""

    @property
    def in_order(self) -> tuple[bytes, ...]:
        """The messages to send, the accept acknowledgement first."""
        return tuple(answer for answer in (self.accept, self.application) if answer)


DEFAULT_VERSION = "2.5.1"

_TABLE_0155 = {
    "AL": frozenset(Verdict),
    "NE": frozenset[Verdict](),
    "ER": frozenset({Verdict.ERROR, Verdict.REJECT}),
    "SU": frozenset({Verdict.ACCEPT}),
}
_TABLE_0357 = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    104: "Value too long",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    206: "Application record locked",
    207: "Application internal error",
}
_USUAL = Encoding()
_LOCATION = re.compile(r"([A-Z][A-Z0-9]{2})(?:-([0-9]+))?")
_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})", re.ASCII)


def is_acknowledgement(message: Message) -> bool:
    """Whether a message answers another: it must never be acknowledged, or two peers never stop.

    Its type is ACK or MCF, or it begins with MSH and MSA as every response does (v2.5.1 section 2.9).
    An MSA anywhere else is a stray in a message that still wants its answer.
    """
    if message.header.value(9).upper() in {"ACK", "MCF"}:
        return True
    followers = (segment.name for segment in message.segments[1:] if segment.name != "SFT")
    return next(followers, "") == "MSA"


def codes_for(
    message: Message | None, verdict: Verdict, mode: AckMode = AckMode.AUTO
) -> tuple[AckCode | None, AckCode | None]:
    """MSA-1 of the accept and of the application acknowledgement; None for one that is not to be sent.

    Original mode (section 2.9.2): one AA, AE or AR. Enhanced mode (section 2.9.3): MSH-15 asks for CA, CE
    or CR, and MSH-16 for AA, AE or AR, each under its own condition of HL7 table 0155. What was refused with
    CE or CR was not taken, so that no application acknowledgement follows it; a refusal that MSH-15 does not
    ask to hear of is told at the application level. A value that is not in the table counts as AL: a needless
    answer is ignored, a missing one makes the sender repeat for ever.
    """
    if message is not None and is_acknowledgement(message):
        return _code_for_acknowledgement(message, verdict), None
    asked = _asked(message, 15, mode), _asked(message, 16, mode)
    if mode is AckMode.ORIGINAL or (mode is AckMode.AUTO and asked == ("", "")):
        return None, AckCode(f"A{verdict}")
    accept, application = (verdict in _TABLE_0155.get(value or "NE", _TABLE_0155["AL"]) for value in asked)
    if accept and verdict is not Verdict.ACCEPT:
        application = False
    return AckCode(f"C{verdict}") if accept else None, AckCode(f"A{verdict}") if application else None


def _code_for_acknowledgement(message: Message, verdict: Verdict) -> AckCode | None:
    """An application acknowledgement that asks for it by name is accept-acknowledged; no other ever is.

    One that comes over a connection of its own is a message like others (section 2.9.3.2); what answers it
    is an accept acknowledgement, and those are never answered: two peers always come to an end.
    """
    asked = _TABLE_0155.get(message.header.value(15).upper(), frozenset())
    answers_application = message.first("MSA").value(1).upper() in {"AA", "AE", "AR"}
    return AckCode(f"C{verdict}") if answers_application and verdict in asked else None


def _asked(message: Message | None, number: int, mode: AckMode) -> str:
    value = message.header.value(number).upper() if message else ""
    return "AL" if not value and number == 15 and mode is AckMode.ENHANCED else value


def answers(
    message: Message | None,
    verdict: Verdict,
    error: AckError | None = None,
    *,
    mode: AckMode = AckMode.AUTO,
    raw: bytes = b"",
    at: datetime | None = None,
    elsewhere: bool = False,
) -> Answers:
    """The acknowledgements that a message gets, each a message of its own with an MSH-10 of its own.

    elsewhere: the application acknowledgement goes over a connection of its own. It then asks for an accept
    acknowledgement, so that whoever sends it knows that it arrived.
    message: None when it could not be read; what can be made out of `raw` says who asked and what for.
    error: what to tell of an ERROR or a REJECT. at: MSH-7, now by default.
    """
    message = message or salvaged(raw)
    accept, application = (
        acknowledge(message, code, error, at=at, asks=elsewhere and code.value[0] == "A") if code else b""
        for code in codes_for(message, verdict, mode)
    )
    return Answers(accept, application)


def acknowledge(
    message: Message | None,
    code: AckCode,
    error: AckError | None = None,
    *,
    raw: bytes = b"",
    control_id: str = "",
    at: datetime | None = None,
    asks: bool = False,
) -> bytes:
    """Write the ACK for a message.

    Version and processing id are the message's, MSA-2 is its MSH-10 as it was written, and an ACK that
    is not plain ASCII is in the message's character set.

    message: None when it could not be read: whatever MSH can still be made out of `raw` is answered,
    and MSA-2 is empty when nothing can. control_id: MSH-10 of the ACK itself, a new one by default.
    at: MSH-7, now by default. asks: for an accept acknowledgement of its own (MSH-15 AL).
    """
    message = message or salvaged(raw)
    version = (message.version if message else "") or DEFAULT_VERSION
    header: dict[int, Value] = {
        7: (at or datetime.now(UTC)).strftime("%Y%m%d%H%M%S%z"),
        9: "ACK",
        10: control_id or uuid4().hex[:20],
        11: "P",
        12: version,
    }
    msa: dict[int, Value] = {1: code.value, 2: message.control_id if message else ""}
    segments: list[tuple[str, Mapping[int, Value]]] = [("MSH", header), ("MSA", msa)]
    if error is not None:
        if _before(version, 2, 7):  # withdrawn there
            msa[3] = error.words
        if _before(version, 2, 5):
            msa[6] = _cause(error)
        segments.append(("ERR", _err_before_2_5(error) if _before(version, 2, 5) else _err(error)))
    if message is None:
        return build(segments)
    event = message.header.value(9, 2)
    # The structure in MSH-9.3 came with v2.3.1; older readers ignore it.
    header |= {
        3: _hd(message, 5),
        4: _hd(message, 6),
        5: _hd(message, 3),
        6: _hd(message, 4),
        9: ("ACK", event, "ACK") if event else "ACK",
        11: message.header.value(11) or "P",
    }
    if asks:
        header |= {15: "AL", 16: "NE"}
    elif code.value[0] == "C" or message.header.field(15) or message.header.field(16):
        header |= {15: "NE", 16: "NE"}  # nobody is to acknowledge an acknowledgement
    return _as_the_sender_writes(message, header, msa, segments)


def _as_the_sender_writes(
    message: Message,
    header: dict[int, Value],
    msa: dict[int, Value],
    segments: list[tuple[str, Mapping[int, Value]]],
) -> bytes:
    """The ACK with MSA-2 and a character set that a sender knows again who compares bytes."""
    raw = message.header.field(10).raw
    usual = _delimiters(message.encoding) == _delimiters(_USUAL)
    # `A^B` escaped as `A\S\B` is the same text, and to many senders another message.
    verbatim = raw if usual and "\n" not in raw and raw != _USUAL.escape(message.control_id) else ""
    if verbatim:
        msa[2] = ""
    written = build(segments)
    codec = message.encoding.charset
    declared = codec_name(message.header.value(18))
    foreign = "utf-8" not in (codec, declared) and not (written.isascii() and verbatim.isascii())
    if foreign:
        header[18] = [repetition.text for repetition in message.header.field(18).repetitions] or ""
        written = b"".join(segment(name, fields) for name, fields in segments)
    if verbatim:
        place = f"\rMSA|{msa[1]}|".encode()
        written = written.replace(place, place + verbatim.encode(errors="replace"), 1)
    return written.decode().encode(codec, errors="replace") if foreign else written


def _delimiters(one: Encoding) -> tuple[str, ...]:
    return (one.field_separator, one.component, one.repetition, one.escape_character, one.subcomponent)


def _hd(message: Message, number: int) -> Value:
    hd = message.header.field(number)
    return tuple(hd.component(part) for part in (1, 2, 3)) if hd.component(2) else hd.component(1)


def _before(version: str, major: int, minor: int) -> bool:
    """Whether a version is older; one that cannot be read is taken for the default."""
    found = _VERSION.match(version) or _VERSION.match(DEFAULT_VERSION)
    return found is not None and (int(found[1]), int(found[2])) < (major, minor)


def _cause(error: AckError) -> tuple[str, str, str]:
    return (str(error.code), _TABLE_0357.get(error.code, _TABLE_0357[207]), "HL70357")


def _err(error: AckError) -> dict[int, Value]:
    """ERR since v2.5 (section 2.15.5)."""
    place = _LOCATION.match(error.location)
    err: dict[int, Value] = {3: _cause(error), 4: error.severity, 8: error.words}
    if place:
        err[2] = (place[1], "1", place[2]) if place[2] else (place[1], "1")
    return err


def _err_before_2_5(error: AckError) -> dict[int, Value]:
    """ERR-1 as CM: segment, its sequence, field, and the code with its parts as subcomponents."""
    place = _LOCATION.match(error.location)
    where = (place[1], "1", place[2] or "") if place else ("", "", "")
    return {1: (*where, _cause(error))}


def read_ack(raw: bytes) -> Ack:
    """Read an acknowledgement. Raises NotHl7 when there is no MSA or its code is not of HL7 table 0008."""
    message = parse(raw)
    msa, err = message.first("MSA"), message.first("ERR")
    try:
        code = AckCode(msa.value(1).upper())
    except ValueError:
        raise NotHl7(
            "expected an acknowledgement with a code of HL7 table 0008 in MSA-1", location="MSA-1", code=103
        ) from None
    return Ack(
        code=code,
        control_id=msa.field(2).text,
        text=err.field(8).text or msa.field(3).text or err.value(3, 2),
        error_code=err.value(3) or msa.value(6) or err.value(1, 4),
        raw=raw,
    )
