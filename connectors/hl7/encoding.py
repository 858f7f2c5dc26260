"""Delimiters, escape sequences and character sets of HL7 v2 (v2.5.1 sections 2.5.4, 2.7 and 2.15.9.18)."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field

from connectors.errors import Malformed

OVERRIDE_ADVICE = "name the sender's true character set in the settings (charset override)"

_NULL = '""'
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_C1 = re.compile("[\x80-\x9f]")
_ALLOWED = frozenset(string.punctuation) - {'"'}

_CODECS = {
    "UTF8": "utf-8",
    "UNICODEUTF8": "utf-8",
    "UNICODE": "utf-8",
    "IR192": "utf-8",
    "IR100": "iso8859-1",
    "IR101": "iso8859-2",
    "IR109": "iso8859-3",
    "IR110": "iso8859-4",
    "IR144": "iso8859-5",
    "IR127": "iso8859-6",
    "IR126": "iso8859-7",
    "IR138": "iso8859-8",
    "IR148": "iso8859-9",
    "LATIN1": "iso8859-1",
    "WINDOWS1252": "cp1252",
    "CP1252": "cp1252",
    "IR14": "iso2022_jp_2",
    "IR87": "iso2022_jp_2",
    "IR159": "iso2022_jp_2",
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    "KSX1001": "euc_kr",
    "BIG5": "big5",
}
_SAYS_NOTHING = frozenset({"", "ASCII", "USASCII", "IR6"})


class NotHl7(Malformed):
    """A message that breaks HL7 v2 or lacks what its reader needs, with the place for an ERR segment."""

    def __init__(self, text: str, *, location: str = "", code: int = 102) -> None:
        """text: for a person. location: SEG, SEG-field or empty. code: HL7 table 0357."""
        super().__init__(text)
        self.location = location
        self.code = code


@dataclass(frozen=True, slots=True)
class Encoding:
    """The delimiters of one message, and the codec of its bytes."""

    field_separator: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape_character: str = "\\"
    subcomponent: str = "&"
    charset: str = "utf-8"
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        mark = re.escape(self.escape_character)
        # Only formatting commands hold a space: a lone escape character in prose must not swallow the next.
        sequence = rf"{mark}(\.[A-Za-z]{{2}} ?[+-]?[0-9]*|[^{mark}\s]{{1,4096}}){mark}"
        object.__setattr__(self, "_pattern", re.compile(sequence))

    @classmethod
    def of_msh(cls, line: str) -> Encoding:
        """Read MSH-1 and MSH-2 of a line that begins with MSH (v2.5.1 sections 2.15.9.1 and 2.15.9.2).

        Raises NotHl7 when a delimiter is missing, given twice, a letter, a digit, a space, a double
        quote or no printable ASCII: such delimiters would cut names and numbers apart.
        """
        separator = line[3:4]
        characters = line[4:].split(separator, 1)[0] if separator else ""
        if len(characters) not in (4, 5) or not line[4 + len(characters) :]:
            raise NotHl7(
                f"MSH-2: expected 4 or 5 encoding characters between separators, found {len(characters)}; "
                "ask the sender to write MSH|^~\\&|",
                location="MSH-2",
            )
        everything = separator + characters
        if not _ALLOWED.issuperset(everything) or len(set(everything)) != len(everything):
            raise NotHl7(
                "MSH-1, MSH-2: expected distinct punctuation characters; ask the sender to write MSH|^~\\&|",
                location="MSH-2",
            )
        return cls(separator, *characters[:4])

    def unescape(self, raw: str) -> str:
        """Decode escape sequences of one component; unknown and unfinished ones stay as they are written."""
        if raw == _NULL:
            return ""
        if self.escape_character not in raw:
            return raw
        return self._pattern.sub(self._decoded, raw)

    def _decoded(self, match: re.Match[str]) -> str:
        sequence = match[1]
        plain = {
            "F": self.field_separator,
            "S": self.component,
            "R": self.repetition,
            "E": self.escape_character,
            "T": self.subcomponent,
            "P": "#",
            "H": "",
            "N": "",
        }.get(sequence)
        if plain is not None:
            return plain
        if sequence[0] in "Xx":
            return self._from_hexadecimal(sequence[1:]) or match[0]
        if sequence[0] == ".":
            return _formatted(sequence[1:3].lower(), sequence[3:]) or ("" if _silent(sequence) else match[0])
        return match[0]

    def _from_hexadecimal(self, digits: str) -> str:
        try:
            return without_controls(bytes.fromhex(digits).decode(self.charset))
        except ValueError:  # odd digits, no hexadecimal digits, or bytes that are no text in this charset
            return ""

    def escape(self, text: str) -> str:
        """Encode text as one subcomponent: no character of it can end a segment, field or frame.

        Line breaks of every kind become `\\.br\\`; other control characters, which HL7 forbids, a space.
        """
        if text == _NULL:
            return f"{self.escape_character}X2222{self.escape_character}"
        mark = self.escape_character
        table = {
            ord(self.escape_character): f"{mark}E{mark}",
            ord(self.field_separator): f"{mark}F{mark}",
            ord(self.component): f"{mark}S{mark}",
            ord(self.repetition): f"{mark}R{mark}",
            ord(self.subcomponent): f"{mark}T{mark}",
            ord("\n"): f"{mark}.br{mark}",
        }
        return _CONTROL.sub(" ", _BREAK.sub("\n", text)).translate(table)


def _formatted(command: str, argument: str) -> str:
    """The white space of a formatting command (v2.5.1 section 2.7.6); empty when it makes none."""
    digits = argument.strip().lstrip("+")
    # A count comes from the sender: without a bound, `\.sp999999999\` is a memory bomb.
    count = min(int(digits), 99) if digits.isascii() and digits.isdigit() else 1
    if command in {"br", "ce"}:
        return "\n"
    if command == "sp":
        return "\n" * count
    return " " * count if command == "sk" else ""


def _silent(sequence: str) -> bool:
    return sequence[1:3].lower() in {"in", "ti", "fi", "nf", "sp", "sk"}


def without_controls(text: str) -> str:
    """Text in which control characters, but for tab and line ends, are shown as U+FFFD.

    NUL and its kin are refused by databases and by FHIR strings; dropped without a trace they would
    hide that something stood there.
    """
    return _CONTROL.sub("\ufffd", text)


def decode(raw: bytes, declared: str, override: str = "") -> tuple[str, str]:
    """Decode a message: the text, and the name of the Python codec that read it.

    declared: MSH-18 with its repetitions separated by `~`. Empty or ASCII says nothing: UTF-8 if the
    bytes are UTF-8, else ISO 8859-1. Declared ISO 8859 that holds C1 controls, which no such text
    does, is really UTF-8 or Windows-1252. override: the codec of a sender that lies.

    Raises NotHl7 when the bytes are not in the declared character set, or the set is unknown and
    the bytes are not plain ASCII.
    """
    if override:
        codec = codec_name(override)
        if codec is None:
            raise ValueError(f"{override!r} is no known character set; write for example UTF-8 or 8859/1")
        return _strictly(raw, codec or "utf-8"), codec or "utf-8"
    names = [codec_name(name) for name in declared.split("~")]
    codec = next((name for name in names if name), None if None in names else "")
    if codec is None:
        if raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii"), "ascii"
        raise NotHl7(
            f"MSH-18 names a character set that is not known; {OVERRIDE_ADVICE}", location="MSH-18", code=103
        )
    if not codec:
        return _first_that_reads(raw, "utf-8", "iso8859-1")
    text = _strictly(raw, codec)
    if codec.startswith("iso8859") and _C1.search(text):
        return _first_that_reads(raw, "utf-8", "cp1252" if codec == "iso8859-1" else codec, codec)
    return text, codec


def codec_name(name: str) -> str | None:
    """The Python codec of one MSH-18 spelling; empty when it says nothing, None when it is not known."""
    plain = re.sub(r"[^A-Z0-9]", "", name.upper())
    plain = plain[3:] if plain.startswith("ISO") else plain
    if plain in _SAYS_NOTHING:
        return ""
    part = re.fullmatch(r"8859([1-9]|1[013456])", plain)
    return f"iso8859-{part[1]}" if part else _CODECS.get(plain)


def _strictly(raw: bytes, codec: str) -> str:
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as error:
        # `from None`: the chained error would carry the message's bytes into a traceback.
        at = error.start
    raise NotHl7(
        f"MSH-18: byte {at} of the message is not {codec}; have the sender mend it, or {OVERRIDE_ADVICE}",
        location="MSH-18",
    ) from None


def _first_that_reads(raw: bytes, *codecs: str) -> tuple[str, str]:
    for codec in codecs[:-1]:
        try:
            return raw.decode(codec), codec
        except UnicodeDecodeError:
            continue
    return raw.decode(codecs[-1]), codecs[-1]
