"""What the language half learns from says exactly its record, in many words, and keeps some for the test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.facts import BY_NAME, CATALOGUE, ORGANS, SIZED, SIZES, ZONED, ZONES
from model.sections import read_report
from model.statements import speaks_of_prior, statements_of
from model.study import ClinicalContext
from model.wording import LANGUAGES
from training.facts import LARGEST_MM, SMALLEST_MM, Fact, FactRecord, draw, draw_fact
from training.reading import contradictions, read_record, read_statements
from training.wordings import findings_text, impression_text, order_words, plain_list, report, typing_noise
from training.wordings.composing import Wordings, expand, wordings_of
from training.wordings.languages import WORDINGS

RECORDS = 500
"""Of each language, and of the wordings that training sees and of those that it does not: 4000 in all."""
WORDINGS_EACH = 100


def bodies(text: str, language: str) -> list[str]:
    return [body for _, body in read_report(text, language)[0]]


def pools(words: Wordings, finding: str) -> Iterator[tuple[str, ...]]:
    for pool in (words.present, words.both, words.concluded, words.concluded_both):
        if finding in pool:
            yield pool[finding]


def filled(words: Wordings, finding: str, templates: Sequence[str]) -> set[str]:
    """Every text of some wordings, with each word for a side, a size and a zone; of one length."""
    sides = [one for side in words.sides.values() for one in side]
    sizes = [one for size in SIZES for one in words.sizes[size]] if finding in SIZED else [""]
    zones = [one for zone in ZONES for one in words.zones[zone]] if finding in ZONED else [""]
    return {
        template.format(side=side, size=size, zone=zone, mm=12)
        for template, side, size, zone in product(templates, sides, sizes, zones)
    }


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_is_read_back_as_its_record(language: str, held_out: bool) -> None:
    """Of hundreds of chests: side, size, zone and millimetres in both sections, and nothing contradicted."""
    for seed in range(RECORDS):
        rng = np.random.default_rng(seed)
        record = draw(rng)
        text = report(record, rng, language, held_out)
        organs, impression = read_report(text, language)
        told = [body for _, body in organs]
        assert [organ for organ, _ in organs] == list(ORGANS)
        for organ, body in organs:
            own = FactRecord(tuple(f for f in record.facts if BY_NAME[f.finding].organ == organ))
            assert read_record([body], language) == own, text
            assert not speaks_of_prior(body, language), text
        assert read_record(told, language) == record, text
        assert read_record([impression], language) == record, text
        assert not speaks_of_prior(impression, language), text
        assert not contradictions([*told, impression], language), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_not_there_is_denied(language: str) -> None:
    """Every finding but emphysema, of which nothing is said where it is not; nothing else is denied."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        record = draw(rng)
        there = {fact.finding for fact in record.facts} | {"emphysema"}
        for organ, body in read_report(report(record, rng, language), language)[0]:
            own = {finding.name for finding in CATALOGUE if finding.organ == organ}
            denied = {one.finding for one in read_statements([body], language) if not one.present}
            assert denied == own - there, body


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("finding", BY_NAME)
def test_every_single_wording_says_its_finding(language: str, finding: str) -> None:
    """Not only those that chance draws: one fact in each wording of the language, seen or kept back."""
    words = WORDINGS[language]
    for held_out, pool in product((False, True), pools(words, finding)):
        for template in wordings_of(pool, held_out):
            sided = "{side}" in template
            text = template.format(
                side=words.sides["left"][0],
                size=words.sizes["moderate"][0],
                zone=words.zones["lower"][0],
                mm=12,
            )
            record = read_record([text], language)
            (fact,) = record.facts
            assert fact.finding == finding, text
            lateral = BY_NAME[finding].lateral
            assert fact.sides == (("left",) if sided else ("right", "left") if lateral else ()), text
            assert fact.size == ("moderate" if finding in SIZED else ""), text
            assert fact.zone == ("lower" if finding in ZONED else ""), text
            assert fact.millimetres == (12 if finding == "pulmonary nodule" else None), text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("finding", BY_NAME)
def test_a_finding_has_a_hundred_wordings(language: str, finding: str) -> None:
    """Sentences of the Findings, even before sides, sizes, zones and lengths are filled in."""
    words = WORDINGS[language]
    templates = {text for pattern in words.present[finding] for text in expand(pattern)}
    assert len(templates) >= WORDINGS_EACH
    assert len(filled(words, finding, sorted(templates))) >= len(templates)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("finding", BY_NAME)
def test_no_wording_is_both_learned_and_tested(language: str, finding: str) -> None:
    """Filled in as well, none of what the Findings say in the test has been seen; and no side is empty."""
    words = WORDINGS[language]
    for pool in (words.present, words.both):
        if finding in pool:
            seen, kept = (filled(words, finding, wordings_of(pool[finding], held)) for held in (False, True))
            assert seen
            assert kept
            assert not seen & kept


