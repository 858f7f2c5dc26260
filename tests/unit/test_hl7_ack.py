"""Acknowledgements: which code, to which message, with what words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.hl7.ack import AckCode, AckError, Verdict, acknowledge, code_for, read_ack
from connectors.hl7.message import NotHl7, parse

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def message(accept: str = "", application: str = "", version: str = "2.5.1") -> bytes:
    """A message with MSH-15 and MSH-16."""
    header = "MSH|^~\\&|RIS^1.2^ISO|HOSP|PRELIM|X-RAY|2026||ORM^O01|M\\T\\1|T"
    return f"{header}|{version}|||{accept}|{application}".encode()


@pytest.mark.parametrize(
    ("accept", "application", "codes"),
    [
        ("", "", ("AA", "AE", "AR")),
        ("AL", "", ("CA", "CE", "CR")),
        ("AL", "AL", ("CA", "CE", "CR")),
        ("SU", "", ("CA", None, None)),
        ("ER", "NE", (None, "CE", "CR")),
        ("NE", "", (None, None, None)),
        ("NE", "NE", (None, None, None)),
        ("NE", "AL", ("AA", "AE", "AR")),
        ("", "AL", ("AA", "AE", "AR")),
        ("", "ER", (None, "AE", "AR")),
        ("ER", "AL", ("AA", "CE", "CR")),
        ("SU", "ER", ("CA", "AE", "AR")),
        ("al", "", ("CA", "CE", "CR")),
    ],
)
def test_msh_15_and_16_choose_the_code(accept: str, application: str, codes: tuple[str | None, ...]) -> None:
    """Both empty is original mode; either valued is enhanced mode, each field under its own condition."""
    read = parse(message(accept, application))
    assert tuple(code_for(read, verdict) for verdict in Verdict) == codes


def test_an_unreadable_message_is_answered_in_original_mode() -> None:
    """Without a message there is no MSH-15: the code is AA, AE or AR."""
    assert code_for(None, Verdict.REJECT) is AckCode.AR


def test_an_acknowledgement_turns_sender_and_receiver_round() -> None:
    """MSH-3/4 and MSH-5/6 change places; MSA-2 is their MSH-10, MSH-11 and MSH-12 theirs."""
    ack = parse(acknowledge(parse(message(version="2.3.1")), AckCode.AA, control_id="A9", at=AT))
    header = ack.header
    assert [header.value(number) for number in (3, 4, 5, 6)] == ["PRELIM", "X-RAY", "RIS", "HOSP"]
    assert header.field(5).component(3) == "ISO"
    assert (ack.type, ack.control_id, header.value(11), ack.version) == ("ACK^O01", "A9", "T", "2.3.1")
    assert ack.timestamp == "20260101120000+0000"
    assert (ack.first("MSA").value(1), ack.first("MSA").field(2).text) == ("AA", "M&1")
    assert not ack.first("ERR")


def test_an_error_names_place_code_severity_and_words() -> None:
    """ERR-2, ERR-3 (HL7 table 0357), ERR-4 and ERR-8 of v2.5 say what to mend."""
    error = AckError.of(NotHl7("no patient identifier in PID-3", location="PID-3", code=101))
    err = parse(acknowledge(parse(message()), AckCode.AE, error)).first("ERR")
    assert [err.field(2).component(number) for number in (1, 2, 3)] == ["PID", "1", "3"]
    assert [err.field(3).component(number) for number in (1, 2, 3)] == [
        "101",
        "Required field missing",
        "HL70357",
    ]
    assert (err.value(4), err.field(8).text) == ("E", "no patient identifier in PID-3")
    assert AckError.of(Malformed("broken")) == AckError("broken", 102)


@pytest.mark.parametrize(
    ("raw", "control_id"),
    [
        (b"MSH|^~\\&|RIS|H|||2026||ORM^O01|77|P|2.5.1\r0BX|1", "77"),
        (b"MSH|^~\\&|RIS|H|||2026||ORM^O01|77|P|2.5.1||||||UTF-8\rPID|\xff", "77"),
        (b"MSH|^~\\&|R\xffS|H|||2026||ORM^O01|77|P|2.5.1||||||UTF-8\rPID|", "77"),
        (b"MSH|^~\\&|RIS|H|||2026||ORM^O01|77|P|2.5.1\rMSH|^~\\&|", "77"),
        (b"\xef\xbb\xbfMSH|^~\\&|RIS|H|||2026||ORM^O01|77", "77"),
        (b"MSH|^~|RIS", ""),
        (b"<xml/>", ""),
        (b"", ""),
    ],
)
def test_an_unreadable_message_is_still_answered(raw: bytes, control_id: str) -> None:
    """A nack carries whatever of the MSH can be read, and is well formed when nothing can."""
    nack = read_ack(acknowledge(None, AckCode.AR, AckError("cannot be read", 100, "MSH"), raw=raw))
    assert (nack.code, nack.control_id, nack.error_code) == (AckCode.AR, control_id, "100")
    assert (nack.accepted, nack.retryable) == (False, True)


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda tail: b"MSH|^~\\&|" + tail))
def test_any_bytes_get_a_well_formed_nack(raw: bytes) -> None:
    """Whatever came, the nack can be read and its control id is what the sender sent."""
    nack = read_ack(acknowledge(None, AckCode.AR, AckError("no"), raw=raw))
    assert nack.code is AckCode.AR
    assert b"\x1c" not in nack.raw
    assert b"\x0b" not in nack.raw


@pytest.mark.parametrize("code", list(AckCode))
def test_a_written_acknowledgement_is_read_back(code: AckCode) -> None:
    """Each of the six codes survives writing and reading, and only AA and CA are accepted."""
    ack = read_ack(acknowledge(parse(message()), code, AckError("words", 204)))
    assert (ack.code, ack.control_id, ack.text, ack.error_code) == (code, "M&1", "words", "204")
    assert ack.accepted is (code in {AckCode.AA, AckCode.CA})
    assert ack.retryable is (code in {AckCode.AR, AckCode.CR})
    assert "words" not in repr(ack)


@pytest.mark.parametrize("msa", ["", "MSA|", "MSA|XX|1", "MSA||1"])
def test_what_is_no_acknowledgement_is_refused(msa: str) -> None:
    """A reply without a code of HL7 table 0008 acknowledges nothing."""
    with pytest.raises(Malformed, match="table 0008"):
        read_ack(f"MSH|^~\\&|A\r{msa}".encode())
