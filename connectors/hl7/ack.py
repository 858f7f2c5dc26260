"""Acknowledgements: ACK with MSA and ERR, original and enhanced mode (v2.5.1 sections 2.9 and 2.15). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

from connectors.errors import Malformed
from connectors.hl7.message import Message, NotHl7, Value, build, parse


class Verdict(StrEnum):
    """What became of a message."""

    ACCEPT = "A"
    """Committed to safe storage."""
    ERROR = "E"
    """Its content must be mended before it is sent again."""
    REJECT = "R"
    """It could not be taken now, or is of a type that is not supported; unchanged it may succeed later."""


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
    """ERR-3.1."""
    raw: bytes = field(default=b"", repr=False)

    @property
    def accepted(self) -> bool:
        """Whether the message is in the peer's safe storage (AA or CA)."""
        return self.code.verdict is Verdict.ACCEPT

    @property
    def retryable(self) -> bool:
        """Whether the same message may be sent again unchanged later (AR or CR)."""
        return self.code.verdict is Verdict.REJECT


_CONDITIONS = {
    Verdict.ACCEPT: frozenset({"AL", "SU"}),
    Verdict.ERROR: frozenset({"AL", "ER"}),
    Verdict.REJECT: frozenset({"AL", "ER"}),
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
_LOCATION = re.compile(r"([A-Z][A-Z0-9]{2})(?:-([0-9]+))?")


def code_for(message: Message | None, verdict: Verdict) -> AckCode | None:
    """The MSA-1 to answer with at once; None when the sender wants no answer to this verdict.

    MSH-15 and MSH-16 both empty: original mode, one AA, AE or AR (section 2.9.2). Either valued:
    enhanced mode (section 2.9.3). MSH-15 then asks for CA, CE or CR. Where it asks for none of this
    verdict and MSH-16 asks for an application acknowledgement, the answer is AA, AE or AR. AL, NE, ER
    and SU (HL7 table 0155) hold for each field on its own.
    """
    accept = message.header.value(15).upper() if message else ""
    application = message.header.value(16).upper() if message else ""
    if not accept and not application:
        return AckCode(f"A{verdict}")
    if accept in _CONDITIONS[verdict]:
        return AckCode(f"C{verdict}")
    if application in _CONDITIONS[verdict]:
        return AckCode(f"A{verdict}")
    return None


def acknowledge(
    message: Message | None,
    code: AckCode,
    error: AckError | None = None,
    *,
    raw: bytes = b"",
    control_id: str = "",
    at: datetime | None = None,
) -> bytes:
    """Write the ACK for a message.

    message: None when it could not be read: whatever MSH can still be made out of `raw` is answered,
    and MSA-2 is empty when nothing can. control_id: MSH-10 of the ACK itself, a new one by default.
    at: MSH-7, now by default.
    """
    message = message or _salvaged(raw)
    header: dict[int, Value] = {
        7: (at or datetime.now(UTC)).strftime("%Y%m%d%H%M%S%z"),
        9: "ACK",
        10: control_id or uuid4().hex[:20],
        11: "P",
        12: "2.5.1",
    }
    msa: dict[int, Value] = {1: code.value, 2: message.control_id if message else ""}
    if message is not None:
        event = message.header.value(9, 2)
        version = message.version or "2.5.1"
        # The structure in MSH-9.3 came with v2.3.1; older readers ignore it.
        header |= {
            3: _hd(message, 5),
            4: _hd(message, 6),
            5: _hd(message, 3),
            6: _hd(message, 4),
            9: ("ACK", event, "ACK") if event else "ACK",
            11: message.header.value(11) or "P",
            12: version,
        }
    segments: list[tuple[str, Mapping[int, Value]]] = [("MSH", header), ("MSA", msa)]
    if error is not None:
        msa[3] = error.words
        segments.append(("ERR", _err(error)))
    return build(segments)


def _hd(message: Message, number: int) -> Value:
    hd = message.header.field(number)
    return tuple(hd.component(part) for part in (1, 2, 3)) if hd.component(2) else hd.component(1)


def _err(error: AckError) -> dict[int, Value]:
    place = _LOCATION.match(error.location)
    words = _TABLE_0357.get(error.code, "Application internal error")
    err: dict[int, Value] = {
        3: (str(error.code), words, "HL70357"),
        4: error.severity,
        8: error.words,
    }
    if place:
        err[2] = (place[1], "1", place[2]) if place[2] else (place[1], "1")
    return err


def _salvaged(raw: bytes) -> Message | None:
    """The MSH alone of a message that cannot be read as a whole."""
    start = raw.find(b"MSH", 0, 64)
    if start < 0:
        return None
    line = re.split(b"[\r\n\x1c]", raw[start : start + 4096], maxsplit=1)[0]
    try:
        return parse(line)
    except NotHl7:
        pass
    try:
        # Its delimiters may be readable where its character set is not.
        return parse(line, charset="8859/1")
    except NotHl7:
        return None


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
        error_code=err.value(3),
        raw=raw,
    )
