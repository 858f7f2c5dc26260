"""Where small ends and large begins is learned from depths, with the vision half's own bias."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.facts import HEADS, SIZES
from model.observing import SizeSettings
from training.facts import Fact, FactRecord
from training.sizing import ZONE_BOUNDARY, size_settings

EFFUSION = "pleural effusion"


def settings_of(*known: tuple[str, float], finding: str = EFFUSION, side: str = "left") -> SizeSettings:
    """From findings of a size, each with its depth."""
    records = [FactRecord((Fact(finding, (side,), size=size),)) for size, _ in known]
    depths = np.full((len(known), len(HEADS)), 999.0)
    depths[:, HEADS.index(f"{finding}, {side}")] = [depth for _, depth in known]
    return size_settings(records, depths, HEADS)


def test_a_limit_lies_half_way_between_the_sizes() -> None:
    """Between the deepest small one and the least moderate one, and so on."""
    found = settings_of(
        ("small", 5), ("small", 10), ("moderate", 20), ("moderate", 40), ("large", 50), ("large", 99)
    )
    assert found.depths_mm[EFFUSION] == (15.0, 45.0)
    assert [found.word(EFFUSION, depth) for depth in (14.9, 15.1, 44.9, 45.1)] == [
        "small",
        "moderate",
        "moderate",
        "large",
    ]
    assert found.zone_boundary == ZONE_BOUNDARY


def test_a_limit_that_cannot_part_them_errs_least() -> None:
    """One moderate finding of little depth does not pull the limit below many small ones."""
    small = [("small", float(depth)) for depth in range(10, 20)]
    moderate = [("moderate", float(depth)) for depth in range(25, 35)]
    found = settings_of(*small, ("moderate", 11.5), *moderate, ("large", 60.0))
    assert found.depths_mm[EFFUSION][0] == 22.0


def test_each_finding_has_limits_of_its_own_and_both_sides_count() -> None:
    """Only the depth of the head that is named is looked at."""
    records = [
        FactRecord(
            (Fact(EFFUSION, ("right", "left"), size="small"), Fact("pneumothorax", ("left",), "large"))
        ),
        FactRecord((Fact(EFFUSION, ("right",), size="moderate"),)),
    ]
    depths = np.zeros((2, len(HEADS)))
    depths[0, HEADS.index("pleural effusion, right")] = 10
    depths[0, HEADS.index("pleural effusion, left")] = 20
    depths[1, HEADS.index("pleural effusion, right")] = 30
    assert size_settings(records, depths, HEADS).depths_mm[EFFUSION][0] == 25.0


def test_without_examples_the_settings_can_be_read_again() -> None:
    """A run of the tests has few phantoms: its folder must load all the same."""
    for found in (settings_of(), settings_of(("small", 7.0)), settings_of(("large", 7.0))):
        assert SizeSettings.from_json(found.to_json()) == found


@given(st.lists(st.tuples(st.sampled_from(SIZES), st.floats(0.5, 200)), max_size=30))
def test_limits_are_in_order_whatever_was_measured(known: list[tuple[str, float]]) -> None:
    """Small never ends above where large begins, and drafter.json takes them."""
    small, large = settings_of(*known).depths_mm[EFFUSION]
    assert 0 < small <= large
    assert SizeSettings.from_json(settings_of(*known).to_json())
