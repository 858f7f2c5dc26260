"""Character sets of HL7 v2: byte-order marks, MSH-18 (v2.5.1 section 2.15.9.18, table 0211), escapes. Pure.

Bytes become text before any delimiter is looked for: the second byte of a Shift-JIS, Big5 or GB 18030
character, and either byte of one under an ISO 2022 escape, may look like `|`, `^`, `~`, `\\` or `&`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from connectors.hl7.encoding import NotHl7

OVERRIDE_ADVICE = "name the sender's true character set in the settings (charset override)"

UTF_8_MARK = b"\xef\xbb\xbf"

_MARKS = (
    (UTF_8_MARK, "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_ZEROS = {
    (True, False, False, False): "utf-32-le",
    (False, False, False, True): "utf-32-be",
    (True, False, True, False): "utf-16-le",
    (False, True, False, True): "utf-16-be",
}
"""Which of the first four bytes are other than zero: HL7 begins with ASCII characters."""

_JAPANESE = "iso2022_jp"
"""JIS X 0201 in eight bits, and JIS X 0208 and 0212 behind escapes: what ISO IR14, IR87 and IR159 mean."""
_PARTS_OF_8859 = {
    "100": 1, "101": 2, "109": 3, "110": 4, "144": 5, "127": 6, "126": 7, "138": 8, "148": 9,
    "157": 10, "166": 11, "179": 13, "199": 14, "203": 15, "226": 16,
}  # fmt: skip
"""Registration numbers (ISO IR) of the parts of ISO 8859."""
_LATIN = (1, 2, 3, 4, 9, 10, 13, 14, 15, 16)
_CODECS = {
    **{f"IR{number}": f"iso8859-{part}" for number, part in _PARTS_OF_8859.items()},
    **{f"LATIN{number}": f"iso8859-{part}" for number, part in enumerate(_LATIN, 1)},
    **dict.fromkeys(("TIS620", "TIS6202533"), "iso8859-11"),
    **dict.fromkeys(("UTF8", "UNICODEUTF8", "UNICODE", "106461", "IR192"), "utf-8"),
    **dict.fromkeys(("UTF16", "UNICODEUTF16", "UTF16LE", "UTF16BE", "UCS2", "UNICODEUCS2"), "utf-16"),
    **dict.fromkeys(("UTF32", "UNICODEUTF32", "UTF32LE", "UTF32BE", "UCS4", "UNICODEUCS4"), "utf-32"),
    **dict.fromkeys(("IR13", "IR14", "IR87", "IR159", "2022JP", "JISX0201", "JISX0208"), _JAPANESE),
    **dict.fromkeys(("SHIFTJIS", "SJIS", "MSKANJI", "CP932", "MS932", "WINDOWS31J"), "cp932"),
    **dict.fromkeys(("EUCJP", "UJIS"), "euc_jp"),
    **dict.fromkeys(("GB180302000", "GB18030", "GB180302005", "GBK", "GB2312", "CP936", "IR58"), "gb18030"),
    **dict.fromkeys(("KSX1001", "KSC5601", "KSC56011987", "EUCKR", "CP949", "UHC", "IR149"), "cp949"),
    **dict.fromkeys(("BIG5", "CP950"), "cp950"),
    "BIG5HKSCS": "big5hkscs",
    **dict.fromkeys(("KOI8R", "KOI8"), "koi8-r"),
    "KOI8U": "koi8-u",
}  # fmt: skip
_SAYS_NOTHING = frozenset({"", "ASCII", "USASCII", "IR6", "646", "646US"})
_BEHIND_ESCAPES = frozenset({_JAPANESE, "cp932", "cp949", "gb18030"})
"""Codecs whose senders may write ISO 2022 escapes though MSH-18 names one character set only."""

_ESCAPE = re.compile(rb"\x1b(\$?[()*+./-]?[@-~])")
_BACK = frozenset({b"(B", b"(J"})
"""To ASCII or JIS X 0201 Roman. There 0x5C and 0x7E are a yen and an overline by name, and the delimiters
`\\` and `~` in every message: they are read as delimiters."""
_DESIGNATED = {
    b"$)C": "cp949",
    b"$)A": "gb18030",
    b")I": _JAPANESE,
    b"-A": "iso8859-1",
    b"-B": "iso8859-2",
    b"-C": "iso8859-3",
    b"-D": "iso8859-4",
    b"-F": "iso8859-7",
    b"-G": "iso8859-6",
    b"-H": "iso8859-8",
    b"-L": "iso8859-5",
    b"-M": "iso8859-9",
    b"-T": "iso8859-11",
}
"""Character sets that an escape puts into the upper half, and that Python reads without the escape."""
_C1 = bytes(range(0x80, 0xA0))

Span = tuple[int, int]
"""Start and end of a line in the bytes of a message."""


def signature(raw: bytes) -> tuple[str, bytes]:
    """(codec, byte-order mark) that the first bytes give away.

    Without a mark the zeros of UTF-16 and UTF-32 still tell; the mark is empty then. Both are empty for
    bytes that MSH-18 must explain.
    """
    head = raw[:4]
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec, mark
    if 0 not in head or len(head) < 4:
        return "", b""
    return _ZEROS.get((head[0] != 0, head[1] != 0, head[2] != 0, head[3] != 0), ""), b""


def wide(raw: bytes) -> tuple[str, str]:
    """(text, codec) of a message in UTF-16 or UTF-32, without mark and MLLP bytes; empty for any other.

    Raises NotHl7 at MSH-18 when the bytes are not what they begin as.
    """
    if 0 not in raw[:5] and raw[:2] not in (b"\xff\xfe", b"\xfe\xff", b"\x0b\xff", b"\x0b\xfe"):
        return "", ""
    # Characters have an even number of bytes: a start block alone in front makes the whole odd.
    body = raw[1:] if raw.startswith(b"\x0b") and len(raw) % 2 else raw
    body = body.removesuffix(b"\x1c\r")
    body = body[:-1] if len(body) % 2 and body[-1] in b"\x1c\r\n" else body
    codec, mark = signature(body)
    if not codec or codec == "utf-8":
        return "", ""
    try:
        return str(memoryview(body)[len(mark) :], codec), codec
    except UnicodeDecodeError:
        pass
    raise _undecodable(f"the message begins as {codec.upper()} and is not")


def codec_name(name: str) -> str | None:
    """The Python codec of one MSH-18 spelling; empty when it says nothing, None when it is not known."""
    plain = re.sub(r"[^A-Z0-9]", "", name.upper())
    plain = re.sub(r"^ISO(?:2022(?=IR))?", "", plain)
    if plain in _SAYS_NOTHING:
        return ""
    part = re.fullmatch(r"8859(?:P(?:ART)?)?([1-9]|1[013456])", plain)
    if part:
        return f"iso8859-{part[1]}"
    page = re.fullmatch(r"(?:WINDOWS|MSWIN|WIN|CP|MS)?(125[0-8])", plain)
    return f"cp{page[1]}" if page else _CODECS.get(plain)


def decode(raw: bytes, spans: Sequence[Span], declared: str, override: str = "") -> tuple[list[str], str]:
    """Decode the lines of a message: their texts, and the name of the codec that read them.

    CR and LF are never part of another character in any of these character sets, so that lines may be
    cut first. declared: MSH-18 with its repetitions separated by `~`: the first is the character set of
    the message, the others may be switched to by ISO 2022 escapes. Empty or ASCII says nothing: UTF-8
    if the bytes are UTF-8, else ISO 8859-1. Declared ISO 8859 that holds C1 controls, which no such text
    does, is really UTF-8 or Windows-1252. override: the character set of a sender that lies.

    Raises NotHl7 when the bytes are not in the declared character set, or the set is unknown and
    the bytes are not plain ASCII; ValueError when the override is not known.
    """
    codec, switches = _override(override) if override else _declared(declared)
    plain = raw.isascii() and b"\x1b" not in raw
    if plain:
        return _texts(raw, spans, "ascii"), codec or "utf-8"
    if codec is None:
        raise _undecodable("the character set that is named there is not known or not supported", code=103)
    if codec.startswith(("utf-16", "utf-32")):
        codec = "utf-8"  # a message whose delimiters are single bytes is neither
    candidates = [codec or "iso8859-1"]
    if not codec:
        candidates = ["utf-8", *candidates]
    elif codec.startswith("iso8859") and not override and len(raw.translate(None, _C1)) != len(raw):
        candidates = ["utf-8", *(["cp1252"] if codec == "iso8859-1" else []), codec]
    for candidate in candidates:
        try:
            if switches and b"\x1b" in raw:
                return [_switched(raw[start:end], candidate) for start, end in spans], candidate
            return _texts(raw, spans, candidate), candidate
        except UnicodeDecodeError:
            continue
    # Outside of `except`: the error that was caught carries the message's bytes.
    raise _undecodable(f"the message is not {codec}")


@lru_cache(maxsize=64)
def _declared(declared: str) -> tuple[str | None, bool]:
    """(codec, whether escapes may switch to another) of MSH-18."""
    names = [codec_name(name) for name in declared.split("~")]
    codec = next((name for name in names if name != ""), "")
    return codec, len(names) > 1 or codec in _BEHIND_ESCAPES


def _override(name: str) -> tuple[str, bool]:
    codec = codec_name(name)
    if codec is None:
        raise ValueError(f"{name!r} is no known character set; write for example UTF-8 or 8859/1")
    return codec or "utf-8", codec in _BEHIND_ESCAPES


def _texts(raw: bytes, spans: Sequence[Span], codec: str) -> list[str]:
    if codec == _JAPANESE:
        return [_switched(raw[start:end], codec) for start, end in spans]
    view = memoryview(raw)  # a slice of it copies nothing
    return [str(view[start:end], codec) for start, end in spans]


def _switched(line: bytes, codec: str) -> str:
    """One line with ISO 2022 escapes; each line begins in the message's own character set."""
    first, *rest = _ESCAPE.split(line)
    texts = [_unswitched(first, codec)]
    for escape, piece in zip(rest[::2], rest[1::2], strict=True):
        if escape in _BACK:
            texts.append(_unswitched(piece, codec))
        elif escape in _DESIGNATED:
            texts.append(_unswitched(piece, _DESIGNATED[escape]))
        else:
            # The first knows half-width katakana, the second Chinese and Korean escapes.
            with_escape = b"\x1b" + escape + piece
            try:
                texts.append(with_escape.decode("iso2022_jp_ext"))
            except UnicodeDecodeError:
                texts.append(with_escape.decode("iso2022_jp_2"))
    return "".join(texts)


def _unswitched(piece: bytes, codec: str) -> str:
    if b"\x1b" in piece:
        raise UnicodeDecodeError(codec, b"\x1b", 0, 1, "an escape that is not known")
    if codec != _JAPANESE:
        return piece.decode(codec)
    # Shift-JIS or UTF-8 under this name would read as other words: but for katakana all must be ASCII.
    piece.translate(None, bytes(range(0xA1, 0xE0))).decode("ascii")
    return piece.decode("cp932")


def _undecodable(what: str, code: int = 102) -> NotHl7:
    return NotHl7(
        f"MSH-18: {what}; have the sender mend it, or {OVERRIDE_ADVICE}", location="MSH-18", code=code
    )
