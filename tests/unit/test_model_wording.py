"""Every canonical phrase, in every language, is read back as exactly what it was made to say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, combinations, product

import pytest

from model.facts import BY_NAME, CATALOGUE, HEADS, LEFT, MEASURED, ORGANS, RIGHT, SIZED, SIZES, ZONED, ZONES
from model.guard import guard
from model.headings import organ_in, title_in
from model.readings import HeadReading
from model.sections import TITLES, sentences_of
from model.statements import Statement, speaks_of_prior, statements_of
from model.study import ClinicalContext
from model.wording import LANGUAGES, absent, concluded, nothing, organ_normal, present, wording

LENGTHS = (10, 17, 30)
SIDED = ((RIGHT,), (LEFT,), (RIGHT, LEFT))
PHRASES = (present, concluded)


def whole(finding: str) -> Iterator[Statement]:
    """Everything that can be known of a finding, in each combination."""
    sides = SIDED if BY_NAME[finding].lateral else ((),)
    sizes = SIZES if finding in SIZED else ("",)
    zones = ZONES if finding in ZONED else ("",)
    lengths = LENGTHS if finding in MEASURED else (None,)
    for side, size, zone, length in product(sides, sizes, zones, lengths):
        yield Statement(finding, True, side, size, zone, length)


def partly(finding: str) -> Iterator[Statement]:
    """The same with some of it unknown."""
    sides = (*SIDED, ()) if BY_NAME[finding].lateral else ((),)
    sizes = (*SIZES, "") if finding in SIZED else ("",)
    zones = ("upper", "lower", "") if finding in ZONED else ("",)
    lengths = (12, None) if finding in MEASURED else (None,)
    for side, size, zone, length in product(sides, sizes, zones, lengths):
        yield Statement(finding, True, side, size, zone, length)


def said(phrase: object, one: Statement, language: str) -> str:
    text = phrase(  # type: ignore[operator]
        one.finding, one.sides, language, size=one.size, zone=one.zone, millimetres=one.millimetres
    )
    assert isinstance(text, str)
    return text


def vocabulary(language: str, finding: str) -> set[str]:
    """The words of every phrase of a finding in which everything is known, and of the lung as a whole."""
    sided = [one for one in partly(finding) if one.sides or not BY_NAME[finding].lateral]
    return {
        word
        for one in (*whole(finding), *sided)
        for phrase in PHRASES
        if one.size or finding not in SIZED
        for word in words(said(phrase, one, language))
    }


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("finding", BY_NAME)
def test_a_whole_phrase_is_read_back_as_what_it_says(language: str, finding: str) -> None:
    """Side, size, zone and millimetres come back, each once, from Findings' and Impression's phrase."""
    for one in whole(finding):
        for phrase in PHRASES:
            text = said(phrase, one, language)
            assert statements_of(text, language) == (one,), text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("finding", BY_NAME)
def test_what_is_not_known_leaves_no_broken_words(language: str, finding: str) -> None:
    """One sentence, tidy, of words that stand in whole phrases too, that states exactly what is known."""
    known = vocabulary(language, finding)
    for one in partly(finding):
        for phrase in PHRASES:
            text = said(phrase, one, language)
            assert re.fullmatch(r"[A-ZÄÖÜÎȘȚ가-힣\d][^\[\]{}|]*[^\s,.]\.", text), text
            assert not re.search(r"\s\s|\s[.,]|,\s*[,.]", text), text
            assert set(words(text)) <= known, text
            assert sentences_of(text, language) == (text,)
            assert statements_of(text, language) == (one,), text


@pytest.mark.parametrize(
    ("language", "told"),
    [
        (
            "en",
            (
                "There is consolidation in the left lung.",
                "There is a pulmonary nodule.",
                "Right pleural effusion.",
                "There are bilateral pulmonary nodules.",
            ),
        ),
        (
            "de",
            (
                "Es zeigt sich eine Konsolidierung links.",
                "Es zeigt sich ein Rundherd.",
                "Pleuraerguss rechts.",
                "Es zeigt sich beidseits ein Rundherd.",
            ),
        ),
        (
            "ro",
            (
                "Se evidențiază consolidare la nivel pulmonar stâng.",
                "Se evidențiază un nodul pulmonar.",
                "Revărsat pleural drept.",
                "Se evidențiază un nodul pulmonar la nivel pulmonar bilateral.",
            ),
        ),
        ("ko", ("좌측에 경화가 있음.", "폐결절이 있음.", "우측 흉수.", "양측에 폐결절이 있음.")),
    ],
)
def test_a_phrase_without_particulars_is_a_sentence_of_its_language(
    language: str, told: tuple[str, ...]
) -> None:
    """A zone, a side or a size that is not known goes with the words that it would stand among."""
    assert told == (
        present("consolidation", (LEFT,), language),
        present("pulmonary nodule", (), language),
        concluded("pleural effusion", (RIGHT,), language),
        present("pulmonary nodule", (RIGHT, LEFT), language),
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_denial_denies_exactly_what_it_names(language: str) -> None:
    """Every choice of findings, one by one and all at once."""
    for names in chain.from_iterable(combinations(BY_NAME, count) for count in range(1, len(BY_NAME) + 1)):
        text = absent(names, language)
        assert set(statements_of(text, language)) == {Statement(name, present=False) for name in names}, text
        assert sentences_of(text, language) == (text,)
    with pytest.raises(ValueError, match="found none"):
        absent((), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_normal_organ_denies_its_findings_but_emphysema(language: str) -> None:
    """And the Impression of nothing denies everything."""
    for organ in ORGANS:
        own = {f.name for f in CATALOGUE if f.organ == organ} - {"emphysema"}
        statements = statements_of(organ_normal(organ, language), language)
        assert set(statements) == {Statement(name, present=False) for name in own}
    assert {(s.finding, s.present) for s in statements_of(nothing(language), language)} == {
        (name, False) for name in BY_NAME
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_canonical_phrase_speaks_of_a_prior_or_of_another_organ(language: str) -> None:
    """The guard would take out what it has written itself; nothing that it reads there is at fault."""
    texts = [said(phrase, one, language) for name in BY_NAME for one in whole(name) for phrase in PHRASES]
    texts += [organ_normal(organ, language) for organ in ORGANS]
    texts += [nothing(language), absent(tuple(BY_NAME), language)]
    assert not [text for text in texts if speaks_of_prior(text, language)]
    seen = dict.fromkeys(HEADS, HeadReading(0.99, 3, millimetres=12.0, size="small", zone="upper"))
    for readings in (seen, dict.fromkeys(HEADS, HeadReading(0.01, 3))):
        told = guard((), readings, ClinicalContext(procedure="CT CHEST", sex="male"), language)
        assert {sentence.guarded for sentence in told} == {"rewritten"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_says_everything_in_words_of_its_own(language: str) -> None:
    """Titles, organs, the sentences of the Comparison and the mark of doubt; no two are alike."""
    words_ = wording(language)
    assert words_.code == language
    assert set(words_.titles) == set(TITLES)
    assert set(words_.organs) == set(ORGANS)
    labels = [title_in(title, language) for title in TITLES] + [organ_in(organ, language) for organ in ORGANS]
    assert len(set(labels)) == len(labels)
    for text in (words_.no_prior, words_.prior_available):
        assert statements_of(text, language) == ()
        assert sentences_of(text, language) == (text,)
    assert re.fullmatch(r"\[\w+\]", words_.uncertain)


def test_an_unknown_language_is_refused() -> None:
    """The message says which languages there are."""
    with pytest.raises(ValueError, match="en, de, ro, ko"):
        wording("fr")
