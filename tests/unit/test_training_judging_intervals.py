"""Bootstrap intervals hold what they promise, and the vectorised sums are those of the plain computation."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.judging.intervals import Figure, figure, mean, mean_of_known, median, ratio, weights


def test_the_first_row_counts_every_case_once_and_the_others_draw_as_many() -> None:
    """Row 0 is the figure itself; every resample holds as many cases as there are."""
    weighted = weights(7, seed=3, resamples=50)
    assert weighted.shape == (51, 7)
    assert weighted[0].tolist() == [1.0] * 7
    assert set(weighted.sum(axis=1)) == {7.0}
    assert len({tuple(row) for row in weighted}) > 40


def test_one_seed_gives_one_interval() -> None:
    """The same seed draws the same resamples, another seed others."""
    assert np.array_equal(weights(9, seed=1), weights(9, seed=1))
    assert not np.array_equal(weights(9, seed=1), weights(9, seed=2))


def test_no_case_is_an_error_and_one_case_is_not() -> None:
    """Figures of nothing are not made up."""
    with pytest.raises(ValueError, match="at least one case"):
        weights(0)
    assert weights(1, resamples=2).tolist() == [[1.0]] * 3


def test_an_interval_holds_the_true_share_about_as_often_as_it_says() -> None:
    """Of 200 samples of 150 coins that fall right with 0.8, 95 % intervals hold 0.8 in about 95 of 100."""
    rng = np.random.default_rng(4)
    weighted, held = weights(150, resamples=400), 0
    for _ in range(200):
        found = figure(weighted @ (rng.random(150) < 0.8) / 150, 150)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.8 <= found.high
    assert 0.89 <= held / 200 <= 0.99


def test_more_cases_give_a_narrower_interval() -> None:
    """Ten times the cases: about a third of the width."""

    def width(cases: int) -> float:
        hits = (np.arange(cases) % 5 > 0).astype(np.float64)
        found = figure(weights(cases) @ hits / cases, cases)
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert 0.2 < width(1000) / width(100) < 0.45


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(-50, 50)), min_size=1, max_size=20), st.integers(0, 99)
)
def test_the_weighted_median_is_the_median_of_the_drawn(items: list[tuple[int, float]], seed: int) -> None:
    """In every resample: each item as often as its case was drawn; between the two middle ones of even."""
    weighted = weights(5, seed, resamples=6)
    case = np.array([row for row, _ in items], dtype=np.int64)
    found = median(weighted, np.array([value for _, value in items]), case)
    for row, value in zip(weighted, found, strict=True):
        drawn = [number for at, number in items for _ in range(int(row[at]))]
        if drawn:
            assert value == pytest.approx(statistics.median(drawn))
        else:
            assert np.isnan(value)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(-50, 50)), min_size=1, max_size=20), st.integers(0, 99)
)
def test_the_weighted_mean_is_the_mean_of_the_drawn(items: list[tuple[int, float]], seed: int) -> None:
    """The same of the mean."""
    weighted = weights(5, seed, resamples=6)
    case = np.array([row for row, _ in items], dtype=np.int64)
    found = mean(weighted, np.array([value for _, value in items]), case)
    for row, value in zip(weighted, found, strict=True):
        drawn = [number for at, number in items for _ in range(int(row[at]))]
        assert np.isnan(value) if not drawn else value == pytest.approx(statistics.fmean(drawn), abs=1e-9)


def test_what_was_never_counted_has_no_value() -> None:
    """Nothing of nothing is not 0 and not 1, in JSON it is null; resamples without a count are left out."""
    nothing = figure(ratio(np.zeros(4), np.zeros(4)), 0)
    assert nothing.to_json() == {"value": None, "low": None, "high": None, "of": 0}
    assert figure(np.array([0.5, np.nan, 0.25]), 2) == Figure(0.5, 0.25, 0.25, 2)
    assert mean_of_known(np.array([[np.nan, 1.0, 0.0], [np.nan] * 3]))[0] == 0.5
    assert np.isnan(mean_of_known(np.array([[np.nan] * 3]))).all()
