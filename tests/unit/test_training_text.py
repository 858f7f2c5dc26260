"""Wordings say what the record says, in every language and split, and reading gets it back."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.facts import BY_NAME, CATALOGUE, ORGANS, SIDES
from model.sections import read_report
from model.statements import speaks_of_prior
from model.wording import LANGUAGES
from training.facts import LARGEST_MM, SMALLEST_MM, Fact, FactRecord, draw, draw_fact
from training.reading import contradictions, read_record, read_statements
from training.wordings import findings_text, impression_text, order_words, plain_list, report, typing_noise
from training.wordings.composing import expand, wordings_of
from training.wordings.languages import WORDINGS

_ORDER = [finding.name for finding in CATALOGUE]
LEFT_FLUID = FactRecord((Fact("pleural effusion", ("left",), size="small"),))
SEEDS = st.integers(0, 2**32)
LANGUAGE = st.sampled_from(LANGUAGES)


def _sorted(record: FactRecord) -> FactRecord:
    return FactRecord(tuple(sorted(record.facts, key=lambda fact: _ORDER.index(fact.finding))))


def _of(record: FactRecord, organ: str) -> FactRecord:
    return FactRecord(tuple(f for f in _sorted(record).facts if BY_NAME[f.finding].organ == organ))


@given(SEEDS, LANGUAGE, st.booleans())
def test_a_report_states_its_record_by_organ_and_in_its_impression(
    seed: int, language: str, held_out: bool
) -> None:
    """Every fact is there with side, size, zone and millimetres, under its organ, and no prior is made up."""
    rng = np.random.default_rng(seed)
    record = draw(rng)
    organs, impression = read_report(report(record, rng, language, held_out), language)
    assert [organ for organ, _ in organs] == list(ORGANS)
    for organ, body in organs:
        assert read_record([body], language) == _of(record, organ), body
    assert read_record([impression], language) == _sorted(record), impression
    bodies = [*(body for _, body in organs), impression]
    assert not contradictions(bodies[:-1], language)
    assert not any(speaks_of_prior(body, language) for body in bodies)


@given(SEEDS, LANGUAGE, st.booleans())
def test_what_is_absent_is_denied_where_it_would_stand(seed: int, language: str, held_out: bool) -> None:
    """Each absent finding of an organ, but for emphysema, which lungs without lesions can have."""
    rng = np.random.default_rng(seed)
    record = draw(rng)
    organs, _ = read_report(report(record, rng, language, held_out), language)
    there = {fact.finding for fact in record.facts}
    for organ, body in organs:
        own = {finding.name for finding in CATALOGUE if finding.organ == organ}
        denied = {said.finding for said in read_statements([body], language) if not said.present}
        assert denied - {"emphysema"} == own - there - {"emphysema"}, body


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("finding", _ORDER)
def test_every_wording_of_a_finding_reads_back(finding: str, held_out: bool, language: str) -> None:
    """One by one, on either side or on both, each wording states exactly its fact."""
    words = WORDINGS[language]
    rng = np.random.default_rng(0)
    for pools, both in ((words.present, words.both), (words.concluded, words.concluded_both)):
        for patterns, sides in ((pools[finding], SIDES[:1]), (both.get(finding, ()), SIDES)):
            for text in wordings_of(patterns, held_out) if patterns else ():
                fact = draw_fact(rng, finding, sides)
                side = words.sides[sides[0]][0] if len(sides) == 1 else ""
                size = words.sizes[fact.size][-1] if fact.size else ""
                zone = words.zones[fact.zone][-1] if fact.zone else ""
                said = text.format(side=side, size=size, zone=zone, mm=fact.millimetres)
                assert read_record([said], language) == FactRecord((fact,)), said


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_finding_has_a_hundred_wordings(language: str) -> None:
    """Of its own sentences, before sides, sizes and numbers are filled in."""
    for finding, patterns in WORDINGS[language].present.items():
        assert len({text for pattern in patterns for text in expand(pattern)}) >= 100, finding


@pytest.mark.parametrize("language", LANGUAGES)
def test_training_and_held_out_wordings_are_apart(language: str) -> None:
    """No sentence of a finding is in both, and neither is empty."""
    for patterns in WORDINGS[language].present.values():
        trained, kept = set(wordings_of(patterns, False)), set(wordings_of(patterns, True))
        assert trained
        assert kept
        assert not trained & kept


@pytest.mark.parametrize("language", LANGUAGES)
def test_orders_of_the_two_splits_are_apart(language: str) -> None:
    """Words of an order that training never saw."""
    words = WORDINGS[language]
    for patterns in (words.questions, words.histories):
        assert not set(wordings_of(patterns, False)) & set(wordings_of(patterns, True))


def test_orders_do_not_depend_on_the_record() -> None:
    """An order is drawn without being told what the image shows: it cannot be learned from."""
    for language in LANGUAGES:
        drawn = {order_words(np.random.default_rng(seed), language) for seed in range(50)}
        assert len(drawn) > 30
        assert {one.language for one in drawn} == {language}


@given(SEEDS, LANGUAGE)
def test_the_parts_of_a_report_are_its_texts(seed: int, language: str) -> None:
    """Findings and Impression, asked for alone, state the same record."""
    record = draw(np.random.default_rng(seed))
    findings = findings_text(record, np.random.default_rng(seed), language)
    assert read_record(findings.splitlines(), language) == _sorted(record)
    impression = impression_text(record, np.random.default_rng(seed), language)
    assert read_record([impression], language) == _sorted(record)


@given(SEEDS, LANGUAGE)
def test_a_slip_changes_no_side_number_or_denial(seed: int, language: str) -> None:
    """Whatever is mistyped: what it says of the sides and the numbers, and what it denies, stays."""
    rng = np.random.default_rng(seed)
    text = findings_text(draw(rng), rng, language)
    typed = typing_noise(text, rng)
    assert abs(len(typed) - len(text)) <= 1
    assert re.findall(r"\d+", typed) == re.findall(r"\d+", text)
    kept = (
        r"(?i)\b(?:right|left|bilateral\w*|rechts\w*|links\w*|beidseit\w*|drept\w*|stâng\w*|moderat\w*"
        r"|superior|inferior|mittelgro\w*|without|fără)\b"
    )
    assert re.findall(kept, typed) == re.findall(kept, text)


@given(SEEDS)
def test_the_plain_list_states_its_record(seed: int) -> None:
    """What is seen stands in the first line, with everything known of it, and the rest in the second."""
    record = draw(np.random.default_rng(seed))
    seen, unseen = plain_list(record).split("\n")
    if record.facts:
        assert read_record([seen.removeprefix("Seen: ")]) == _sorted(record)
    names = {fact.finding for fact in record.facts}
    assert all((name in unseen) is (name not in names) for name in _ORDER)


def test_wordings_vary() -> None:
    """The same record is worded in many ways in every language."""
    for language in LANGUAGES:
        texts = {report(LEFT_FLUID, np.random.default_rng(seed), language) for seed in range(40)}
        assert len(texts) >= 30


def test_a_nodule_has_a_diameter_and_nothing_else_has() -> None:
    """Whole millimetres, from the smallest to the largest that is drawn."""
    rng = np.random.default_rng(3)
    drawn = [draw_fact(rng, "pulmonary nodule").millimetres for _ in range(400)]
    assert (min(drawn), max(drawn)) == (SMALLEST_MM, LARGEST_MM)
    others = [name for name in _ORDER if name != "pulmonary nodule"]
    assert all(draw_fact(rng, name).millimetres is None for name in others)


def test_a_contradiction_is_found() -> None:
    """A finding that is both stated and denied is named, in every language."""
    assert contradictions(["There is a left pleural effusion. No pleural effusion."]) == {"pleural effusion"}
    assert contradictions(["Pneumothorax links. Kein Pneumothorax."], "de") == {"pneumothorax"}
