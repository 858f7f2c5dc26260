"""Templates say what the record says, and reading gets it back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from training.templates import clinical_context, house_report, plain_list

from model.facts import CATALOGUE
from model.sections import FINDINGS, IMPRESSION, split
from training.facts import Fact, FactRecord, draw
from training.reading import contradictions, read_record

_ORDER = [finding.name for finding in CATALOGUE]
LEFT_FLUID = FactRecord((Fact("pleural effusion", ("left",), size="small"),))


def _sorted(record: FactRecord) -> FactRecord:
    return FactRecord(tuple(sorted(record.facts, key=lambda fact: _ORDER.index(fact.finding))))


@given(st.integers(0, 2**32))
def test_a_report_states_its_record_in_both_sections(seed: int) -> None:
    """Read back from Findings and from Impression, every fact is there with side, size and zone."""
    rng = np.random.default_rng(seed)
    record = draw(rng)
    sections = dict(split(house_report(record, rng), (FINDINGS, IMPRESSION)))
    assert read_record([sections[FINDINGS]]) == _sorted(record)
    assert read_record([sections[IMPRESSION]]) == _sorted(record)
    assert not contradictions([sections[FINDINGS]])


@given(st.integers(0, 2**32))
def test_the_plain_list_states_its_record(seed: int) -> None:
    """What is seen stands in the first line, with everything known of it, and the rest in the second."""
    record = draw(np.random.default_rng(seed))
    seen, unseen = plain_list(record).split("\n")
    if record.facts:
        assert read_record([seen.removeprefix("Seen: ")]) == _sorted(record)
    names = {fact.finding for fact in record.facts}
    assert all((name in unseen) is (name not in names) for name in _ORDER)


def test_wordings_vary() -> None:
    """The same record is worded in several ways."""
    assert len({house_report(LEFT_FLUID, np.random.default_rng(seed)) for seed in range(40)}) >= 4


def test_contexts_do_not_depend_on_the_record() -> None:
    """An order is drawn without being told what the image shows: it cannot be learned from."""
    assert len({clinical_context(np.random.default_rng(seed)) for seed in range(50)}) > 30


def test_a_contradiction_is_found() -> None:
    """A finding that is both stated and denied is named."""
    assert contradictions(["There is a left pleural effusion. No pleural effusion."]) == {"pleural effusion"}
