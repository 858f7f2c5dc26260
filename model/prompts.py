"""What the language half is asked, as a prompt: typed fields, escaped, with an end.

Shared by serving and training. No torch here.

The form is Alpaca's without its preamble, which says nothing that the headings do not and which a small
decoder would have to read every time:

### Instruction:
Write findings and impression of the images.

### Input:
Procedure: CT CHEST
...

### Response:
Findings:

The words of an order, of dictation, of a prior report and of a template are untrusted. They cannot become
special tokens, start a line, a heading or a section, end the prompt, or be endless.
"""

from __future__ import annotations

import unicodedata
from typing import Protocol

from model.prompt_words import LANGUAGES, PromptWords, prompt_words
from model.structured.template import Field
from model.study import ClinicalContext, Unfit
from model.tasks import FACTS, STRUCTURE, task

PROMPT_VERSION = "2"
"""Changes whenever the same context gives another prompt; drafter.json must name the same."""
FIELD_CHARACTERS = 240
"""Longer words of an order are cut."""
FIELD_TOKENS = 64
"""And so are words that a tokenizer breaks into very many tokens."""
PRIOR_CHARACTERS = 480
"""Longer prior reports are cut: their beginning names the study and, in most, what was found."""
PRIOR_TOKENS = 128
OPTIONS_CHARACTERS = 960
"""Longer lists of a template's options are cut; the grammar of the answer still holds all of them."""
OPTIONS_TOKENS = 256
FINDINGS_CHARACTERS = 8000
"""Longer dictated words are refused: what is drawn from a part of them could leave out what matters."""
FINDINGS_TOKENS = 2048
"""And so are words of more tokens."""

_BRACKETS = str.maketrans(
    # As keyboards write them, and every character that compatibility folding (NFKC, NFKD) makes one of them.
    dict.fromkeys("<＜﹤≮", "‹")
    | dict.fromkeys(">＞﹥≯", "›")
    | dict.fromkeys("|｜", "¦")
    | dict.fromkeys("[{［｛﹇﹛︷", "(")
    | dict.fromkeys("]}］｝﹈﹜︸", ")")
    # A heading of the prompt starts with three of these.
    | dict.fromkeys("#＃﹟", "♯")
)
_NOT_CUT = "they are not cut, for what is drawn from a part of them could leave out what matters."
_LONGEST_COMPOSITION = 3
"""Into so many characters NFC can break one (Unicode Standard Annex 15)."""


class Encoder(Protocol):
    """What a prompt needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, in which nothing becomes a special token."""
        ...


def clean(text: str, limit: int = FIELD_CHARACTERS) -> str:
    """Words on one line: control, format and unassigned characters become spaces, and the rest is capped."""
    normal = unicodedata.normalize("NFC", text[: limit * 8])
    shown = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in normal)
    shown = " ".join(shown.split())
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def escape(text: str, limit: int = FIELD_CHARACTERS) -> str:
    """Clean words without the brackets that special tokens are written with and the sign of a heading.

    Nor with characters that look like them and that a tokenizer may fold into them.
    """
    return clean(text, limit).translate(_BRACKETS)


def language_of(context: ClinicalContext, default: str) -> str:
    """The language of the draft: the order's where it is one of LANGUAGES, else the setting.

    Raises ValueError when the setting is none of them.
    """
    prompt_words(default)
    return context.language if context.language in LANGUAGES else default


def fields(context: ClinicalContext, language: str = "en") -> tuple[tuple[str, str], ...]:
    """(name, escaped words) of every field, always in this order, empty ones included."""
    words = prompt_words(language)
    return (
        (words.procedure, escape(context.procedure)),
        (words.question, escape(context.clinical_question)),
        (words.history, escape(context.history)),
        (words.patient, _patient(context, words)),
        (words.prior, escape(context.prior, PRIOR_CHARACTERS)),
    )


