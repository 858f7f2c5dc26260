"""Fitted probabilities are those that the studies were drawn with, and thresholds hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.calibration import (
    coverage_threshold,
    expected_calibration_error,
    fit_calibration,
    risk_coverage,
)


def test_the_scale_and_shift_that_made_the_data_are_found() -> None:
    """Each head by itself, from twenty thousand studies."""
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 3, (20_000, 2))
    true = np.array([[0.5, -1.0], [2.0, 0.7]])
    chance = 1 / (1 + np.exp(-(logits * true[:, 0] + true[:, 1])))
    fitted = fit_calibration(["a", "b"], logits, rng.random(chance.shape) < chance, 0.25)
    np.testing.assert_allclose([fitted.heads["a"], fitted.heads["b"]], true, rtol=0.08, atol=0.08)
    assert fitted.abstain_below == 0.25


def test_fitting_mends_an_overconfident_head() -> None:
    """On studies that were not fitted on, the error of calibration falls below two per cent."""
    rng = np.random.default_rng(8)
    truth = rng.random(6000) < 0.3
    logits = 6 * (rng.normal(0, 1, 6000) + truth)
    fitted = fit_calibration(["a"], logits[:3000, None], truth[:3000, None])
    before = 1 / (1 + np.exp(-logits[3000:]))
    after = [fitted.calibrated("a", x) for x in logits[3000:]]
    assert expected_calibration_error(before, truth[3000:]) > 0.15
    assert expected_calibration_error(after, truth[3000:]) < 0.03


def test_a_head_without_an_error_is_not_endlessly_sure() -> None:
    """Platt's targets keep the probability at what the number of studies can show."""
    logits = np.array([[-9.0]] * 20 + [[9.0]] * 10)
    fitted = fit_calibration(["a"], logits, logits > 0)
    assert fitted.calibrated("a", 9.0) == pytest.approx(11 / 12, abs=1e-3)
    assert fitted.calibrated("a", -9.0) == pytest.approx(1 / 22, abs=1e-3)


@pytest.mark.parametrize("logits", [[3.0, -3.0, 2.0, -2.0], [1.0, 1.0, 1.0, 1.0]])
def test_a_head_that_knows_nothing_says_how_often_the_finding_is(logits: list[float]) -> None:
    """Whether its logit is turned around or always the same."""
    truth = np.array([[False], [True], [False], [True]])
    fitted = fit_calibration(["a"], np.array(logits)[:, None], truth)
    assert [fitted.calibrated("a", x) for x in logits] == pytest.approx([0.5] * 4, abs=1e-3)
    assert fitted.heads["a"][0] >= 0


def test_huge_logits_settle() -> None:
    """Far from the minimum a step is shortened, not lost."""
    rng = np.random.default_rng(9)
    logits = rng.normal(0, 1000, (2000, 1))
    fitted = fit_calibration(["a"], logits, rng.random((2000, 1)) < 1 / (1 + np.exp(-logits / 300)))
    assert fitted.heads["a"][0] == pytest.approx(1 / 300, rel=0.15)


def test_a_step_that_overshoots_is_shortened() -> None:
    """With a single far study the whole step goes too far; at the minimum each gradient is zero."""
    logits = np.array([-64.87, 0.13, -0.59, -0.03, 0.01, -0.5, 0.14, 0.08, -0.03, 0.8, 0.0, -0.03, 0.4])
    truth = logits > -60
    fitted = fit_calibration(["a"], logits[:, None], truth[:, None])
    left = np.array([fitted.calibrated("a", x) for x in logits]) - np.where(truth, 13 / 14, 1 / 3)
    assert abs(left.sum()) < 1e-4
    assert abs((left * logits).sum()) < 1e-4


def test_the_calibration_error_is_the_gap_of_each_bin() -> None:
    """Two bins of two by hand; 1 belongs to the last bin."""
    assert expected_calibration_error([0.1, 0.3, 0.8, 1.0], [0, 1, 1, 1], bins=2) == pytest.approx(
        (abs(0.4 - 1) + abs(1.8 - 2)) / 4
    )
    assert expected_calibration_error([0.0, 1.0], [0, 1]) == 0


def test_risk_grows_as_less_sure_studies_are_drafted() -> None:
    """By hand; equals are drafted together."""
    coverage, risk = risk_coverage([0.5, 0.9, 0.5, 0.7], [False, True, True, False])
    assert coverage.tolist() == [0.25, 0.5, 1.0]
    assert risk.tolist() == [0.0, 0.5, 0.5]


@pytest.mark.parametrize(("coverage", "threshold"), [(0.25, 0.9), (0.26, 0.7), (0.5, 0.7), (1.0, 0.1)])
def test_the_threshold_keeps_at_least_the_coverage(coverage: float, threshold: float) -> None:
    """Just over a quarter of four studies is two of them."""
    assert coverage_threshold([0.1, 0.9, 0.3, 0.7], coverage) == threshold


def test_a_share_that_is_whole_but_for_rounding_asks_for_no_further_study() -> None:
    """0.07 of a hundred studies is seven, though their product is a hair more."""
    confidence = np.arange(100) / 100
    assert 0.07 * 100 > 7
    assert sum(confidence >= coverage_threshold(confidence, 0.07)) == 7


def test_what_cannot_be_counted_is_refused() -> None:
    """Wrong shapes, no study, no finite logit, no coverage."""
    for bad in (
        lambda: fit_calibration(["a"], [[1.0]], [[True], [False]]),
        lambda: fit_calibration(["a", "b"], [[1.0]], [[True]]),
        lambda: fit_calibration(["a"], [[math.nan]], [[True]]),
        lambda: fit_calibration(["a"], np.zeros((0, 1)), np.zeros((0, 1))),
        lambda: expected_calibration_error([0.5], [1, 0]),
        lambda: risk_coverage([], []),
        lambda: coverage_threshold([0.5], 0.0),
        lambda: coverage_threshold([0.5], 1.01),
        lambda: coverage_threshold([], 0.5),
    ):
        with pytest.raises(ValueError, match="expected"):
            bad()
