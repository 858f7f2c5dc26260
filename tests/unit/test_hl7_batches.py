"""Batches: what is split, what is refused as a whole, and how a batch is answered."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.hl7 import batches
from connectors.hl7.ack import AckCode, acknowledge
from connectors.hl7.batches import MOST_MESSAGES, answer, is_batch, refusal, split
from connectors.hl7.message import NotHl7, build, parse

FHS = b"FHS|^~\\&|RIS|HOSP^1.2^ISO|PRELIM|HOSP|20260101120000||NIGHT||F7\r"
BHS = b"BHS|^~\\&|RIS|HOSP|PRELIM|HOSP|20260101120000||||B7\r"
AT = datetime(2026, 1, 1, tzinfo=UTC)


def message(control_id: str, text: str = "x") -> bytes:
    """A message of two segments."""
    return build([("MSH", {9: ("ORU", "R01"), 10: control_id}), ("OBX", {5: text})])


ONE, TWO, THREE = message("1"), message("2"), message("3")


def test_a_file_of_batches_gives_its_messages_and_what_was_declared() -> None:
    """FHS, two BHS with their BTS, FTS: messages in order, control ids and counts."""
    raw = FHS + BHS + ONE + TWO + b"BTS|2|done\r" + BHS.replace(b"B7", b"B8") + THREE + b"BTS|1\rFTS|2\r"
    assert is_batch(raw)
    file = split(raw)
    assert file.messages == (ONE, TWO, THREE)
    assert (file.control_id, file.declared) == ("F7", 2)
    assert [(b.control_id, b.declared, b.messages) for b in file.batches] == [
        ("B7", 2, (ONE, TWO)),
        ("B8", 1, (THREE,)),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (BHS, b""),
        (BHS, b"BTS\r"),
        (BHS, b"BTS||a comment\r"),
        (b"", b"BTS|2\r"),
        (FHS, b"FTS|1\r"),
        (FHS, b"FTS|2\r"),
        (FHS + BHS, b"FTS|1"),
        (FHS + BHS, b"BTS| 2 \rFTS|01\r\r\n"),
        (b"\x0b\r\n" + BHS, b"BTS|2\r\x1c\r"),
        (b"BHS\r", b"BTS\r"),
        (b"BHS#^~\\&#RIS\r", b"BTS#2\r"),
    ],
)
def test_every_envelope_segment_may_be_absent(before: bytes, after: bytes) -> None:
    """Messages under both headers, one or none are found, with counts that agree or are not given."""
    raw = before + ONE + TWO + after
    assert is_batch(raw)
    assert split(raw).messages == (ONE, TWO)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
@pytest.mark.parametrize("between", [b"", b"\x1c\r\x0b", b"\x0b"])
def test_line_ends_and_left_over_frames_do_not_matter(end: bytes, between: bytes) -> None:
    """CR, LF, CRLF and MLLP bytes between pasted messages are tolerated."""
    found = split(between.join([ONE, TWO, THREE]).replace(b"\r", end)).messages
    assert [parse(one).control_id for one in found] == ["1", "2", "3"]
    assert [parse(one).first("OBX").field(5).text for one in found] == ["x"] * 3


@pytest.mark.parametrize("empty", [FHS + BHS + b"BTS|0\rFTS|1\r", BHS + b"BTS|0\r", FHS + b"FTS|0\r", BHS])
def test_a_batch_may_hold_no_message(empty: bytes) -> None:
    """A periodic batch with nothing to tell is no error, and is answered by an empty batch."""
    file = split(empty)
    assert file.messages == ()
    assert answer(file, []).startswith(empty[:4])


@pytest.mark.parametrize(
    ("raw", "location"),
    [
        (BHS + ONE + b"BTS|2\r", "BTS-1"),
        (BHS + ONE + b"BTS|0\r", "BTS-1"),
        (ONE + b"BTS|2\r", "BTS-1"),
        (BHS + ONE + b"BTS|one\r", "BTS-1"),
        (BHS + ONE + b"BTS|1234567890\r", "BTS-1"),
        (BHS + ONE + "BTS|²\r".encode(), "BTS-1"),
        (FHS + BHS + ONE + b"BTS|1\rFTS|2\r", "FTS-1"),
        (FHS + ONE + TWO + b"FTS|3\r", "FTS-1"),
        (FHS + BHS + ONE + TWO + b"FTS|2\r", "FTS-1"),
        (BHS + b"PID|1\r" + ONE, "BHS"),
        (BHS + ONE + b"BTS|1\rNTE|1\r", "BTS"),
        (FHS + b"PID|1\r" + BHS + ONE, "FHS"),
        (BHS + ONE + b"BTS|1\rBTS|1\r", "BTS"),
        (FHS + FHS + ONE, "FHS"),
        (ONE + FHS + TWO, "FHS"),
        (BHS + ONE + b"BTS|1\r" + FHS, "FHS"),
        (FHS + ONE + b"FTS|1\r" + TWO, "MSH"),
        (FHS + ONE + b"FTS|1\r" + BHS + TWO, "BHS"),
        (FHS + ONE + b"FTS|1\rFTS|1\r", "FTS"),
        (FHS + b"BTS|0\rFTS|0\r", "BTS"),
        (b"", "MSH"),
        (b"PID|1\r" + ONE + TWO, "MSH"),
        (b"FHSX|1\r" + ONE, "MSH"),
        (b"<xml/>", "MSH"),
        ("\ufeffBHS|".encode("utf-16") + b"\x00", "MSH-18"),
    ],
)
def test_a_batch_that_is_not_whole_is_refused_as_a_whole(raw: bytes, location: str) -> None:
    """A count that disagrees, a segment of no message or an envelope out of order: nothing may be applied."""
    with pytest.raises(NotHl7) as caught:
        split(raw)
    assert caught.value.location == location


def test_a_malformed_message_is_counted_and_left_to_its_reader() -> None:
    """One broken message does not stop the others, and is refused on its own when it is parsed."""
    broken = b"MSH|^~\r"
    found = split(BHS + ONE + broken + TWO + b"BTS|3\r").messages
    assert found == (ONE, broken, TWO)
    with pytest.raises(NotHl7, match="MSH-2"):
        parse(found[1])


def test_messages_with_other_delimiters_stand_beside_each_other() -> None:
    """Every message has its own MSH-1 and MSH-2."""
    other = b"MSH#*~\\&#RIS######ORU*R01#9#P#2.5\rOBX#1\r"
    raw = ONE + other + TWO
    assert is_batch(raw)
    assert split(raw).messages == (ONE, other, TWO)


@pytest.mark.parametrize(
    "text", [b"MSH is short for header", b"BTS", b"BTS guideline", b"FTS: normal", b"BHS"]
)
def test_a_line_of_text_is_no_envelope(text: bytes) -> None:
    """A report with raw line ends may begin a line with these letters; it is one message, and is read."""
    raw = ONE.removesuffix(b"\r") + b"\r" + text + b"\rmore|F\r"
    assert not is_batch(raw)
    assert parse(raw).first("OBX").field(5).text == "x\n" + text.decode() + "\nmore"


@pytest.mark.parametrize(
    "raw", [b"", ONE, b"\x0b" + ONE + b"\x1c\r", b"BTS|1", b"PID|1", b"FHSX", ONE.decode().encode("utf-16")]
)
def test_one_message_is_no_batch(raw: bytes) -> None:
    """One message, framed or not, and what is no HL7 go to `parse`."""
    assert not is_batch(raw)


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_batch_keeps_its_encoding_in_every_message(codec: str, mark: str) -> None:
    """Each message is in the bytes of the file, with the byte-order mark that says how to read it."""
    texts = [message(name, "山田 😀").decode().replace("UNICODE UTF-8", "8859/1") for name in "12"]
    raw = (mark + BHS.decode() + "".join(texts) + "BTS|2\r").encode(codec)
    assert is_batch(raw)
    file = split(raw)
    assert file.messages == tuple((mark + text).encode(codec) for text in texts)
    assert file.control_id == "B7"
    if mark or codec != "utf-8":
        assert [parse(one).first("OBX").field(5).text for one in file.messages] == ["山田 😀"] * 2


def test_the_character_set_of_a_message_does_not_matter_to_splitting() -> None:
    """A batch of Shift-JIS, ISO 2022 and Latin-1 messages is cut at line ends only."""
    header = "MSH|^~\\&|RIS||||||ORU^R01|{}|P|2.5||||||{}\rPID|||||{}\r"
    texts = [("SHIFT_JIS", "表|ポ", "cp932"), ("~ISO IR87", "山田", "iso2022_jp"), ("8859/1", "é", "latin-1")]
    raw = [header.format(1, name, text).encode(codec) for name, text, codec in texts]
    found = split(b"".join(raw)).messages
    assert found == tuple(raw)
    assert [parse(one).first("PID").field(5).text for one in found] == ["表", "山田", "é"]


@pytest.mark.parametrize("extra", [0, 1])
def test_messages_are_capped(monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
    """As many messages as the limit are split, one more is refused."""
    monkeypatch.setattr(batches, "MOST_MESSAGES", 5)
    raw = BHS + ONE * (5 + extra)
    if extra:
        with pytest.raises(NotHl7, match="at most 5 messages"):
            split(raw)
    else:
        assert len(split(raw).messages) == 5


def test_the_answer_has_the_envelopes_of_the_question() -> None:
    """Each batch is answered by a batch that names it, swaps the sides and counts its acknowledgements."""
    file = split(FHS + BHS + ONE + TWO + b"BTS|2\r" + BHS.replace(b"B7", b"B8") + THREE + b"BTS|1\rFTS|2\r")
    acks = [acknowledge(parse(one), AckCode.AA) for one in file.messages]
    answered = split(answer(file, acks, at=AT))
    assert answered.messages == tuple(acks)
    assert (answered.declared, [batch.declared for batch in answered.batches]) == (2, [2, 1])
    headers = [answered.header, *(batch.header for batch in answered.batches)]
    assert [header.value(12) for header in headers] == ["F7", "B7", "B8"]
    assert [header.value(7) for header in headers] == ["20260101000000+0000"] * 3
    assert len({header.value(11) for header in headers} - {""}) == 3
    assert (headers[0].value(3), headers[0].value(5), headers[0].value(6, 2)) == ("PRELIM", "RIS", "1.2")


def test_messages_that_want_no_answer_get_none() -> None:
    """BTS-1 counts the acknowledgements that are there; where nobody asked for one there is no batch."""
    file = split(BHS + ONE + TWO + b"BTS|2\r")
    answered = split(answer(file, [b"", acknowledge(parse(TWO), AckCode.AA)]))
    assert [parse(one).first("MSA").value(2) for one in answered.messages] == ["2"]
    assert answered.batches[0].declared == 1
    assert answer(file, [b"", b""]) == b""


def test_messages_without_envelope_are_answered_without_one() -> None:
    """Pasted messages get their acknowledgements one after another."""
    acks = [acknowledge(parse(one), AckCode.AA) for one in (ONE, TWO)]
    assert answer(split(ONE + TWO), acks) == b"".join(acks)


@pytest.mark.parametrize("count", [1, 3])
def test_no_answer_may_be_missing(count: int) -> None:
    """As many answers as messages are expected, or acknowledgements would meet the wrong message."""
    with pytest.raises(ValueError, match="each of 2 messages"):
        answer(split(ONE + TWO), [b""] * count)


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (BHS + ONE + b"BTS|7\r", [b"BHS", b"MSH", b"BTS"]),
        (FHS + BHS + ONE + b"BTS|7\r", [b"FHS", b"BHS", b"MSH", b"BTS", b"FTS"]),
        (FHS.decode().encode("utf-16") + b"\x00", [b"MSH"]),
        (ONE + b"BTS|7\r", [b"MSH"]),
    ],
)
def test_a_refused_batch_is_answered_by_name(raw: bytes, names: list[bytes]) -> None:
    """One acknowledgement of no single message stands under the envelope that names what is refused."""
    nack = b"MSH|^~\\&|\r"
    lines = refusal(raw, nack, at=AT).split(b"\r")[:-1]
    assert [line[:3] for line in lines] == names
    assert lines[0].endswith((b"|B7", b"|F7", b"&|"))


def test_nothing_that_is_refused_is_quoted() -> None:
    """Errors and representations hold no text of the batch."""
    shown = repr(split(BHS + message("1", "SECRET")))
    for raw in (BHS + b"SECRET|1\r", BHS + ONE + b"BTS|SECRET\r", b"SECRET", ONE + b"FTS|SECRET\r"):
        with pytest.raises(NotHl7) as caught:
            split(raw)
        shown += repr(caught.value) + repr(caught.value.__context__)
    assert "SECRET" not in shown


TEXT = st.text(max_size=20)
MESSAGES = st.lists(st.builds(message, st.text("0123456789", min_size=1), TEXT), min_size=2, max_size=6)


@given(MESSAGES, st.booleans(), st.sampled_from(["utf-8", "utf-16-le", "utf-32-be"]))
def test_what_is_joined_is_split_again(found: list[bytes], enveloped: bool, codec: str) -> None:
    """split of joined messages gives those messages, whatever text they hold."""
    own = tuple(one.decode().encode(codec) for one in found)
    before, after = (BHS, b"BTS|%d\r" % len(found)) if enveloped else (b"", b"")
    raw = before.decode().encode(codec) + b"".join(own) + after.decode().encode(codec)
    assert is_batch(raw)
    assert split(raw).messages == own


PIECES = st.lists(
    st.sampled_from(
        [b"FHS|", b"BHS|^~\\&|", b"MSH|^~\\&|", b"MSH", b"BTS|1", b"BTS|", b"FTS|1", b"PID|", b"\r", b"\n"]
    )
    | st.sampled_from([b"\r\x0b", b"\x1c\r", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"|", b"^"])
    | st.binary(max_size=4),
    max_size=25,
).map(b"".join)


@given(st.binary(max_size=200) | PIECES | PIECES.map(lambda tail: BHS + tail))
@example(b"BHS")
@example(b"\x0bFHS|\x00")
def test_any_bytes_are_a_batch_or_malformed(raw: bytes) -> None:
    """No bytes raise anything but Malformed, no byte of a message is lost, and a refusal can be written."""
    assert is_batch(raw) in (False, True)
    assert refusal(raw, ONE).count(ONE) == 1
    try:
        file = split(raw)
    except Malformed:
        return
    assert all(one in raw or one.startswith(b"\xef\xbb\xbf") for one in file.messages if b"\x00" not in raw)
    assert answer(file, [ONE for _ in file.messages]).count(ONE) >= len(file.messages)


@given(PIECES.map(lambda tail: ONE + tail))
def test_what_is_no_batch_hides_no_message(raw: bytes) -> None:
    """Bytes that are not taken for a batch hold one MSH line with these delimiters."""
    if not is_batch(raw):
        assert sum(line.startswith(b"MSH|") for line in raw.replace(b"\n", b"\r").split(b"\r")) == 1


@pytest.mark.parametrize(("count", "taken"), [(MOST_MESSAGES, True), (MOST_MESSAGES + 1, False)])
def test_a_file_holds_at_most_so_many_batches(count: int, taken: bool) -> None:
    """Each empty batch is answered with one of its own: a frame of them must not fill the memory."""
    file = b"FHS|^~\\&|R\r" + b"BHS|^~\\&|R\rBTS|0\r" * count
    if taken:
        assert len(split(file).batches) == count
    else:
        with pytest.raises(NotHl7, match="batches"):
            split(file)
