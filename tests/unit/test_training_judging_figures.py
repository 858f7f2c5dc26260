"""Facts are counted rightly: by hand, against slow computations, and of drafters that are known to be bad."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.facts import BY_NAME
from tests.judged_cases import judged_case, judged_cases
from training.facts import Fact, FactRecord, draw
from training.judging.figures import Blank, figures
from training.judging.intervals import weights
from training.judging.judged import Judged, Spoken
from training.judging.matching import figures_of_each, marks_of, measure_figures, statement_figures
from training.judging.trust import BINS, calibration_figures, heads_flat, reliability, risk_figures
from training.judging.worst import faults, worst_cases

LEFT_FLUID = FactRecord((Fact("pleural effusion", ("left",), size="small"),))
RIGHT_FLUID = FactRecord((Fact("pleural effusion", ("right",), size="large"),))
BIG_HEART = FactRecord((Fact("cardiomegaly"),))


def nodule(millimetres: int | None, side: str = "left", zone: str = "upper") -> FactRecord:
    """A record of one nodule."""
    return FactRecord((Fact("pulmonary nodule", (side,), zone=zone, millimetres=millimetres),))


def stated(truth: list[FactRecord], said: list[FactRecord]) -> dict[str, float | None]:
    """The values of the statement figures."""
    weighted = weights(len(truth), resamples=2)
    found = statement_figures(marks_of(truth, said).real(weighted), len(truth))
    return {name: one.value for name, one in found.items()}


def records(seed: int, count: int) -> list[FactRecord]:
    """Records of consecutive draws."""
    rng = np.random.default_rng(seed)
    return [draw(rng) for _ in range(count)]


def by_hand(truth: list[FactRecord], said: list[FactRecord]) -> dict[str, float]:
    """Micro F1 over findings and over heads, and the share of exact cases, counted one by one."""

    def f1(pairs: list[tuple[set[str], set[str]]]) -> float:
        total = sum(len(t) + len(s) for t, s in pairs)
        return 2 * sum(len(t & s) for t, s in pairs) / total if total else float("nan")

    names = [
        ({f.finding for f in t.facts}, {f.finding for f in s.facts}) for t, s in zip(truth, said, strict=True)
    ]
    heads = [(set(t.heads), set(s.heads)) for t, s in zip(truth, said, strict=True)]
    return {
        "finding_f1_micro": f1(names),
        "head_f1_micro": f1(heads),
        "exact": sum(t == s for t, s in heads) / len(heads),
    }


def test_a_right_report_scores_one() -> None:
    """Everything right: every figure is one."""
    assert set(stated([LEFT_FLUID, BIG_HEART, nodule(12)], [LEFT_FLUID, BIG_HEART, nodule(12)]).values()) == {
        1.0
    }


def test_a_wrong_side_keeps_the_finding_and_loses_the_side() -> None:
    """Words alone would hardly differ; the figures of the side fall to nothing."""
    found = stated([LEFT_FLUID], [RIGHT_FLUID])
    assert (found["finding_f1_micro"], found["side_accuracy"], found["head_f1_micro"]) == (1, 0, 0)
    assert (found["exact"], found["size_accuracy"]) == (0, 0)


def test_one_side_of_two_is_a_wrong_side() -> None:
    """A bilateral effusion stated on one side is half right by heads and wrong by sides."""
    both = FactRecord((Fact("pleural effusion", ("right", "left"), size="small"),))
    found = stated([both], [LEFT_FLUID])
    assert found["side_accuracy"] == 0
    assert found["head_f1_micro"] == pytest.approx(2 / 3)


def test_a_size_or_zone_that_is_not_said_is_a_wrong_one() -> None:
    """Silence earns nothing."""
    silent = FactRecord((Fact("pleural effusion", ("left",)),))
    assert stated([LEFT_FLUID], [silent])["size_accuracy"] == 0
    assert stated([nodule(12)], [nodule(12, zone="")])["zone_accuracy"] == 0


def test_one_of_two_and_one_too_many_is_a_half() -> None:
    """F1 counts what is missed and what is added alike."""
    found = stated([LEFT_FLUID, BIG_HEART], [LEFT_FLUID, FactRecord((Fact("emphysema"),))])
    assert found["finding_f1_micro"] == 0.5
    # Effusion is right, heart and emphysema are wrong, the other four are in neither and count for nothing.
    assert found["finding_f1_macro"] == pytest.approx(1 / 3)


def test_calling_everything_normal_scores_nothing() -> None:
    """The failure that good lexical scores hide."""
    found = stated([LEFT_FLUID, BIG_HEART, FactRecord()], [FactRecord()] * 3)
    assert found["finding_f1_macro"] == 0
    assert found["exact"] == pytest.approx(1 / 3)
    assert found["side_accuracy"] is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_the_sums_are_those_of_counting_one_by_one(seed: int, count: int) -> None:
    """On random records, in the whole and in every resample."""
    truth, said = records(seed, count), records(seed + 1, count)
    weighted = weights(count, seed, resamples=3)
    marks = marks_of(truth, said)
    for row in weighted:
        drawn = [i for i, times in enumerate(row) for _ in range(int(times))]
        found = statement_figures(marks.real(np.array([row, row])), count)
        for name, value in by_hand([truth[i] for i in drawn], [said[i] for i in drawn]).items():
            ours = found[name].value
            assert np.isnan(value) if ours is None else ours == pytest.approx(value)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_the_shuffled_figures_are_the_mean_over_every_derangement(seed: int) -> None:
    """Five cases, 44 ways in which none keeps its own truth: the mean of all, without shuffling one."""
    truth, said = records(seed, 5), records(seed + 1, 5)
    ways = [p for p in itertools.permutations(range(5)) if all(i != j for i, j in enumerate(p))]
    assert len(ways) == 44
    found = statement_figures(marks_of(truth, said).shuffled(weights(5, resamples=2)), 5)
    every = [by_hand([truth[i] for i in way], said) for way in ways]
    for name in ("finding_f1_micro", "head_f1_micro", "exact"):
        value = float(np.mean([one[name] for one in every]))
        ours = found[name].value
        assert np.isnan(value) if ours is None else ours == pytest.approx(value)


def test_shuffling_leaves_a_perfect_drafter_with_chance() -> None:
    """What a drafter that is right about every case scores on other cases is the chance overlap."""
    conditions = figures(judged_cases(80, skill=1.0), resamples=20)["conditions"]
    assert conditions["real"]["finding_f1_macro"]["value"] == 1
    assert conditions["shuffled"] == conditions["chance_overlap"]
    assert 0.1 < conditions["shuffled"]["finding_f1_micro"]["value"] < 0.35


def test_each_finding_is_counted_by_itself() -> None:
    """Recall of what is missed, precision of what is added, nothing of what never came up."""
    weighted = weights(2, resamples=2)
    truth, said = [LEFT_FLUID, BIG_HEART], [LEFT_FLUID, FactRecord((*BIG_HEART.facts, *LEFT_FLUID.facts))]
    found = figures_of_each(marks_of(truth, said).real(weighted))
    assert set(found) == set(BY_NAME)
    assert found["pleural effusion"]["precision"].value == 0.5
    assert found["pleural effusion"]["recall"].value == 1
    assert found["pleural effusion"]["f1"].value == pytest.approx(2 / 3)
    assert found["emphysema"]["f1"].value is None
    assert "side_accuracy" not in found["cardiomegaly"]


def test_errors_of_diameters_are_in_millimetres() -> None:
    """Of 3 said of 4 due: 12 for 10, 10 for 10 and 11 for 20; a missed nodule is no error of its size."""
    truth = [nodule(10), nodule(10), nodule(20), nodule(15), nodule(30)]
    said = [nodule(12), nodule(10), nodule(11), nodule(None), FactRecord()]
    found = measure_figures(weights(5, resamples=2), truth, said)
    assert found["mean_absolute_error_mm"].value == pytest.approx(11 / 3)
    assert found["median_absolute_error_mm"].value == 2
    assert found["mean_error_mm"].value == pytest.approx(-7 / 3)
    assert (found["stated"].value, found["stated"].of) == (0.75, 4)


def _believed(p: float, there: bool) -> Judged:
    return replace(
        judged_case(0), truth=BIG_HEART if there else FactRecord(), probabilities={"cardiomegaly": p}
    )


def test_calibration_is_the_gap_between_what_is_believed_and_what_comes_true() -> None:
    """Four of 0.9 of which three are true, four of 0.1 of which none is: gaps of 0.15 and 0.1."""
    judged = [_believed(0.9, i < 3) for i in range(4)] + [_believed(0.1, False)] * 4
    found = calibration_figures(weights(8, resamples=5), heads_flat(judged))
    assert found["expected_calibration_error"].value == pytest.approx(0.125)
    assert found["brier"].value == pytest.approx((3 * 0.01 + 0.81 + 4 * 0.01) / 8)
    assert reliability(heads_flat(judged)) == [
        {"count": 4, "believed": 0.1, "true": 0.0},
        {"count": 4, "believed": 0.9, "true": 0.75},
    ]


@pytest.mark.parametrize(("p", "same"), [(1 / BINS, False), (1 / BINS - 1e-9, True)])
def test_a_bin_ends_just_below_its_edge(p: float, same: bool) -> None:
    """A probability on the edge belongs to the next bin, one just under it does not; 1 is in the last."""
    bins = reliability(heads_flat([_believed(0.01, False), _believed(p, False)]))
    assert (len(bins) == 1) is same
    assert reliability(heads_flat([_believed(1.0, True), _believed(0.99, True)]))[0]["count"] == 2


def test_risk_falls_with_coverage_when_confidence_tells_right_from_wrong() -> None:
    """Ten drafts, the two least sure are wrong: 80 % coverage is free of error, all of them are not."""
    sure = replace(judged_case(1, skill=1.0), truth=BIG_HEART, said=BIG_HEART)
    judged = [replace(sure, confidence=0.9 - i / 100) for i in range(8)]
    judged += [replace(sure, said=FactRecord(), confidence=0.2 - i / 100) for i in range(2)]
    found = risk_figures(weights(10, resamples=5), judged[::-1])
    assert found["accuracy_at_80"].value == 1
    assert found["accuracy_at_100"].value == pytest.approx(0.8)
    assert found["area"].value == pytest.approx((1 / 9 + 2 / 10) / 10)
    assert found["curve"][-1] == (1.0, 0.2)
    assert found["curve"][7] == (0.8, 0.0)


def test_a_drafter_without_confidence_has_no_risk_curve() -> None:
    """Nothing is made up where a draft says not how sure it is."""
    judged = [replace(one, confidence=None, probabilities=None, spoken=()) for one in judged_cases(4)]
    document = figures(judged, resamples=5)
    assert document["risk"]["area"]["value"] is None
    assert document["calibration"]["heads"]["brier"]["value"] is None


def test_unsupported_claims_are_counted_before_and_after_the_guard() -> None:
    """A report each, and the share of reports with any; where it is not known, it is not counted."""
    before, after = (3, 0, 1, None), (1, 0, 0, None)
    judged = [
        replace(one, unsupported_before=b, unsupported_after=a)
        for one, b, a in zip(judged_cases(4), before, after, strict=True)
    ]
    support = figures(judged, resamples=5)["support"]
    assert support["per_report_before"]["value"] == pytest.approx(4 / 3, abs=1e-4)
    assert support["reports_with_any_before"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert support["per_report_after"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert support["per_report_after"]["of"] == 3


def test_evidence_without_a_box_is_a_miss() -> None:
    """Pointing counts over all that is rightly stated, so that fewer boxes do not point better."""
    cases = [one for one in judged_cases(30, skill=1.0) if one.pointed]
    bare = [
        replace(one, pointed=tuple(replace(p, boxed=False, hit=False) for p in one.pointed)) for one in cases
    ]
    assert figures(cases, resamples=5)["evidence"]["pointing"]["value"] == 1
    half = figures([*cases, *bare], resamples=5)["evidence"]
    assert half["pointing"]["value"] == 0.5
    assert half["boxed"]["value"] == 0.5
    assert half["overlap"]["of"] * 2 == half["pointing"]["of"]


def test_the_document_is_plain_and_repeatable() -> None:
    """JSON without NaN, equal for equal cases, and a thousand cases take seconds."""
    judged = judged_cases(60)
    document: dict[str, Any] = figures(judged, Blank(4), resamples=50)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert figures(judged, Blank(4), resamples=50) == document
    assert document["blank"] == {"tried": 4, "refused": 4}


def test_what_stood_before_the_guard_is_judged_by_itself() -> None:
    """Weights that write nothing but normal fail here, however well the guard mends it."""
    cases = [replace(one, said=one.truth, written=FactRecord()) for one in judged_cases(9)]
    conditions = figures(cases, resamples=5)["conditions"]
    assert conditions["real"]["finding_f1_micro"]["value"] == 1
    assert conditions["written"] == conditions["always_normal"]
    assert "written" not in figures([replace(cases[0], written=None), *cases], resamples=5)["conditions"]


def test_a_blank_image_that_is_not_refused_is_scored_by_what_was_said() -> None:
    """One of four was drafted, with a big heart: that is held against every truth."""
    document = figures([replace(judged_case(0), truth=BIG_HEART)], Blank(4, (BIG_HEART,)), resamples=5)
    assert document["blank"] == {"tried": 4, "refused": 3}
    assert document["conditions"]["blank"]["finding_f1_micro"]["value"] == 1


def test_withheld_drafts_are_left_out_of_the_answered() -> None:
    """All drafts withheld: nothing is answered; the figures of all stay."""
    judged = [replace(one, abstained=i < 3) for i, one in enumerate(judged_cases(8))]
    document = figures(judged, resamples=5)
    assert document["abstained"]["value"] == 0.375
    assert document["answered"]["exact"]["of"] == 5
    assert figures([replace(one, abstained=True) for one in judged], resamples=5)["answered"] is None


def test_the_worst_cases_come_first_and_say_what_is_wrong() -> None:
    """Wrong findings weigh more than sizes, sizes more than millimetres, and right cases are left out."""
    one = replace(judged_case(0), confidence=0.5)
    cases = [
        replace(one, seed=1, truth=nodule(12), said=nodule(21)),
        replace(one, seed=2, truth=LEFT_FLUID, said=RIGHT_FLUID),
        replace(one, seed=3, truth=nodule(12), said=nodule(12)),
        replace(one, seed=4, truth=nodule(12), said=nodule(12, zone="lower")),
        replace(one, seed=5, truth=LEFT_FLUID, said=RIGHT_FLUID, confidence=0.9),
    ]
    worst = worst_cases(cases)
    assert [case["seed"] for case in worst] == [5, 2, 4, 1]
    assert worst[0]["faults"] == [
        "missed: pleural effusion, left",
        "added: pleural effusion, right",
        "pleural effusion: said large, is small",
    ]
    assert faults(cases[0]) == ["pulmonary nodule: said 21 mm, is 12 mm"]
    assert len(worst_cases(cases, count=2)) == 2


def test_faults_of_form_and_contradictions_are_counted() -> None:
    """One draft in four of each, and the faults are named with how often they came."""
    judged = judged_cases(4)
    judged[1] = replace(judged[1], contradictory=True)
    judged[2] = replace(
        judged[2], form_faults=("no section Impression",), concluded=nodule(9), said=BIG_HEART
    )
    document = figures(judged, resamples=5)
    assert document["contradictory"]["value"] == 0.25
    assert document["form_valid"]["value"] == 0.75
    assert document["impression_agrees"]["value"] == 0.75
    assert document["form_faults"] == {"no section Impression": 1}


def test_sentences_are_calibrated_by_themselves() -> None:
    """A sentence of confidence 1 that is wrong half the time has an error of a half."""
    spoken = (Spoken(1.0, True), Spoken(1.0, False))
    document = figures([replace(one, spoken=spoken) for one in judged_cases(4)], resamples=5)
    assert document["calibration"]["sentences"]["expected_calibration_error"]["value"] == 0.5
