"""The table of the benchmarks: medians, ratios, goals."""

from __future__ import annotations

import pytest

from tests.benchmarks.table import COLUMNS, Row, figure, markdown, plain, skipped


def row(**changes: object) -> Row:
    """A figure beside a peer."""
    given: dict[str, object] = {"ours": [4.0, 2.0, 3.0], "peer": [6.0], "peer_version": "Peer 1", **changes}
    return figure("mllp", "acks", "1/s", **given)  # type: ignore[arg-type]


def test_a_figure_is_the_median_with_its_spread() -> None:
    """Ours is the median of its turns, and the spread names the least and the greatest of both."""
    assert (row()["ours"], row()["peer"]) == (3.0, 6.0)
    assert row()["spread"] == "2.00–4.00; peer 6.00–6.00 (n=3)"


@pytest.mark.parametrize(("less_is_better", "ratio"), [(False, 0.5), (True, 2.0)])
def test_a_ratio_above_one_is_better_for_times_too(less_is_better: bool, ratio: float) -> None:
    """More acknowledgements and fewer seconds both give a ratio above 1."""
    assert row(less_is_better=less_is_better)["ratio"] == ratio


@pytest.mark.parametrize("less_is_better", [False, True])
def test_nothing_has_no_ratio(less_is_better: bool) -> None:
    """A figure of zero on the side that divides gives no ratio rather than an error."""
    zeros = {"ours": [0.0]} if less_is_better else {"peer": [0.0]}
    assert row(less_is_better=less_is_better, **zeros)["ratio"] is None


def test_a_row_names_its_goal() -> None:
    """What a row is meant to reach stands in a column of its own, in text and in Markdown."""
    named = row(goal="≥ 3")
    assert plain([named]).splitlines()[1].split()[5:8] == ["≥", "3", "1/s"]
    assert markdown([named]).splitlines()[2].split(" | ")[COLUMNS.index("goal")] == "≥ 3"


def test_a_skipped_row_says_why_and_promises_nothing() -> None:
    """A benchmark that could not run is one sentence, without figures and without a goal."""
    missed = skipped("mllp", "no peer")
    assert missed["what"] == "skipped: no peer"
    assert (missed["ours"], missed["ratio"], missed["goal"]) == (None, None, "")
