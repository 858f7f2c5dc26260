"""The sections of a draft: a title on a line of its own with a colon, then its text.

Findings:
There is a small left pleural effusion.

Impression:
Small left pleural effusion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

CLINICAL_INFORMATION = "Clinical information"
COMPARISON = "Comparison"
FINDINGS = "Findings"
IMPRESSION = "Impression"
TITLES = (CLINICAL_INFORMATION, COMPARISON, FINDINGS, IMPRESSION)
NO_PRIOR = "No prior available."

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(])")
_ABBREVIATION = re.compile(r"(?:^|\s|\()(?:Dr|Mr|Mrs|Ms|Prof|vs|approx|e\.g|i\.e|ca|No|Fig)\.$")


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


def sentences_of(body: str) -> tuple[str, ...]:
    """The sentences of a body; joined by single spaces they give the body again.

    A full stop inside a number or after a common abbreviation ends no sentence.
    """
    body = " ".join(body.split())
    sentences: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(body):
        if _ABBREVIATION.search(body[start : match.start()]):
            continue
        sentences.append(body[start : match.start()])
        start = match.end()
    if body[start:]:
        sentences.append(body[start:])
    return tuple(sentences)
