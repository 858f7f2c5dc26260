"""The sections of a draft: a title on a line of its own with a colon, then its text.

Findings:
There is a small left pleural effusion.

Impression:
Small left pleural effusion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from model.facts import ORGANS
from model.headings import organ_in, title_in
from model.wording import wording

PROCEDURE = "Procedure"
CLINICAL_INFORMATION = "Clinical information"
COMPARISON = "Comparison"
FINDINGS = "Findings"
IMPRESSION = "Impression"
TITLES = (PROCEDURE, CLINICAL_INFORMATION, COMPARISON, FINDINGS, IMPRESSION)

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+(?=[A-Z0-9(ÄÖÜĂÂÎȘȚ가-힣])")


def build(sections: Iterable[tuple[str, str]]) -> str:
    """Text of (title, body) pairs; whitespace inside a body becomes single spaces.

    Raises ValueError when a title holds a line break or a colon, or a body would read as a title.
    """
    parts = []
    pairs = [(title, " ".join(body.split())) for title, body in sections]
    titles = {title for title, _ in pairs}
    for title, body in pairs:
        if not title.strip() or title != title.strip() or any(c in title for c in "\r\n:"):
            raise ValueError("expected a section title of one line without a colon")
        if body.endswith(":") and body[:-1].rstrip() in titles:
            raise ValueError(f"expected text in section {title}, found a section title")
        parts.append(f"{title}:\n{body}")
    return "\n\n".join(parts)


def split(text: str, titles: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(title, body) pairs in the order in which they stand; words before the first title are left out.

    A title counts only on a line of its own, and only the given titles count; of a title that stands
    twice the bodies stay two pairs.
    """
    known = {f"{title}:": title for title in titles}
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if (title := known.get(line.strip())) is not None:
            found.append((title, []))
        elif found:
            found[-1][1].append(line)
    return tuple((title, " ".join(" ".join(lines).split())) for title, lines in found)


def sentences_of(body: str, language: str = "en") -> tuple[str, ...]:
    """The sentences of a body; joined by single spaces they give the body again.

    A full stop inside a number or after a common abbreviation of the language ends no sentence.
    """
    body = " ".join(body.split())
    abbreviation = _abbreviation(language)
    sentences: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(body):
        if abbreviation.search(body[start : match.start()]):
            continue
        sentences.append(body[start : match.start()])
        start = match.end()
    if body[start:]:
        sentences.append(body[start:])
    return tuple(sentences)


def read_report(text: str, language: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """((organ, body), ...) of the Findings and the body of the Impression, from what the decoder writes.

    Organs are canonical and stand each once, in the order of the report, with an empty body where the text
    has no line of theirs; words outside every organ are left out. The Impression is empty where its title
    is missing.
    """
    told, _, rest = text.partition(f"\n{title_in(IMPRESSION, language)}:\n")
    bodies: dict[str, list[str]] = {organ: [] for organ in ORGANS}
    labels = {organ_in(organ, language): organ for organ in ORGANS}
    for line in told.splitlines():
        label, found, body = line.strip().partition(":")
        if found and label in labels:
            bodies[labels[label]].append(body)
    organs = tuple((organ, " ".join(" ".join(lines).split())) for organ, lines in bodies.items())
    return organs, " ".join(rest.split("\n\n", 1)[0].split())


@cache
def _abbreviation(language: str) -> re.Pattern[str]:
    words = "|".join(wording(language).reading.abbreviations)
    return re.compile(rf"(?:^|\s|\()(?:{words})\.$")
