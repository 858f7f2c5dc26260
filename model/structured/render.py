"""Writes a filled template as plain text, and as HTML in which all words are escaped. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby

from model.prompt_words import LANGUAGES, prompt_words
from model.structured.template import TEXT, Field
from model.study import Filled, FilledField

Pair = tuple[Field, FilledField]


def as_text(filled: Filled) -> str:
    """Title, then each section with a line for each field, then the notice of the weights."""
    lines = [filled.template.title]
    for section, pairs in _sections(filled):
        lines += ["", *([f"{section}:"] if section else [])]
        lines += [f"{field.label}: {_shown(field, one, filled)}" for field, one in pairs]
    return "\n".join([*lines, "", filled.card.notice])


def as_html(filled: Filled) -> str:
    """A whole HTML5 document of our own markup; the sentence of the report stands as title of its value.

    Nothing of the template's markup is in it, and no word of template or report can become markup.
    """
    template = filled.template
    body = [f"<h1>{escape(template.title)}</h1>"]
    for section, pairs in _sections(filled):
        body.append(f'<section data-section-name="{escape(section)}">')
        body += [f"<h2>{escape(section)}</h2>"] if section else []
        for field, one in pairs:
            why = f' title="{escape(" ".join(one.evidence))}"' if one.evidence else ""
            shown = escape(_shown(field, one, filled))
            identifier = escape(field.identifier)
            body.append(f'<p>{escape(field.label)}: <span id="{identifier}"{why}>{shown}</span></p>')
        body.append("</section>")
    body.append(f"<footer>{escape(filled.card.notice)}</footer>")
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(template.language)}">\n<head>\n<meta charset="UTF-8">\n'
        f"<title>{escape(template.title)}</title>\n"
        f'<meta name="dcterms.identifier" content="{escape(template.identifier)}">\n</head>\n<body>\n'
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _sections(filled: Filled) -> Iterator[tuple[str, list[Pair]]]:
    pairs = zip(filled.template.fields, filled.fields, strict=True)
    for section, group in groupby(pairs, key=lambda pair: pair[0].section):
        yield section, list(group)


def _shown(field: Field, one: FilledField, filled: Filled) -> str:
    language = filled.template.language if filled.template.language in LANGUAGES else filled.language
    if not one.values:
        return prompt_words(language).not_stated
    joined = (" " if field.kind == TEXT else "; ").join(one.values)
    return f"{joined} {field.unit}" if field.unit else joined
