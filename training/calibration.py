"""Fits the probabilities of the finding heads, and tells how far confidence can be believed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.confidence import Calibration

Floats = NDArray[np.float64]
_STEPS = 100
_SETTLED = 1e-10
_RIDGE = 1e-9
"""Keeps the Newton step defined where every logit is the same."""


def fit_calibration(
    heads: Sequence[str], logits: ArrayLike, truth: ArrayLike, abstain_below: float = 0.0
) -> Calibration:
    """Platt's scale and shift of every head, by Newton's method.

    logits and truth are (studies, heads), of studies that training did not see. The targets are Platt's:
    (positives + 1) / (positives + 2) and 1 / (negatives + 2), so that a head without an error on these
    studies is not made infinitely sure. A head whose logit says the opposite of the truth gets scale 0: its
    share of positives, whatever it sees.
    """
    values, labels = _table(logits, len(heads)), _table(truth, len(heads))
    if values.shape != labels.shape or not len(values):
        raise ValueError(f"expected a truth for each logit, found {labels.shape} for {values.shape}")
    pairs = {head: _platt(values[:, i], labels[:, i] > 0.5) for i, head in enumerate(heads)}
    return Calibration(pairs, abstain_below)


def expected_calibration_error(probabilities: ArrayLike, truth: ArrayLike, bins: int = 15) -> float:
    """Mean distance between probability and frequency over equal bins of probability, weighted by their
    number (Naeini 2015); between 0 and 1.
    """
    p, y = np.asarray(probabilities, dtype=np.float64).ravel(), np.asarray(truth, dtype=np.float64).ravel()
    _same_length(p, y)
    bin_of = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=p - y, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def risk_coverage(confidence: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
    """(coverage, risk): the share of studies that are drafted when only the surest are, and the share of
    errors among these. One point for each distinct confidence, for equals stand or fall together; coverage
    grows to 1.
    """
    sure, good = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    _same_length(sure, good)
    order = np.argsort(-sure, kind="stable")
    sure, wrong = sure[order], 1 - good[order]
    last = np.flatnonzero(np.append(np.diff(sure) != 0, True))
    number = last + 1.0
    return number / len(sure), np.cumsum(wrong)[last] / number


def coverage_threshold(confidence: ArrayLike, coverage: float) -> float:
    """Largest confidence that at least this share of studies reaches: `abstain_below` for that coverage."""
    sure = np.sort(np.asarray(confidence, dtype=np.float64))[::-1]
    if not len(sure) or not 0 < coverage <= 1:
        raise ValueError(
            f"expected studies and a coverage above 0 and up to 1, found {len(sure)}, {coverage}"
        )
    # Without the rounding 0.1 * 30 would ask for a fourth study.
    return float(sure[int(np.ceil(round(coverage * len(sure), 9))) - 1])


def _platt(logits: Floats, positive: NDArray[np.bool_]) -> tuple[float, float]:
    count = int(positive.sum())
    targets = np.where(positive, (count + 1) / (count + 2), 1 / (len(positive) - count + 2))
    base = float(np.log(targets.mean() / (1 - targets.mean())))
    inputs = np.stack([logits, np.ones_like(logits)], axis=1)
    weights = np.array([0.0, base])
    loss = _loss(inputs @ weights, targets)
    for _ in range(_STEPS):
        p = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (p - targets)
        curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        share = 1.0
        # Far from the minimum a whole Newton step can overshoot.
        while (tried := _loss(inputs @ (weights - share * step), targets)) > loss and share > _SETTLED:
            share /= 2
        if tried > loss:
            break
        weights, fell, loss = weights - share * step, loss - tried, tried
        if fell < _SETTLED * max(1.0, abs(loss)):
            break
    scale, shift = float(weights[0]), float(weights[1])
    return (scale, shift) if scale > 0 else (0.0, base)


def _loss(values: Floats, targets: Floats) -> float:
    return float(np.sum(np.logaddexp(0, values) - targets * values))


def _sigmoid(values: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -values))


def _table(values: ArrayLike, heads: int) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != heads or not np.isfinite(table).all():
        raise ValueError(f"expected finite values of {heads} heads for each study, found shape {table.shape}")
    return table


def _same_length(one: Floats, other: Floats) -> None:
    if one.ndim != 1 or one.shape != other.shape or not len(one):
        raise ValueError(f"expected as many of both and at least one, found {one.shape} and {other.shape}")
