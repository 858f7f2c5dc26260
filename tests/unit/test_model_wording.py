"""What the guard writes in four languages reads back to exactly what it was written of."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from model.facts import CATALOGUE, MEASURED, ORGANS, PLEURA, SIDES, SIZED, SIZES, ZONED, ZONES, Finding
from model.headings import organ_in, title_in
from model.sections import TITLES
from model.statements import Statement, speaks_of_prior, statements_of
from model.wording import LANGUAGES, absent, concluded, nothing, organ_normal, present, wording

NAMES = tuple(finding.name for finding in CATALOGUE)


def particulars(finding: Finding) -> list[tuple[tuple[str, ...], str, str, float | None]]:
    """Every (sides, size, zone, millimetres) that a report can tell of a finding."""
    sides = ((), *((side,) for side in SIDES), SIDES) if finding.lateral else ((),)
    sizes = ("", *SIZES) if finding.name in SIZED else ("",)
    zones = ("", *ZONES) if finding.name in ZONED else ("",)
    lengths = (None, 8.0, 12.0, 30.0) if finding.name in MEASURED else (None,)
    return list(product(sides, sizes, zones, lengths))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("finding", CATALOGUE, ids=lambda one: one.name)
def test_what_is_stated_reads_back(finding: Finding, language: str) -> None:
    """Every side, size, zone and length, in the Findings and in the Impression; no prior is spoken of."""
    for sides, size, zone, length in particulars(finding):
        for phrase in (present, concluded):
            text = phrase(finding.name, sides, language, size, zone, length)
            expected = Statement(finding.name, True, sides, size, zone, length)
            assert statements_of(text, language) == (expected,), text
            assert not speaks_of_prior(text, language), text
            assert text[0] == text[0].upper()
            assert text.endswith(".")
            assert "  " not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_denied_reads_back(language: str) -> None:
    """Every set of findings, each denied once, and nothing stated."""
    for count in range(1, len(NAMES) + 1):
        for names in combinations(NAMES, count):
            said = statements_of(absent(names, language), language)
            assert {one.finding for one in said} == set(names), absent(names, language)
            assert not any(one.present for one in said)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_normal_organ_denies_its_findings_and_no_others(language: str) -> None:
    """But for emphysema: lungs that are clear of lesions can have it."""
    for organ in ORGANS:
        said = statements_of(organ_normal(organ, language), language)
        own = {finding.name for finding in CATALOGUE if finding.organ == organ}
        assert {one.finding for one in said if not one.present} == own - {"emphysema"}
        assert not any(one.present for one in said)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_denies_everything(language: str) -> None:
    """The Impression of a normal chest."""
    said = statements_of(nothing(language), language)
    assert {one.finding for one in said} == set(NAMES)
    assert not any(one.present for one in said)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_title_and_organ_has_a_name_of_its_own(language: str) -> None:
    """Two sections or organs of one name could not be told apart."""
    names = [title_in(title, language) for title in TITLES]
    assert len(set(names)) == len(TITLES)
    assert len({organ_in(organ, language) for organ in ORGANS}) == len(ORGANS)
    assert not any(mark in name for name in names for mark in ":\n")


def test_nothing_to_deny_is_refused() -> None:
    """A sentence about no finding would say nothing."""
    with pytest.raises(ValueError, match="found none"):
        absent((), "en")


def test_an_unknown_language_is_refused() -> None:
    """The error says which there are."""
    with pytest.raises(ValueError, match="en, de, ro, ko"):
        wording("fr")
    with pytest.raises(ValueError, match="en, de, ro, ko"):
        organ_normal(PLEURA, "xx")
