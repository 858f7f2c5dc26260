"""How sure a draft and each of its sentences may be. No torch here.

The logit of a finding head becomes a probability by Platt's scaling (Platt 1999, Probabilistic outputs for
support vector machines): a scale and a shift for each head, fitted on studies that training did not see.
Heads are taken to be independent of one another, as their training does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.facts import split_head_name
from model.readings import Readings
from model.statements import Statement
from model.study import Unsure, WeightsError


@dataclass(frozen=True, slots=True)
class Calibration:
    """From logits to probabilities that can be believed, and how little is too little."""

    heads: Mapping[str, tuple[float, float]]
    """Finding head -> (scale, shift) of its logit."""
    abstain_below: float
    """Between 0 and 1: a draft that is less sure than this is not written."""

    @classmethod
    def from_json(cls, part: Mapping[str, Any], heads: Sequence[str]) -> Calibration:
        """Read the `calibration` object of drafter.json, which must name these heads and no others.

        Raises WeightsError on anything unexpected.
        """
        try:
            pairs = {str(head): (float(pair[0]), float(pair[1])) for head, pair in part["heads"].items()}
            short = [head for head, pair in part["heads"].items() if len(pair) != 2]
            calibration = cls(pairs, float(part["abstain_below"]))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise WeightsError(
                f"expected calibration in drafter.json: {error!r} is missing or wrong"
            ) from error
        if set(pairs) != set(heads):
            missing = ", ".join(sorted(set(heads) ^ set(pairs)))
            raise WeightsError(f"expected calibration.heads to name every finding head once, see: {missing}")
        if short or any(
            not (0 <= scale < math.inf and math.isfinite(shift)) for scale, shift in pairs.values()
        ):
            raise WeightsError("expected calibration.heads as [scale of at least 0, shift] in drafter.json")
        if not 0 <= calibration.abstain_below <= 1:
            raise WeightsError("expected calibration.abstain_below between 0 and 1 in drafter.json")
        return calibration

    def to_json(self) -> dict[str, Any]:
        """The `calibration` object of drafter.json."""
        return {
            "heads": {
                head: [round(scale, 6), round(shift, 6)] for head, (scale, shift) in self.heads.items()
            },
            "abstain_below": round(self.abstain_below, 6),
        }

    def calibrated(self, head: str, logit: float) -> float:
        """Probability, between 0 and 1, that a head's logit stands for. Raises KeyError on another head."""
        scale, shift = self.heads[head]
        value = scale * logit + shift
        # Either branch keeps the exponent from running over.
        return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def sentence_confidence(statements: Iterable[Statement], readings: Readings) -> float | None:
    """How probable it is, between 0 and 1, that every finding and side that is stated or denied is right.

    A finding that is stated without a side needs one of its sides; denied without a side, none of those that
    the same statements do not state. 0 where a finding has no head: nothing speaks for it. None where nothing
    is stated or denied. Sizes, zones and millimetres are not weighed: the heads give no probability of them.
    """
    said = tuple(statements)
    if not said:
        return None
    stated = {s.finding: _sides_of(said, s.finding, present=True) for s in said if s.present}
    denied = {s.finding: _sides_of(said, s.finding, present=False) for s in said if not s.present}
    product = 1.0
    for finding in dict.fromkeys(s.finding for s in said):
        heads = _heads(finding, readings)
        if not heads:
            return 0.0
        there, gone = stated.get(finding), denied.get(finding)
        if there is not None:
            if named := [p for side, p in heads.items() if side in there]:
                product *= math.prod(named)
            else:
                product *= 1 - math.prod(1 - p for p in heads.values())
        if gone is not None:
            # "No right effusion, small left effusion": the side that is stated is not the one denied.
            open_sides = {side: p for side, p in heads.items() if not there or side not in there}
            named = [p for side, p in open_sides.items() if side in gone] or list(open_sides.values())
            product *= math.prod(1 - p for p in named)
    return product


def draft_confidence(readings: Readings) -> float:
    """How probable it is, between 0 and 1, that what every head says is right; 1 where there is none."""
    return math.prod(max(one.probability, 1 - one.probability) for one in readings.values())


def check_sure(readings: Readings, calibration: Calibration) -> None:
    """Raise Unsure where a draft would be less sure than its weights allow."""
    sure = draft_confidence(readings)
    if sure < calibration.abstain_below:
        raise Unsure(
            f"expected to be right about all findings with a probability of at least "
            f"{calibration.abstain_below:.2f}, came {sure:.2f}: read without a draft"
        )


def _heads(finding: str, readings: Readings) -> dict[str, float]:
    """Side (empty where there is none) -> probability, of the heads of a finding."""
    pairs = ((split_head_name(head), reading.probability) for head, reading in readings.items())
    return {side: probability for (name, side), probability in pairs if name == finding}


def _sides_of(said: Sequence[Statement], finding: str, present: bool) -> frozenset[str]:
    """Every side on which a finding is stated, or denied; empty where none is said."""
    return frozenset(side for s in said if s.finding == finding and s.present is present for side in s.sides)
