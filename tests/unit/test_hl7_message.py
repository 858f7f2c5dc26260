"""HL7 v2 messages: what is read, what is refused, and that written data stays data."""

from __future__ import annotations

import base64
import random
import re
import string
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.hl7.encoding import Encoding
from connectors.hl7.message import Limits, Message, NotHl7, Segment, Value, build, parse

HEADER = b"MSH|^~\\&|RIS|HOSP|PRELIM|HOSP|20260101120000||ORM^O01^ORM_O01|77|P|2.5.1"


def test_positions_count_from_one_as_in_the_standard() -> None:
    """MSH-1 is the separator, MSH-2 the encoding characters, PID-3.4.2 the second subcomponent."""
    message = parse(HEADER + b"\rPID|1||12^^^HOSP&1.2.3&ISO^MR~13^^^X\r")
    header, identifiers = message.first("MSH"), message.first("PID").field(3)
    assert (header.field(1).raw, header.field(2).raw, header.value(10)) == ("|", "^~\\&", "77")
    assert (identifiers.component(1), identifiers.component(4), identifiers.component(4, 2)) == (
        "12",
        "HOSP",
        "1.2.3",
    )
    assert [repetition.component(1) for repetition in identifiers.repetitions] == ["12", "13"]
    assert (message.type, message.control_id, message.version) == ("ORM^O01", "77", "2.5.1")
    assert (message.sending_application, message.sending_facility, message.source) == (
        "RIS",
        "HOSP",
        "RIS|HOSP",
    )


def test_what_is_absent_reads_as_empty() -> None:
    """An absent segment, field, component or subcomponent is empty and false."""
    message = parse(HEADER)
    assert not message.first("PID")
    assert not message.first("PID").field(3)
    assert message.first("PID").value(3, 4, 2) == ""
    assert message.first("MSH").field(99).repetitions == ()
    assert message.first("MSH").field(9).component(9) == ""
    assert message.first("MSH").field(9).component(1, 2) == ""


def test_a_position_below_one_is_a_mistake_of_the_caller() -> None:
    """Positions count from one: zero raises ValueError."""
    header = parse(HEADER).first("MSH")
    with pytest.raises(ValueError, match="count from one"):
        header.field(0)
    with pytest.raises(ValueError, match="count from one"):
        header.field(9).component(0)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize(
    "around", [(b"", b""), (b"\xef\xbb\xbf", b""), (b"\x0b", b"\x1c\r"), (b"\r\n ", b"\n")]
)
def test_line_ends_and_wrappings_do_not_matter(end: bytes, around: tuple[bytes, bytes]) -> None:
    """CR, LF, CRLF, blank lines, a byte-order mark and MLLP bytes around a message are tolerated."""
    message = parse(around[0] + end.join([HEADER, b"PID|||12", b"OBR|1"]) + end + around[1])
    assert [segment.name for segment in message.segments] == ["MSH", "PID", "OBR"]
    assert message.first("PID").field(3).text == "12"


def test_a_line_that_is_no_segment_continues_the_field_before_it() -> None:
    """Raw line ends inside text lose nothing, even where a line is one short word."""
    message = parse(HEADER + b"\nOBX|1|TX|||first\nRUL\nsecond line||||||F\nOBX|2|TX|||third\n")
    first, second = message.all("OBX")
    assert first.field(5).text == "first\nRUL\nsecond line"
    assert first.value(11) == "F"
    assert second.field(5).text == "third"


@pytest.mark.parametrize("line", [b"0BX|1|TX|||text", b"O X|1", b"1|2|3|4", b"P\xc3\x84D|1"])
def test_a_damaged_segment_name_is_refused(line: bytes) -> None:
    """A line that looks like a segment but has no name is refused, lest a line of a report vanish."""
    with pytest.raises(NotHl7, match="segment 2"):
        parse(HEADER + b"\r" + line)


def test_small_letters_in_a_known_name_are_read_as_capitals() -> None:
    """Some senders write `pid`."""
    assert parse(HEADER + b"\rpid|||12").first("PID").value(3) == "12"