def prompt_ids(
    task_name: str,
    context: ClinicalContext,
    language: str,
    encoder: Encoder,
    text: str = "",
    field: Field | None = None,
) -> list[int]:
    """Token ids of the instruction, the fields, one on each line, and the title that the answer starts with.

    1. One sentence says what is wanted.
    2. What the order says, each field capped; not for tasks that do not read it.
    3. The words that a person wrote, for tasks that read them: escaped, and never cut.
    4. Label and options of the template's field, for the task that fills one.
    5. The title, in the language.

    Raises Unfit when the words of step 3 are empty or too long; ValueError when task or language are
    unknown, words are given to a task that reads none, or a field to any task but the one that fills it.
    """
    wanted, words = task(task_name), prompt_words(language)
    if (field is None) is (task_name == STRUCTURE):
        raise ValueError(f"expected a field of a template for the task {STRUCTURE}, and for no other")
    if text and not wanted.text:
        raise ValueError(f"expected no text for the task {task_name}, which reads none")

    # 1. Each part is encoded by itself, so that no token reaches from our words into theirs.
    ids = encoder.encode(f"### Instruction:\n{words.instructions[task_name]}\n\n### Input:\n")

    # 2.
    if wanted.order:
        for name, said in fields(context, language):
            ids += _line(name, said, encoder, PRIOR_TOKENS if name == words.prior else FIELD_TOKENS)

    # 3.
    if wanted.text:
        ids += _dictated(words.titles[wanted.text], text, encoder)

    # 4.
    if field is not None:
        ids += _line(words.field, escape(field.path), encoder, FIELD_TOKENS)
        options = escape("; ".join(field.options) or field.unit, OPTIONS_CHARACTERS)
        ids += _line(words.options, options, encoder, OPTIONS_TOKENS)

    # 5.
    return ids + encoder.encode(f"\n### Response:\n{response_title(task_name, language)}:\n")


def response_title(task_name: str, language: str) -> str:
    """The title with which the prompt ends, in the language, without its colon."""
    words = prompt_words(language)
    wanted = task(task_name)
    if wanted.name == FACTS:
        return words.titles[FACTS]
    return words.titles[wanted.title] if wanted.title else words.value


def procedure_sentence(context: ClinicalContext, language: str = "en") -> str:
    """The procedure as a sentence for the reader: clean, but with its brackets; empty where none is said."""
    prompt_words(language)
    return _sentence("", clean(context.procedure))


def clinical_information(context: ClinicalContext, language: str = "en") -> tuple[str, ...]:
    """What the order asks and tells, as sentences for the reader: clean, but with its brackets."""
    words = prompt_words(language)
    parts = (
        _sentence(f"{words.question}: ", clean(context.clinical_question)),
        _sentence(f"{words.history}: ", clean(context.history)),
    )
    return tuple(part for part in parts if part)


def not_stated(language: str) -> str:
    """The sentence of a section for which the order says nothing."""
    return f"{prompt_words(language).not_stated}."


def _sentence(label: str, words: str) -> str:
    if not words.strip(". "):
        return ""
    return f"{label}{words}{'' if words[-1] in '.?!…' else '.'}"


def _patient(context: ClinicalContext, words: PromptWords) -> str:
    age = context.age_years
    shown = (
        words.sexes.get(context.sex, ""),
        words.age.format(age) if age is not None and 0 <= age <= 130 else "",
    )
    return ", ".join(part for part in shown if part)


def _line(name: str, said: str, encoder: Encoder, tokens: int) -> list[int]:
    """One field on its line; empty fields keep their line, so that the form is always the same."""
    return [
        *encoder.encode(f"{name}:"),
        *(encoder.encode(f" {said}")[:tokens] if said else ()),
        *encoder.encode("\n"),
    ]


def dictated(text: str) -> str:
    """Words that a person wrote, escaped, on one line and whole. Raises Unfit when empty or too long."""
    if len(text) > FINDINGS_CHARACTERS:
        raise Unfit(
            f"Expected dictated words of at most {FINDINGS_CHARACTERS} characters, came more; {_NOT_CUT}"
        )
    words = escape(text, FINDINGS_CHARACTERS * _LONGEST_COMPOSITION)
    if not words:
        raise Unfit("Expected dictated words to write from, came none.")
    return words


def _dictated(title: str, text: str, encoder: Encoder) -> list[int]:
    ids = encoder.encode(f" {dictated(text)}")
    if len(ids) > FINDINGS_TOKENS:
        raise Unfit(f"Expected dictated words of at most {FINDINGS_TOKENS} tokens, came more; {_NOT_CUT}")
    return [*encoder.encode(f"{title}:"), *ids, *encoder.encode("\n")]
