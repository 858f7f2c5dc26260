"""Character sets: MSH-18, byte-order marks, escapes, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.hl7.charsets import codec_name
from connectors.hl7.message import NotHl7, parse

HEADER = b"MSH|^~\\&|RIS|HOSP|PRELIM|HOSP|20260101120000||ORM^O01^ORM_O01|77|P|2.5.1"


def name_of(raw: bytes, declared: str = "", charset: str = "") -> str:
    """PID-5 of a message in which these bytes stand between two fields that must be found intact."""
    message = parse(HEADER + f"||||||{declared}".encode() + b"\rPID|||7||" + raw + b"|end\r", charset=charset)
    pid = message.first("PID")
    assert (len(message.segments), pid.value(3), pid.value(6)) == (2, "7", "end")
    return pid.field(5).text


TABLE_0211 = {
    "ASCII": "",
    "ISO IR6": "",
    **{f"8859/{part}": f"iso8859-{part}" for part in range(1, 10)},
    "8859/15": "iso8859-15",
    "ISO IR14": "iso2022_jp",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "cp949",
    "BIG-5": "cp950",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UNICODE UTF-16": "utf-16",
    "UNICODE UTF-32": "utf-32",
    "CNS 11643-1992": None,
}


@pytest.mark.parametrize("name", TABLE_0211)
def test_every_name_of_table_0211_has_its_codec(name: str) -> None:
    """Each name of HL7 table 0211 is known, but for CNS 11643, which Python cannot decode."""
    assert codec_name(name) == TABLE_0211[name]


@pytest.mark.parametrize(
    ("names", "codec"),
    [
        (("iso-8859-1", "ISO_8859-1", "ISO8859/1", "ISO 8859-1", "ISO_IR 100", "latin1"), "iso8859-1"),
        (("ISO 2022 IR 101", "8859-2", "Latin-2"), "iso8859-2"),
        (("ISO8859/16", "ISO IR 226"), "iso8859-16"),
        (("TIS-620", "8859/11"), "iso8859-11"),
        (("utf8", "UTF-8", "unicode utf-8", "ISO_IR 192", "ISO 10646-1"), "utf-8"),
        (("WINDOWS-1252", "cp1252", "Windows 1252", "1252"), "cp1252"),
        (("WIN-1251", "CP-1251"), "cp1251"),
        (("SHIFT_JIS", "Shift-JIS", "SJIS", "Windows-31J"), "cp932"),
        (("ISO IR13", "ISO-2022-JP", "ISO 2022 IR 87", "ISO 2022 IR 13"), "iso2022_jp"),
        (("EUC-JP",), "euc_jp"),
        (("EUC-KR", "KS C 5601", "ISO 2022 IR 149"), "cp949"),
        (("GB18030", "GBK", "GB2312"), "gb18030"),
        (("Big5", "CP950"), "cp950"),
        (("8859/12", "8859/17", "EBCDIC", "ANSI", "CP1259"), None),
    ],
)
def test_usual_misspellings_are_known(names: tuple[str, ...], codec: str | None) -> None:
    """Spaces, hyphens, case and prefixes do not matter; ANSI means another set in every country."""
    assert {codec_name(name) for name in names} == {codec}


@pytest.mark.parametrize(
    ("declared", "raw", "text"),
    [
        ("", "Müller".encode(), "Müller"),
        ("", "Müller".encode("latin-1"), "Müller"),
        ("ASCII", "Müller".encode("latin-1"), "Müller"),
        ("8859/1", "Müller".encode("latin-1"), "Müller"),
        ("8859/1", "12 –35".encode(), "12 –35"),
        ("8859/1", "12 –35".encode("cp1252"), "12 –35"),
        ("8859/2", "Łódź".encode("iso8859-2"), "Łódź"),
        ("ISO-8859-15", "5 €".encode("iso8859-15"), "5 €"),
        ("8859/5", "Иван".encode("iso8859-5"), "Иван"),
        ("8859/7", "Ελένη".encode("iso8859-7"), "Ελένη"),
        ("8859/16", "Ștefan".encode("iso8859-16"), "Ștefan"),
        ("windows-1251", "Иван".encode("cp1251"), "Иван"),
        ("UNICODE UTF-8", "山田".encode(), "山田"),
        ("utf-8", "山田".encode(), "山田"),
        ("UNICODE UTF-16", "山田".encode(), "山田"),
        ("SHIFT_JIS", "髙橋①".encode("cp932"), "髙橋①"),
        ("EUC-JP", "山田".encode("euc_jp"), "山田"),
        ("GB 18030-2000", "张".encode("gb18030"), "张"),
        ("KS X 1001", "김희중".encode("cp949"), "김희중"),
        ("BIG-5", "張".encode("big5"), "張"),
        ("ISO IR 999", b"plain", "plain"),
        ("CNS 11643-1992", b"plain", "plain"),
    ],
)
def test_the_character_set_is_read_from_msh_18(declared: str, raw: bytes, text: str) -> None:
    """MSH-18 is honoured in its usual spellings; where it says nothing or provably lies, the bytes decide."""
    assert name_of(raw, declared) == text


@pytest.mark.parametrize(
    ("declared", "text", "codec"),
    [
        *[("SHIFT_JIS", text, "cp932") for text in ("表", "ポ", "弌", "－", "л")],
        *[("BIG-5", text, "cp950") for text in ("功", "許", "育", "回", "擺")],
        *[("GB 18030-2000", text, "gb18030") for text in ("昞", "瘄", "甛", "俓", "亅")],
    ],
)
def test_a_second_byte_that_looks_like_a_delimiter_is_no_delimiter(
    declared: str, text: str, codec: str
) -> None:
    r"""Bytes 0x5C, 0x7C, 0x5E and 0x7E inside a character of two bytes neither split nor escape."""
    for around in (text, f"A{text}B", text * 3):
        assert name_of(around.encode(codec), declared) == around


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("SHIFT_JIS", "cp932"),
        ("BIG-5", "cp950"),
        ("GB 18030-2000", "gb18030"),
        ("~ISO IR87", "iso2022_jp"),
    ],
)
def test_every_character_that_holds_a_delimiter_is_read(declared: str, codec: str) -> None:
    """All characters with a byte like a delimiter at once, each in a repetition of its own."""
    characters = [
        character
        for character in map(chr, range(0x3000, 0xA000))
        if set(character.encode(codec, "ignore")) & set(b"\\|^~&")
    ]
    assert len(characters) > 100
    raw = HEADER + f"||||||{declared}".encode() + b"\rPID|||||" + "~".join(characters).encode(codec)
    assert [r.text for r in parse(raw).first("PID").field(5).repetitions] == characters


@pytest.mark.parametrize(
    ("declared", "raw", "text"),
    [
        ("~ISO IR87", "山田^太郎".encode("iso2022_jp"), "山田^太郎"),
        ("ISO IR6~ISO IR87~ISO IR159", b"\x1b$B;3ED\x1b(B^\x1b$(D0!\x1b(B", "山田^丂"),
        ("ISO IR14~ISO IR87", "ﾔﾏﾀﾞ".encode("cp932") + b"=\x1b$B;3ED\x1b(J^A", "ﾔﾏﾀﾞ=山田^A"),
        ("ISO IR13", "ﾔﾏﾀﾞ".encode("cp932"), "ﾔﾏﾀﾞ"),
        ("ISO IR14", b"\x1b(IT\x4f\x1b(J~x", "ﾔﾏ~x"),
        ("8859/1~ISO IR87", "Müller ".encode("latin-1") + b"\x1b$B;3ED\x1b(B", "Müller 山田"),
        ("~ISO IR149", b"\x1b$)C" + "김".encode("cp949") + b"^A", "김^A"),
        ("ISO IR6~ISO 2022 IR 58", b"\x1b$)A" + "张".encode("gb18030"), "张"),
        ("8859/1~8859/5", "é".encode("latin-1") + b"\x1b-L" + "Иван".encode("iso8859-5"), "éИван"),
        ("~ISO IR87~KS X 1001", b"\x1b$(C\x30\x21\x1b(B", "가"),
        ("SHIFT_JIS", "表".encode("cp932") + b"\x1b$B;3ED\x1b(B", "表山田"),
    ],
)
def test_escapes_of_iso_2022_switch_between_the_sets_of_msh_18(declared: str, raw: bytes, text: str) -> None:
    """Characters behind an escape hold bytes equal to delimiters, and none of them is one."""
    assert name_of(raw, declared) == text


def test_a_japanese_line_that_does_not_switch_back_ends_with_its_segment() -> None:
    """Every segment begins in the first character set of MSH-18, whatever the one before left open."""
    raw = HEADER + b"||||||~ISO IR87\rPID|||7||\x1b$B;3ED\rPV1|1|x|"
    assert (parse(raw).first("PID").value(5), parse(raw).first("PV1").value(2)) == ("山田", "x")


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        ("UNICODE UTF-8", b"M\xfcller"),
        ("UNICODE UTF-16", b"M\xfcller"),
        ("ISO IR 999", b"M\xfcller"),
        ("ISO IR 999~8859/1", b"M\xfcller"),
        ("8859/12", b"M\xfcller"),
        ("8859/16x", b"M\xfcller"),
        ("8859/6", b"M\xfcller"),
        ("CNS 11643-1992", b"\xc4\xe3"),
        ("SHIFT_JIS", b"\x81"),
        ("ISO IR87", "山田".encode()),
        ("ISO IR14", "山田".encode("cp932")),
        ("~ISO IR87", b"\x1b$B;3E\x1b(B"),
        ("~ISO IR87", b"\x1b!@"),
        ("~ISO IR87", b"\x1b"),
    ],
)
def test_bytes_outside_their_character_set_are_refused(declared: str, raw: bytes) -> None:
    """What cannot be decoded for certain is refused at MSH-18, quotes nothing, and an override reads it."""
    raw = HEADER + f"||||||{declared}".encode() + b"\rPID|||||" + raw
    with pytest.raises(NotHl7, match="override") as caught:
        parse(raw)
    assert caught.value.location == "MSH-18"
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert declared not in str(caught.value)
    assert parse(raw, charset="KOI8-R").first("PID").field(5)


def test_the_override_is_stronger_than_msh_18() -> None:
    """A sender that writes UTF-8 under 8859/5 is read with charset=UTF-8, and a Shift-JIS one likewise."""
    assert name_of("Müller".encode(), "8859/5", "UTF-8") == "Müller"
    assert name_of("表|".encode("cp932")[:2], "8859/1", "SHIFT_JIS") == "表"
    assert name_of("12 –35".encode("cp1252"), "", "windows-1252") == "12 –35"


def test_an_unknown_override_is_a_mistake_of_the_settings() -> None:
    """A charset override that is not known raises ValueError, not Malformed: the sender cannot mend it."""
    with pytest.raises(ValueError, match="no known character set"):
        parse(HEADER, charset="EBCDIC")


WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
TEXT = HEADER.decode() + "||||||{}\rPID|||7||山田😀~b&c|end\r"


@pytest.mark.parametrize("codec", ["utf-8", *WIDE])
@pytest.mark.parametrize("declared", ["", "8859/1", "UNICODE UTF-16", "UNICODE UTF-32", "ISO IR 999"])
@pytest.mark.parametrize("framed", [False, True])
def test_a_byte_order_mark_wins_over_msh_18(codec: str, declared: str, framed: bool) -> None:
    """UTF-8, UTF-16 and UTF-32 are read by their mark, whatever MSH-18 says, MLLP bytes around it or not."""
    raw = ("\ufeff" + TEXT.format(declared)).encode(codec)
    raw = b"\x0b" + raw + b"\x1c\r" if framed else raw
    message = parse(raw)
    assert [r.text for r in message.first("PID").field(5).repetitions] == ["山田😀", "b&c"]
    assert (message.control_id, message.first("PID").value(6)) == ("77", "end")
    assert (message.raw, message.encoding.charset) == (raw, codec)


@pytest.mark.parametrize("codec", WIDE)
@pytest.mark.parametrize("framed", [False, True])
def test_utf_16_and_utf_32_are_known_without_a_mark(codec: str, framed: bool) -> None:
    """Their zeros tell, blank lines in front or not."""
    for before in ("", "\r\n"):
        raw = (before + TEXT.format("UNICODE UTF-16")).encode(codec)
        message = parse(b"\x0b" + raw + b"\x1c\r" if framed else raw)
        assert message.first("PID").field(5).repetitions[0].text == "山田😀"


@pytest.mark.parametrize("codec", WIDE)
def test_what_is_no_utf_16_though_it_begins_so_is_refused(codec: str) -> None:
    """Half a character, or a lone surrogate, is refused at MSH-18."""
    raw = ("\ufeff" + HEADER.decode()).encode(codec)
    for tail in (b"a", "\ud800".encode(codec, "surrogatepass")):
        with pytest.raises(NotHl7, match="MSH-18") as caught:
            parse(raw + tail)
        assert caught.value.location == "MSH-18"
        assert caught.value.__context__ is None


def test_hexadecimal_escapes_in_utf_16_are_single_bytes() -> None:
    r"""`\X0D\` is a carriage return in UTF-16 too, and makes no segment there either."""
    message = parse((TEXT.format("").replace("山田", "a\\X0D\\OBR")).encode("utf-16"))
    assert message.first("PID").field(5).repetitions[0].text == "a\rOBR😀"


@given(st.sampled_from(["cp932", "cp950", "gb18030", "cp949", "euc_jp", "iso2022_jp"]), st.text(max_size=20))
def test_any_text_of_a_multi_byte_set_is_read_back(codec: str, text: str) -> None:
    """What the character set can write, behind delimiters and between them, is what is read."""
    clean = "".join(c for c in text if c.isprintable()).encode(codec, "ignore").decode(codec, "ignore")
    clean = "".join(c for c in clean if c not in '|^~\\&¥‾"')
    assert name_of(clean.encode(codec), codec.replace("_jp", "-jp").replace("iso2022", "iso-2022")) == clean