def test_several_headers_are_refused() -> None:
    """Several messages are for `batches.split`: one acknowledgement cannot answer two."""
    with pytest.raises(NotHl7, match="one MSH"):
        parse(HEADER + b"\r" + HEADER)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x0b\x1c\r", b"EVN|A01", b"<ORM_O01/>", b"FHS|^~\\&|", b"MS", "EVN|A01".encode("utf-16")],
)
def test_what_does_not_begin_with_msh_is_refused(raw: bytes) -> None:
    """Nothing, XML, batches and other segments are refused with the position MSH."""
    with pytest.raises(NotHl7) as caught:
        parse(raw)
    assert (caught.value.location, caught.value.code) == ("MSH", 100)


@pytest.mark.parametrize(
    "header",
    [
        b"MSH",
        b"MSH|",
        b"MSH|^~|A",
        b"MSH|^~\\|A",
        b"MSH|^~\\&",
        b"MSH|^~\\&#!|A",
        b"MSHA^~\\&A",
        b"MSH1^~\\&1",
        b"MSH ^~\\& A",
        b"MSH|^^\\&|A",
        b"MSH|^~\\^|A",
        b"MSH|a~\\&|A",
        b"MSH|^\x07\\&|A",
        b'MSH|^~\\"|A',
        b"MSH\xa7^~\\&\xa7A",
    ],
)
def test_hostile_delimiters_are_refused(header: bytes) -> None:
    """Letters, digits, spaces, quotes, controls, repeated or missing delimiters are refused at MSH-2."""
    with pytest.raises(NotHl7) as caught:
        parse(header)
    assert caught.value.location == "MSH-2"


def test_the_senders_own_delimiters_hold() -> None:
    """Delimiters are read from MSH-1 and MSH-2, the five-character MSH-2 of v2.7 included."""
    message = parse(b"MSH@~&#\\@RIS@@@@@@ORM~O01@1@P@2.5\rPID@@@1~~~A\\B@@X#S#Y&Z|^")
    assert message.type == "ORM^O01"
    assert message.first("PID").field(3).component(4, 2) == "B"
    assert [r.text for r in message.first("PID").field(5).repetitions] == ["X~Y", "Z|^"]
    assert parse(HEADER.replace(b"\\&", b"\\&#")).type == "ORM^O01"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"one\.br\two", "one\ntwo"),
        (r"a\.sp2\b\.sk 3\c\.in+4\d\.fi\e", "a\n\nb   cde"),
        (r"a\X0D\OBR|"[:-1], "a\rOBR"),
        (r"\X48454C4C4F\ \X21\ ", "HELLO ! "),
        (r"\XC3A9\ ", "é "),
        (r"\H\loud\N\ ", "loud "),
        (r"\X0\ \XZZ\ \XFF\ \X\ ", r"\X0\ \XZZ\ \XFF\ \X\ "),
        (r"\X00\ \X1C\ ", "\ufffd \ufffd "),
        (r"\Z99\ \C2842\ \zz", r"\Z99\ \C2842\ \zz"),
        (r"C:\dicom \.br\and D:\x", "C:\\dicom \nand D:\\x"),
        (r"\.sp999999999\ ", "\n" * 99 + " "),
        ('""', ""),
    ],
)
def test_escape_sequences_are_decoded_and_unknown_ones_kept(raw: str, text: str) -> None:
    """Escapes of section 2.7 are decoded, formatting is bounded, what is not known stays as written."""
    assert Encoding().unescape(raw) == text


def test_an_escaped_carriage_return_makes_no_segment() -> None:
    """`\\X0D\\` is text of its field: escapes are decoded after the message is split."""
    message = parse(HEADER + b"\rOBX|1|TX|||x\\X0D\\ORC|CA\\X0D0A\\OBR\\F\\1||||||F")
    assert [segment.name for segment in message.segments] == ["MSH", "OBX"]
    assert message.first("OBX").field(5).text == "x\rORC"


def test_control_characters_are_shown_as_replacement_characters() -> None:
    """NUL and its kin become U+FFFD, so that databases and FHIR take the text."""
    assert parse(HEADER + b"\rPID|||||a\x00b\tc").first("PID").field(5).text == "a\ufffdb\tc"


