"""Grammars that an answer obeys while it is written, as EBNF text (GBNF, rule root). No torch here.

A sentence holds no line break, colon or square bracket, so that no section title can stand inside a section
and an answer always splits into its sections again.
"""

from __future__ import annotations

from collections.abc import Sequence

CUT = "…"
"""Stands where the limit of tokens cut a sentence off, or alone where a section has none."""
SENTENCE_WORDS = 40
"""No sentence has more words; words are counted, for the mask of a long run of characters is slow to make."""
WORD_CHARACTERS = 40
"""No word has more characters, between one decimal point and the next."""
_DECIMALS = 3

# Control, format and private characters, spaces but the plain one, the cut, and all beyond the first plane.
_FORBIDDEN = (
    r"\u0000-\u0020.:\[\]\u007f-\u00a0\u1680\u2000-\u200f\u2026\u2028-\u202f\u205f-\u206f\u3000"
    r"\ue000-\uffff\U00010000-\U0010ffff"
)
_FIRST = r"[0-9A-Z\u00c0-\u00d6\u00d8-\u00de\u0100-\u024f\u0370-\u03ff\u0400-\u04ff\uac00-\ud7a3]"
_SENTENCE = rf"""sentences ::= sentence (" " sentence)*
sentence ::= {_FIRST} rest decimals (" " word decimals){{0,{SENTENCE_WORDS - 1}}} [.\u2026] | "\u2026"
rest ::= [^{_FORBIDDEN}]{{0,{WORD_CHARACTERS - 1}}}
word ::= [^{_FORBIDDEN}]{{1,{WORD_CHARACTERS}}}
decimals ::= ("." [0-9] rest){{0,{_DECIMALS}}}
"""


def report_grammar(organs: Sequence[str], impression: str) -> str:
    """Findings under each organ's label on a line of its own, then the impression under its title.

    Lungs: Sentence. Sentence.
    Heart: Sentence.

    Impression:
    Sentence.

    Labels may be of any language. Raises ValueError when one is empty, stands twice, or holds what a sentence
    may not hold.
    """
    _check_labels(organs, impression)
    title = _literal(f"\n\n{impression}:\n")
    return f"root ::= {_lines(organs)} {title} sentences\n{_SENTENCE}"


def findings_grammar(organs: Sequence[str]) -> str:
    """Findings under each organ's label on a line of its own, and nothing after them.

    Raises ValueError as `report_grammar` does.
    """
    _check_labels(organs[:-1], organs[-1])
    return f"root ::= {_lines(organs)}\n{_SENTENCE}"


def report_parts(text: str, organs: Sequence[str], impression: str) -> tuple[tuple[str, str], ...]:
    """(label, body) of every organ and of the impression, from a text that `report_grammar` let through.

    Raises ValueError for any other text.
    """
    _check_labels(organs, impression)
    findings, found, concluded = text.partition(f"\n\n{impression}:\n")
    lines = findings.split("\n")
    if not found or len(lines) != len(organs) or "\n" in concluded or not concluded:
        raise ValueError(f"expected {len(organs)} organs and an impression, found another form")
    parts = []
    for organ, line in zip(organs, lines, strict=True):
        label, found, body = line.partition(": ")
        if label != organ or not body:
            raise ValueError(f"expected {organ} with its findings on a line, found another line")
        parts.append((organ, body))
    return (*parts, (impression, concluded))


def sentences_grammar() -> str:
    """One sentence or more, joined by single spaces."""
    return f"root ::= sentences\n{_SENTENCE}"


def choice_grammar(options: Sequence[str]) -> str:
    """Exactly one of the options. Raises ValueError when there is none, or one is empty."""
    if not options or not all(options):
        raise ValueError("expected options to choose from, none of them empty")
    return f"root ::= {' | '.join(_literal(option) for option in options)}\n"


def number_grammar(unit: str) -> str:
    """A number from 0 to 9999 with at most two decimals, then a space and its unit; no unit, no space."""
    ending = f" {_literal(f' {unit}')}" if unit else ""
    return f'root ::= ("0" | [1-9] [0-9]{{0,3}}) ("." [0-9]{{1,2}})?{ending}\n'


def _lines(organs: Sequence[str]) -> str:
    return ' "\\n" '.join(f"{_literal(f'{organ}: ')} sentences" for organ in organs)


def _check_labels(organs: Sequence[str], impression: str) -> None:
    labels = [*organs, impression]
    if not organs or len(set(labels)) != len(labels):
        raise ValueError("expected at least one organ, and every label once")
    for label in labels:
        if not label or label != label.strip() or any(c in ":[]" or not c.isprintable() for c in label):
            raise ValueError("expected a label on one line without colon or square brackets")


def _literal(text: str) -> str:
    """A quoted string of EBNF that stands for exactly this text."""
    return f'"{"".join(_escaped(character) for character in text)}"'


def _escaped(character: str) -> str:
    code = ord(character)
    if character.isascii() and character.isprintable() and character not in '"\\':
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
