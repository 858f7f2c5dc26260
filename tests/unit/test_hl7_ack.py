"""Acknowledgements: which code, to which message, with what words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.hl7.ack import (
    AckCode,
    AckError,
    AckMode,
    Answers,
    Verdict,
    acknowledge,
    answers,
    codes_for,
    is_acknowledgement,
    read_ack,
)
from connectors.hl7.message import NotHl7, parse

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def message(accept: str = "", application: str = "", version: str = "2.5.1") -> bytes:
    """A message with MSH-15 and MSH-16."""
    header = "MSH|^~\\&|RIS^1.2^ISO|HOSP|PRELIM|X-RAY|2026||ORM^O01|M\\T\\1|T"
    return f"{header}|{version}|||{accept}|{application}".encode()


MATRIX = {
    # (MSH-15, MSH-16): for accept, error and reject, the accept and the application acknowledgement.
    ("", ""): ((None, "AA"), (None, "AE"), (None, "AR")),
    ("", "AL"): ((None, "AA"), (None, "AE"), (None, "AR")),
    ("", "NE"): ((None, None), (None, None), (None, None)),
    ("", "ER"): ((None, None), (None, "AE"), (None, "AR")),
    ("", "SU"): ((None, "AA"), (None, None), (None, None)),
    ("AL", ""): (("CA", None), ("CE", None), ("CR", None)),
    ("AL", "AL"): (("CA", "AA"), ("CE", None), ("CR", None)),
    ("AL", "NE"): (("CA", None), ("CE", None), ("CR", None)),
    ("AL", "ER"): (("CA", None), ("CE", None), ("CR", None)),
    ("AL", "SU"): (("CA", "AA"), ("CE", None), ("CR", None)),
    ("NE", ""): ((None, None), (None, None), (None, None)),
    ("NE", "AL"): ((None, "AA"), (None, "AE"), (None, "AR")),
    ("NE", "NE"): ((None, None), (None, None), (None, None)),
    ("NE", "ER"): ((None, None), (None, "AE"), (None, "AR")),
    ("NE", "SU"): ((None, "AA"), (None, None), (None, None)),
    ("ER", ""): ((None, None), ("CE", None), ("CR", None)),
    ("ER", "AL"): ((None, "AA"), ("CE", None), ("CR", None)),
    ("ER", "NE"): ((None, None), ("CE", None), ("CR", None)),
    ("ER", "ER"): ((None, None), ("CE", None), ("CR", None)),
    ("ER", "SU"): ((None, "AA"), ("CE", None), ("CR", None)),
    ("SU", ""): (("CA", None), (None, None), (None, None)),
    ("SU", "AL"): (("CA", "AA"), (None, "AE"), (None, "AR")),
    ("SU", "NE"): (("CA", None), (None, None), (None, None)),
    ("SU", "ER"): (("CA", None), (None, "AE"), (None, "AR")),
    ("SU", "SU"): (("CA", "AA"), (None, None), (None, None)),
    # A value that HL7 table 0155 does not know counts as AL, the null as empty, small letters as large ones.
    ("XX", ""): (("CA", None), ("CE", None), ("CR", None)),
    ("", "XX"): ((None, "AA"), (None, "AE"), (None, "AR")),
    ("XX", "YY"): (("CA", "AA"), ("CE", None), ("CR", None)),
    ('""', '""'): ((None, "AA"), (None, "AE"), (None, "AR")),
    ("al", "su"): (("CA", "AA"), ("CE", None), ("CR", None)),
}


@pytest.mark.parametrize(("asked", "codes"), MATRIX.items(), ids=["+".join(asked) for asked in MATRIX])
def test_msh_15_and_16_choose_the_acknowledgements(
    asked: tuple[str, str], codes: tuple[tuple[str | None, str | None], ...]
) -> None:
    """Both empty is original mode; either valued is enhanced mode, each field under its own condition."""
    read = parse(message(*asked))
    assert tuple(codes_for(read, verdict) for verdict in Verdict) == codes


@pytest.mark.parametrize("asked", MATRIX, ids="+".join)
@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_original_mode_is_one_application_acknowledgement(
    asked: tuple[str, str], verdict: Verdict
) -> None:
    """A listener set to the original mode answers every message once, whatever MSH-15 and MSH-16 hold."""
    assert codes_for(parse(message(*asked)), verdict, AckMode.ORIGINAL) == (None, f"A{verdict}")


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("application", ["", "AL", "NE", "ER", "SU"])
def test_the_enhanced_mode_takes_an_empty_msh_15_for_al(application: str, verdict: Verdict) -> None:
    """A listener set to the enhanced mode commits to what asks for nothing, and heeds what is asked for."""
    asked = parse(message("", application))
    assert codes_for(asked, verdict, AckMode.ENHANCED) == codes_for(
        parse(message("AL", application)), verdict
    )
    assert codes_for(parse(message("NE", "NE")), verdict, AckMode.ENHANCED) == (None, None)
    assert codes_for(None, verdict, AckMode.ENHANCED) == (f"C{verdict}", None)


def test_an_unreadable_message_is_answered_in_original_mode() -> None:
    """Where nothing of the MSH can be read there is no MSH-15: the code is AA, AE or AR."""
    assert codes_for(None, Verdict.REJECT) == (None, AckCode.AR)
    found = answers(None, Verdict.REJECT, AckError("no"), raw=b"<xml/>")
    assert [read_ack(raw).code for raw in found.in_order] == [AckCode.AR]


def test_an_unreadable_message_is_answered_as_its_msh_asks() -> None:
    """What can be read of the MSH of a broken message says which acknowledgement its sender waits for."""
    found = answers(None, Verdict.REJECT, AckError("no"), raw=message("AL", "AL") + b"\r0BX|1")
    assert [read_ack(raw).code for raw in found.in_order] == [AckCode.CR]


def test_two_acknowledgements_are_two_messages() -> None:
    """Accept first, then application: each with an MSH-10 of its own, and neither asks for an answer."""
    both = answers(parse(message("AL", "AL")), Verdict.ACCEPT, at=AT)
    accept, application = (parse(raw) for raw in both.in_order)
    assert (both.accept, both.application) == (accept.raw, application.raw)
    assert [read_ack(one.raw).code for one in (accept, application)] == [AckCode.CA, AckCode.AA]
    assert [read_ack(one.raw).control_id for one in (accept, application)] == ["M&1", "M&1"]
    assert accept.control_id != application.control_id
    for one in (accept, application):
        assert (one.header.value(15), one.header.value(16)) == ("NE", "NE")
    assert "MSH" not in repr(both)


def test_the_original_mode_leaves_msh_15_and_16_empty() -> None:
    """A sender of the original mode gets an acknowledgement of the original mode."""
    header = parse(answers(parse(message()), Verdict.ACCEPT).application).header
    assert (header.value(15), header.value(16)) == ("", "")


@pytest.mark.parametrize(
    ("raw", "is_one"),
    [
        (b"MSH|^~\\&|A||||||ACK|1|P|2.5.1|||AL|AL\rMSA|AA|1", True),
        (b"MSH|^~\\&|A||||||ACK^O01^ACK|1|P|2.5.1|||AL|AL\rMSA|AA|1", True),
        (b"MSH|^~\\&|A||||||ack|1|P|2.5.1", True),
        (b"MSH|^~\\&|A||||||MCF|1|P|2.5.1", True),
        (b"MSH|^~\\&|A||||||ORR^O02|1|P|2.5.1|||AL|AL\rMSA|AA|1\rPID|1", True),
        (b"MSH|^~\\&|A||||||RSP^K11|1|P|2.5.1\rSFT|x\rMSA|AA|1", True),
        (b"MSH|^~\\&|A||||||ORU^R01|1|P|2.5.1\rPID|1\rMSA|AA|1", False),
        (b"MSH|^~\\&|A||||||ORU^R01|1|P|2.5.1", False),
        (b"MSH|^~\\&|A||||||^ACK|1|P|2.5.1\rSFT|MSA", False),
    ],
)
def test_an_acknowledgement_is_never_answered_but_where_it_asks(raw: bytes, is_one: bool) -> None:
    """What answers another message gets none, but for an AA, AE or AR whose MSH-15 asks for one."""
    read = parse(raw)
    assert is_acknowledgement(read) is is_one
    for mode in AckMode:
        for verdict in Verdict:
            told = answers(read, verdict, AckError("no"), mode=mode).in_order
            if is_one:
                asks = read.header.value(15) == "AL" and read.first("MSA").value(1) == "AA"
                assert [read_ack(answer).code for answer in told] == ([f"C{verdict}"] if asks else [])
            assert is_one or mode is AckMode.AUTO or told


@pytest.mark.parametrize("code", list(AckCode))
@pytest.mark.parametrize("asked", ["", "AL", "NE", "SU", "ER", "XX"])
def test_two_peers_that_acknowledge_come_to_an_end(code: AckCode, asked: str) -> None:
    """Whatever an acknowledgement asks for, the answer to it is answered by nothing."""
    raw = f"MSH|^~\\&|A||||||ACK|1|P|2.5.1|||{asked}|{asked}\rMSA|{code}|9".encode()
    for answer in answers(parse(raw), Verdict.ACCEPT).in_order:
        assert answers(parse(answer), Verdict.ACCEPT) == Answers()


def test_an_application_acknowledgement_that_goes_elsewhere_asks_for_its_own() -> None:
    """Over a connection of its own it is a message like others; the accept one asks for nothing."""
    told = answers(parse(message("AL", "AL")), Verdict.ACCEPT, elsewhere=True)
    assert parse(told.application).header.value(15) == "AL"
    assert parse(told.accept).header.value(15) == "NE"


@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3", "2.3.1", "2.4"])
def test_before_2_5_an_error_is_in_err_1_and_msa_6(version: str) -> None:
    """ERR-1 is segment, sequence, field and code, with MSA-3 and MSA-6; ERR-3 is not known there."""
    error = AckError("no patient identifier in PID-3", 101, "PID-3")
    ack = parse(acknowledge(parse(message(version=version)), AckCode.AE, error))
    err, msa = ack.first("ERR"), ack.first("MSA")
    assert err.field(1).raw == "PID^1^3^101&Required field missing&HL70357"
    assert len(err) == 1
    assert [msa.value(6, number) for number in (1, 2, 3)] == ["101", "Required field missing", "HL70357"]
    assert msa.field(3).text == "no patient identifier in PID-3"
    assert ack.version == version


@pytest.mark.parametrize(
    ("version", "in_msa"), [("2.5", True), ("2.5.1", True), ("2.6", True), ("2.7", False), ("2.8.2", False)]
)
def test_since_2_5_an_error_is_in_err_2_to_8(version: str, in_msa: bool) -> None:
    """ERR-1 and MSA-6 are empty; MSA-3, withdrawn in v2.7, is written before that for old readers."""
    error = AckError("no patient identifier in PID-3", 101, "PID-3")
    ack = parse(acknowledge(parse(message(version=version)), AckCode.AE, error))
    assert (ack.first("ERR").value(1), ack.first("MSA").value(6)) == ("", "")
    assert ack.first("ERR").field(2).raw == "PID^1^3"
    assert bool(ack.first("MSA").value(3)) is in_msa


@pytest.mark.parametrize("version", ["", "x", "two.five", "99999999999.1"])
def test_a_version_that_is_none_gets_the_layout_of_ours(version: str) -> None:
    """An MSH-12 that cannot be read is answered as v2.5.1."""
    ack = parse(acknowledge(parse(message(version=version)), AckCode.AE, AckError("no", 101, "PID-3")))
    assert ack.first("ERR").value(3) == "101"


@pytest.mark.parametrize("location", ["", "PID", "PID-3", "nowhere"])
@pytest.mark.parametrize("version", ["2.3.1", "2.5.1"])
def test_an_error_without_a_place_is_told_all_the_same(location: str, version: str) -> None:
    """Code and words stand in every layout, with a location or without."""
    raw = acknowledge(parse(message(version=version)), AckCode.AE, AckError("words", 204, location))
    ack = read_ack(raw)
    assert (ack.text, ack.error_code) == ("words", "204")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"], exclude_characters="|")))
def test_msh_10_comes_back_byte_for_byte(control_id: str) -> None:
    """MSA-2 is what the sender wrote in MSH-10, delimiters and escapes as they stood."""
    raw = f"MSH|^~\\&|A|B|||||ORM^O01|{control_id}|P|2.5.1||||||UNICODE UTF-8|end\rPID|1".encode()
    ack = acknowledge(parse(raw), AckCode.AA)
    assert ack.split(b"\r")[1].split(b"|")[2].rstrip(b"\r") == control_id.encode()


def test_other_delimiters_leave_msh_10_the_same_text() -> None:
    """Of a sender with delimiters of its own, MSH-10 is escaped so that it reads the same."""
    ack = read_ack(acknowledge(parse(b"MSH#*~\\&#A#B#####ORM*O01#a|b^c*d#P#2.5.1"), AckCode.AA))
    assert ack.control_id == "a|b^c*d"


@pytest.mark.parametrize(
    ("declared", "codec", "told"),
    [
        ("8859/1", "iso8859-1", "8859/1"),
        ("", "iso8859-1", ""),
        ("UNICODE UTF-8", "utf-8", "UNICODE UTF-8"),
        ("GB 18030-2000", "gb18030", "GB 18030-2000"),
    ],
)
def test_an_acknowledgement_speaks_the_senders_character_set(declared: str, codec: str, told: str) -> None:
    """What is not ASCII comes back as the same bytes, and MSH-18 names their character set."""
    raw = f"MSH|^~\\&|Röntgen|B|||||ORM^O01|ü1|P|2.5.1||||||{declared}\r".encode(codec)
    ack = acknowledge(parse(raw), AckCode.AA)
    assert "Röntgen".encode(codec) in ack
    assert f"MSA|AA|{'ü1'}\r".encode(codec) in ack
    assert parse(ack).header.value(18) == told
    assert (parse(ack).header.value(5), read_ack(ack).control_id) == ("Röntgen", "ü1")


def test_an_ascii_acknowledgement_is_utf_8() -> None:
    """Plain ASCII is the same in every character set, and needs none of the sender's."""
    raw = b"MSH|^~\\&|A|B|||||ORM^O01|1|P|2.5.1||||||8859/1\rPID|\xfc"
    assert parse(acknowledge(parse(raw), AckCode.AA)).header.value(18) == "UNICODE UTF-8"


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