@pytest.mark.parametrize("extra", [0, 1])
def test_segments_are_capped(extra: int) -> None:
    """As many segments as the limit are read, one more is refused."""
    raw = b"\r".join([HEADER, *[b"NTE|1"] * (9 + extra)])
    if extra:
        with pytest.raises(NotHl7, match="at most 10 segments, found 11"):
            parse(raw, limits=Limits(segments=10))
    else:
        assert len(parse(raw, limits=Limits(segments=10)).segments) == 10


@pytest.mark.parametrize("extra", [0, 1])
def test_fields_are_capped(extra: int) -> None:
    """As many fields as the limit are read, one more is refused with the segment's number and name."""
    raw = HEADER + b"\rNTE" + b"|x" * (20 + extra)
    if extra:
        with pytest.raises(NotHl7, match=r"segment 2 \(NTE\): expected at most 20 fields, found 21"):
            parse(raw, limits=Limits(fields=20))
    else:
        assert len(parse(raw, limits=Limits(fields=20)).first("NTE")) == 20


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize("extra", [0, 1])
def test_limits_hold_before_any_field_is_asked_for(codec: str, extra: int) -> None:
    """Segments are split late, and still too many segments or fields raise at once, in UTF-16 too."""
    limits = Limits(segments=3, fields=20)
    wide = HEADER.decode() + "\rNTE" + "|" * (20 + extra) + "\rNTE|1\r\n"
    long = HEADER.decode() + "\rNTE|1" * (2 + extra) + "\r"
    for text in (wide, long):
        if extra:
            with pytest.raises(NotHl7, match="at most"):
                parse(text.encode(codec), limits=limits)
        else:
            assert len(parse(text.encode(codec), limits=limits).segments) > 1


@pytest.mark.parametrize(
    ("declared", "patient"),
    [
        ("", b"Mueller"),
        ("8859/1", "Müller".encode("latin-1")),
        ("8859/1", "12 –35".encode()),
        ("UNICODE UTF-8", "山田😀".encode()),
        ("SHIFT_JIS", "山田".encode("cp932")),
        ("~ISO IR87", "山田".encode("iso2022_jp")),
    ],
)
@pytest.mark.parametrize("end", [b"\r", b"\r\n"])
def test_a_document_of_megabytes_is_held_once(declared: str, patient: bytes, end: bytes) -> None:
    """Reading a result with a large ED takes at most 2.2 times its size above the bytes, and keeps 1.1."""
    document = base64.b64encode(random.Random(1).randbytes(1_500_000))
    lines = [
        HEADER + f"||||||{declared}".encode(),
        b"PID|||7||" + patient,
        b"OBR|1",
        b"OBX|1|ED|||^^^Base64^" + document + b"||||||F",
        b"",
    ]
    raw = end.join(lines)
    parse(raw[:300])  # what is compiled or kept once for all messages is not counted
    tracemalloc.start()
    try:
        message = parse(raw)
        held, peak = tracemalloc.get_traced_memory()
        assert (peak / len(raw) < 2.2, held / len(raw) < 1.1) == (True, True)
        tracemalloc.reset_peak()
        assert message.first("OBX").value(11) == "F"
        held, peak = tracemalloc.get_traced_memory()
        assert (peak / len(raw) < 2.2, held / len(raw) < 1.1) == (True, True)
    finally:
        tracemalloc.stop()
    assert message.first("OBX").field(5).component(5).encode() == document


def test_a_segment_reads_alike_before_and_after_it_is_split() -> None:
    """Truth, length, name and fields do not depend on what was asked first."""
    raw = HEADER + b"\rPID|1|2|3\rPV1\rNTE|\robx|1"
    for ask in (lambda s: s.field(1), len, bool, repr):
        message = parse(raw)
        for segment in message.segments:
            ask(segment)
        assert [s.name for s in message.segments] == ["MSH", "PID", "PV1", "NTE", "OBX"]
        assert [len(s) for s in message.segments] == [12, 3, 1, 1, 1]
        assert all(message.segments)
        assert [s.value(1) for s in message.segments] == ["|", "1", "", "", "1"]
    assert [len(Segment("PID", fields, Encoding())) for fields in ((), ("",), ("a", "b"))] == [0, 1, 2]
    assert not Segment("PID", (), Encoding())


