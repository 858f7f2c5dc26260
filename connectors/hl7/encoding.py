"""Delimiters and escape sequences of HL7 v2 (v2.5.1 sections 2.5.4 and 2.7). Pure."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field
from functools import lru_cache

from connectors.errors import Malformed

_NULL = '""'
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ALLOWED = frozenset(string.punctuation) - {'"'}


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
        return _encoding(everything[:5], "utf-8")

    def reading(self, charset: str) -> Encoding:
        """The same delimiters with the codec that the message was read with."""
        delimiters = (self.field_separator, self.component, self.repetition)
        return _encoding("".join((*delimiters, self.escape_character, self.subcomponent)), charset)

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
            # Which order the bytes of UTF-16 have in hexadecimal is nowhere said: \X0D\ is what is written.
            codec = "utf-8" if self.charset.startswith(("utf-16", "utf-32")) else self.charset
            return without_controls(bytes.fromhex(digits).decode(codec))
        except ValueError:  # odd digits, no hexadecimal digits, or bytes that are no text in this charset
            return ""

    def escape(self, text: str) -> str:
        """Encode text as one subcomponent: no character of it can end a segment, field or frame.

        Line breaks of every kind become `\\.br\\`; other control characters, which HL7 forbids, a space.
        """
        if text.isalnum() or not text:
            return text
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


@lru_cache(maxsize=64)
def _encoding(delimiters: str, charset: str) -> Encoding:
    """One for all messages of a sender: its pattern costs as much as the rest of a small message."""
    separator, component, repetition, escape_character, subcomponent = list(delimiters)
    return Encoding(separator, component, repetition, escape_character, subcomponent, charset)


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