@pytest.mark.parametrize("language", LANGUAGES)
def test_slips_of_the_keyboard_change_no_fact(language: str) -> None:
    """A word may become unreadable; no finding, side, size or denial comes from it that was not there."""
    slipped = 0
    for seed in range(1500 if language != "ko" else 50):
        rng = np.random.default_rng(seed)
        text = findings_text(draw(rng), rng, language)
        noisy = typing_noise(text, rng)
        slipped += noisy != text
        assert re.findall(r"\d+", noisy) == re.findall(r"\d+", text)
        before, after = (bodies(one, language) for one in (text, noisy))
        record = {fact.finding: fact for fact in read_record(before, language).facts}
        for fact in read_record(after, language).facts:
            was = record[fact.finding]
            assert set(fact.sides) <= set(was.sides), noisy
            assert fact.size in ("", was.size), noisy
            assert fact.zone in ("", was.zone), noisy
            assert fact.millimetres in (None, was.millimetres), noisy
        denied = {one.finding for one in read_statements(after, language) if not one.present}
        assert not denied & set(record), noisy
    # Korean has no long words in small letters.
    assert (slipped > 0) is (language != "ko")


@pytest.mark.parametrize(
    "word", ["kleiner", "moderate", "bilateral", "rechten", "superior", "fehlende", "without", "lichid"]
)
def test_a_word_that_decides_is_typed_right(word: str) -> None:
    """A side, a size, a zone, a denial, and a short word stay whatever the slip."""
    assert {typing_noise(word, np.random.default_rng(seed)) for seed in range(40)} == {word}


def test_a_slip_is_a_letter_swapped_doubled_or_left_out() -> None:
    """One word of a text is changed in one place."""
    slips = {typing_noise("x consolidation.", np.random.default_rng(seed)) for seed in range(200)}
    assert len(slips) > 20
    assert {len(one) - len("x consolidation.") for one in slips} == {-1, 0, 1}
    assert all(one.startswith("x c") and one.endswith("n.") for one in slips)


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_the_plain_list_states_its_record(seed: int) -> None:
    """What is seen stands in the first line, with everything known of it, and the rest in the second."""
    record = draw(np.random.default_rng(seed))
    seen, unseen = plain_list(record).split("\n")
    if record.facts:
        assert read_record([seen.removeprefix("Seen: ")]) == record
    names = {fact.finding for fact in record.facts}
    assert all((finding.name in unseen) is (finding.name not in names) for finding in CATALOGUE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_record_is_worded_in_many_ways(language: str) -> None:
    """Drawn again, a record rarely gets the same words."""
    record = FactRecord((Fact("pleural effusion", ("left",), size="small"), Fact("cardiomegaly")))
    texts = {findings_text(record, np.random.default_rng(seed), language) for seed in range(40)}
    assert len(texts) >= 30
    assert len({impression_text(record, np.random.default_rng(seed), language) for seed in range(40)}) >= 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_order_knows_nothing_of_the_record(language: str) -> None:
    """It is drawn without being told what the image shows, and the test's orders are in other words."""
    rng = np.random.default_rng(0)
    seen = [order_words(rng, language) for _ in range(200)]
    assert len(set(seen)) > 100
    assert {one.language for one in seen} == {language}
    assert {one.modality for one in seen} == {"CT"}
    kept = [order_words(rng, language, held_out=True) for _ in range(200)]
    for field in ("clinical_question", "history"):
        questions, others = ({getattr(one, field) for one in orders} for orders in (seen, kept))
        assert not (questions & others) - {""}
        assert len(others) > 1


def test_orders_name_findings_that_are_not_there() -> None:
    """Or nothing would teach the language half that an order says nothing of the image."""
    rng = np.random.default_rng(1)
    orders: list[ClinicalContext] = [order_words(rng, "en") for _ in range(200)]
    named = {
        one.finding
        for order in orders
        for field in (order.clinical_question, order.history)
        for one in statements_of(field)
    }
    assert len(named) >= 5


def test_a_nodule_has_a_diameter_and_nothing_else_has() -> None:
    """Whole millimetres, from the smallest to the largest that is drawn."""
    rng = np.random.default_rng(3)
    drawn = {draw_fact(rng, "pulmonary nodule").millimetres for _ in range(400)}
    assert drawn == set(range(SMALLEST_MM, LARGEST_MM + 1))
    assert {draw_fact(rng, name).millimetres for name in BY_NAME if name != "pulmonary nodule"} == {None}


def test_a_contradiction_is_found() -> None:
    """A finding that is both stated and denied is named, in its language."""
    assert contradictions(["There is a left pleural effusion. No pleural effusion."]) == {"pleural effusion"}
    assert contradictions(["Pneumothorax links. Kein Pneumothorax."], "de") == {"pneumothorax"}
    assert contradictions(["Small left effusion. No pneumothorax."]) == set()