def test_nothing_that_is_printed_names_a_patient() -> None:
    """Representations and errors hold no text of the message."""
    message = parse(HEADER + b"\rPID|||SECRET")
    shown = f"{message!r} {message.segments!r} {message.first('PID').field(3)!r}"
    for raw in (b"SECRET", HEADER + b"\r!!!|SECRET", HEADER + b"||||||SECRET\rPID|\xff"):
        with pytest.raises(NotHl7) as caught:
            parse(raw)
        shown += f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert "SECRET" not in shown


ALMOST_HL7 = st.lists(
    st.sampled_from(
        [
            b"MSH|^~\\&|",
            b"PID|",
            b"OBX|1|TX|",
            b"\r",
            b"\n",
            b"|",
            b"^",
            b"~",
            b"\\",
            b"&",
            b"\\X0D\\",
            b"\xff",
        ]
    )
    | st.binary(max_size=8),
    max_size=30,
).map(b"".join)


def read_or_error(raw: bytes, charset: str = "") -> Message | Malformed:
    """The message, or why it is none."""
    try:
        return parse(raw, charset=charset)
    except Malformed as error:
        return error


BYTES = st.binary(max_size=400) | ALMOST_HL7 | ALMOST_HL7.map(lambda tail: HEADER + tail)
MARKS = st.sampled_from([b"", b"\x0b", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\x00\x00"])
DECLARED = st.sampled_from(["8859/6", "ISO IR87", "~ISO IR87", "SHIFT_JIS", "UNICODE UTF-16", "~KS X 1001"])
WIDE = ALMOST_HL7.map(lambda tail: (HEADER + tail).decode("latin-1").encode("utf-16-le"))


@given(
    st.builds(lambda mark, body: mark + body, MARKS, BYTES | WIDE)
    | st.builds(
        lambda declared, tail: HEADER + f"||||||{declared}\rPID|".encode() + tail,
        DECLARED,
        st.lists(st.sampled_from([b"\x1b$B", b"\x1b(B", b"\x1b", b"|", b"\r"]) | st.binary(max_size=6)).map(
            b"".join
        ),
    ),
    st.sampled_from(["", "", "UTF-8", "SHIFT_JIS", "ISO IR87", "8859/6", "UTF-16"]),
)
def test_any_bytes_are_a_message_or_malformed(raw: bytes, charset: str) -> None:
    """No bytes raise anything but Malformed, and every field of what is read can be read."""
    message = read_or_error(raw, charset)
    if isinstance(message, Malformed):
        assert message.__cause__ is message.__context__ is None
        return
    for segment in message.segments:
        for number in range(1, len(segment) + 2):
            field = segment.field(number)
            assert isinstance(field.text, str)
            assert isinstance(field.component(2, 2), str)
            assert all(isinstance(repetition.component(1), str) for repetition in field.repetitions)


@given(BYTES)
def test_no_error_quotes_what_was_sent(tail: bytes) -> None:
    """Whatever follows it, a planted word is in no error."""
    for raw in (b"SECRET" + tail, HEADER + b"||||||SECRET\rSECRET\xff" + tail, HEADER + b"\r|SECRET|" + tail):
        assert "SECRET" not in repr(read_or_error(raw))


TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029")
    | st.sampled_from("|^~\\&\n\"'.XFSTRE0D"),
    max_size=12,
)
NAMES = st.text(string.ascii_uppercase, min_size=3, max_size=3).filter(lambda name: name != "MSH")
COMPONENTS = st.lists(st.lists(TEXT, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)
REPETITIONS = st.lists(COMPONENTS, min_size=1, max_size=3)
SEGMENTS = st.lists(st.tuples(NAMES, st.dictionaries(st.integers(1, 9), REPETITIONS, max_size=4)), max_size=5)


@given(SEGMENTS)
def test_what_is_built_is_read_back_as_it_was(
    segments: list[tuple[str, dict[int, list[tuple[tuple[str, ...], ...]]]]],
) -> None:
    """build then parse is the identity, whatever delimiters and line ends the data holds."""
    header: dict[int, Value] = {9: ("ORM", "O01"), 10: "1"}
    values: list[tuple[str, dict[int, Value]]] = [(name, dict(fields)) for name, fields in segments]
    message = parse(build([("MSH", header), *values]))
    assert [segment.name for segment in message.segments] == ["MSH", *(name for name, _ in segments)]
    for segment, (_, fields) in zip(message.segments[1:], segments, strict=True):
        for number, repetitions in fields.items():
            found = segment.field(number)
            for index, components in enumerate(repetitions):
                if not found:
                    assert repetitions == [(("",),)] or all(
                        text == "" for component in components for text in component
                    )
                    continue
                repetition = found.repetitions[index]
                for c, component in enumerate(components, 1):
                    for s, text in enumerate(component, 1):
                        assert repetition.component(c, s) == text


ANY_TEXT = st.text(st.characters() | st.sampled_from('|^~\\&\n\r\x00\x85\u2028\ufeff"'), max_size=12)
ANY_COMPONENT = ANY_TEXT | st.lists(ANY_TEXT, min_size=1, max_size=3).map(tuple)
ANY_REPETITION = ANY_TEXT | st.lists(ANY_COMPONENT, min_size=1, max_size=3).map(tuple)
ANY_VALUE = ANY_REPETITION | st.lists(ANY_REPETITION, min_size=1, max_size=3)


def normalised(text: str) -> str:
    """What `build` makes of text: one kind of line break, no other control characters, no lone surrogates."""
    text = re.sub("\r\n|[\r\x85\u2028\u2029]", "\n", text)
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", " ", text).encode(errors="replace").decode()


@given(st.dictionaries(st.integers(1, 40), ANY_VALUE, max_size=5))
def test_every_value_that_can_be_written_is_read_back(fields: dict[int, Value]) -> None:
    """Texts, components, subcomponents and repetitions of any characters, but for what is normalised."""
    segment = parse(build([("MSH", {10: "1"}), ("ZZZ", fields)])).segments[1]
    assert len(segment) == max(fields, default=1)
    for number, value in fields.items():
        repetitions = value if isinstance(value, list) else [value]
        # Two empty repetitions are as many as their separators; one empty one is an empty field.
        found = segment.field(number).repetitions or (segment.field(number),)
        assert len(found) == len(repetitions)
        for read, repetition in zip(found, repetitions, strict=True):
            components = repetition if isinstance(repetition, tuple) else (repetition,)
            for c, component in enumerate(components, 1):
                for s, text in enumerate(component if isinstance(component, tuple) else (component,), 1):
                    assert read.component(c, s) == normalised(text)


def test_msh_18_of_what_is_built_tells_the_truth() -> None:
    """The bytes are UTF-8, and no caller can have MSH-18 say otherwise."""
    message = parse(build([("MSH", {18: "8859/1"}), ("NTE", {3: "é"})]))
    assert (message.header.value(18), message.first("NTE").value(3)) == ("UNICODE UTF-8", "é")


@given(st.text(max_size=60))
def test_no_text_escapes_its_field(text: str) -> None:
    """Any text written into one subcomponent leaves as many segments and fields as before."""
    raw = build([("MSH", {9: "ACK"}), ("NTE", {3: ((text, "b"), "c"), 4: "end"})])
    assert raw.count(b"\r") == 2
    assert not set(raw) & (set(range(0x20)) - {0x09, 0x0D})
    note = parse(raw).segments[1]
    assert (note.field(3).component(1, 2), note.field(3).component(2), note.value(4)) == ("b", "c", "end")
    assert len(note) == 4


def test_two_double_quotes_in_data_are_not_the_null_value() -> None:
    """Text that happens to be `""` is escaped: written bare it would delete the receiver's value."""
    note = parse(build([("MSH", {}), ("NTE", {3: '""'})])).first("NTE").field(3)
    assert note
    assert note.text == '""'


def test_what_is_no_segment_list_is_not_built() -> None:
    """A message is written with MSH first and once, and with segment names in capitals."""
    for names in (["PID"], ["MSH", "MSH"], ["MSH", "pid"], ["MSH", "TOOLONG"]):
        with pytest.raises(ValueError, match="MSH"):
            build([(name, {}) for name in names])
