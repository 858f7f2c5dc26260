"""A probability is what its head gives after calibration, and a draft that is unsure is not written."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.confidence import Calibration, check_sure, draft_confidence, sentence_confidence
from model.facts import HEADS
from model.readings import HeadReading
from model.statements import Statement
from model.study import Unfit, Unsure, WeightsError

EFFUSION = "pleural effusion"
READINGS = {
    "pleural effusion, right": HeadReading(0.2, 3),
    "pleural effusion, left": HeadReading(0.9, 3),
    "cardiomegaly": HeadReading(0.6, 3),
}
CALIBRATION = Calibration({"cardiomegaly": (2.0, -1.0), "emphysema": (0.5, 0.25)}, 0.3)


@pytest.mark.parametrize(
    ("said", "confidence"),
    [
        ([Statement(EFFUSION, True, ("left",))], 0.9),
        ([Statement(EFFUSION, True, ("right", "left"))], 0.9 * 0.2),
        ([Statement(EFFUSION, True)], 1 - 0.1 * 0.8),
        ([Statement(EFFUSION, False)], 0.1 * 0.8),
        ([Statement(EFFUSION, False, ("right",))], 0.8),
        ([Statement(EFFUSION, False), Statement(EFFUSION, True, ("left",))], 0.8 * 0.9),
        ([Statement("cardiomegaly", True), Statement(EFFUSION, True, ("left",))], 0.6 * 0.9),
        ([Statement("cardiomegaly", True), Statement("cardiomegaly", False)], 0.6 * 0.4),
        ([Statement(EFFUSION, True, ("left",)), Statement(EFFUSION, True, ("left",), "large")], 0.9),
        ([Statement(EFFUSION, True, ("left",)), Statement(EFFUSION, True)], 0.9),
        ([Statement("emphysema", True)], 0.0),
    ],
)
def test_a_sentence_is_right_when_all_that_it_claims_is(said: list[Statement], confidence: float) -> None:
    """Heads are independent, the same claim counts once, and what no head saw is supported by nothing."""
    assert sentence_confidence(said, READINGS) == pytest.approx(confidence)


def test_a_sentence_without_a_claim_has_no_confidence() -> None:
    """There is nothing to be right about."""
    assert sentence_confidence([], READINGS) is None


def test_a_draft_is_right_when_every_head_is() -> None:
    """Of each head the surer answer counts."""
    assert draft_confidence(READINGS) == pytest.approx(0.8 * 0.9 * 0.6)
    assert draft_confidence({}) == 1


def test_a_draft_below_the_threshold_is_not_written() -> None:
    """At the threshold it is; a hair above its confidence it is not, and the message names no finding."""
    sure = draft_confidence(READINGS)
    check_sure(READINGS, Calibration({}, sure))
    with pytest.raises(Unsure, match=r"at least 0.43, came 0.43") as raised:
        check_sure(READINGS, Calibration({}, math.nextafter(sure, 1)))
    assert isinstance(raised.value, Unfit)
    assert not any(head.partition(",")[0] in str(raised.value) for head in HEADS)


def test_a_logit_is_scaled_and_shifted() -> None:
    """Each head by its own two numbers."""
    assert CALIBRATION.calibrated("cardiomegaly", 0.5) == 0.5
    assert CALIBRATION.calibrated("cardiomegaly", 1.5) == pytest.approx(1 / (1 + math.exp(-2)))
    assert CALIBRATION.calibrated("emphysema", -0.5) == 0.5


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_any_logit_gives_a_probability(logit: float) -> None:
    """Neither end runs over."""
    assert 0 <= CALIBRATION.calibrated("cardiomegaly", logit) <= 1


def test_a_calibration_survives_its_json() -> None:
    """What drafter.json holds gives it again."""
    part = json.loads(json.dumps(CALIBRATION.to_json()))
    assert Calibration.from_json(part, ["emphysema", "cardiomegaly"]) == CALIBRATION


@pytest.mark.parametrize(
    "change",
    [
        {"heads": {"cardiomegaly": [2.0, -1.0]}},
        {"heads": {"cardiomegaly": [2.0, -1.0], "emphysema": [1.0]}},
        {"heads": {"cardiomegaly": [2.0, -1.0], "emphysema": [1.0, 0.0, 0.0]}},
        {"heads": {"cardiomegaly": [2.0, -1.0], "emphysema": [-0.001, 0.0]}},
        {"heads": {"cardiomegaly": [2.0, -1.0], "emphysema": [1.0, float("inf")]}},
        {"heads": {"cardiomegaly": [2.0, -1.0], "emphysema": [float("nan"), 0.0]}},
        {"heads": {"cardiomegaly": [2.0, -1.0], "emphysema": 7}},
        {"heads": [1]},
        {"abstain_below": -0.001},
        {"abstain_below": 1.001},
        {"abstain_below": "seldom"},
        {"abstain_below": None},
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    """It is refused when the weights load, not when a study waits."""
    with pytest.raises(WeightsError, match="calibration"):
        Calibration.from_json({**CALIBRATION.to_json(), **change}, ["cardiomegaly", "emphysema"])


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_the_ends_of_the_threshold_are_allowed(limit: float) -> None:
    """Always drafting and never drafting are choices."""
    part = {**CALIBRATION.to_json(), "abstain_below": limit}
    assert Calibration.from_json(part, list(CALIBRATION.heads)).abstain_below == limit
