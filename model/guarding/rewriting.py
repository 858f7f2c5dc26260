"""The phrases that the guard writes in place of what does not hold: what the readings say. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from model.facts import CATALOGUE, MEASURED, SIZED, ZONED, head_name
from model.guarding.faults import sides_of
from model.readings import HeadReading, Readings
from model.wording import absent, organ_normal

Phrase = Callable[..., str]
"""model.wording.present or concluded: (finding, sides, language, size, zone, millimetres) -> sentence."""


def findings_in(organ: str) -> tuple[str, ...]:
    """The findings of the catalogue that are told under an organ, in order."""
    return tuple(finding.name for finding in CATALOGUE if finding.organ == organ)


def stated(
    missing: Iterable[str], true: Collection[str], readings: Readings, language: str, phrase: Phrase
) -> list[str]:
    """A sentence for each finding of the heads in `missing`; both sides share one where all else is equal."""
    heads = frozenset(missing)
    sentences = []
    for finding in (one.name for one in CATALOGUE):
        alike: dict[tuple[str, str, int | None], list[str]] = {}
        for side in sides_of(finding, heads & frozenset(true)):
            alike.setdefault(_particulars(finding, readings[head_name(finding, side)]), []).append(side)
        for (size, zone, millimetres), sides in alike.items():
            sided = tuple(side for side in sides if side)
            sentences.append(phrase(finding, sided, language, size=size, zone=zone, millimetres=millimetres))
    return sentences


def denied(findings: Collection[str], organ: str, language: str) -> list[str]:
    """A sentence that denies these findings of an organ, or none."""
    own = tuple(finding for finding in findings_in(organ) if finding in findings)
    if not own:
        return []
    return [organ_normal(organ, language) if own == findings_in(organ) else absent(own, language)]


def _particulars(finding: str, reading: HeadReading) -> tuple[str, str, int | None]:
    """(size, zone, whole millimetres) that a report tells of a finding; empty or None where not read."""
    measured = finding in MEASURED and reading.millimetres is not None
    return (
        reading.size if finding in SIZED else "",
        reading.zone if finding in ZONED else "",
        max(1, round(reading.millimetres)) if measured and reading.millimetres is not None else None,
    )
