"""From judged cases to one document of figures: plain values, ready for JSON and for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.facts import FactRecord
from training.judging.form import collapsed, commonest
from training.judging.intervals import RESAMPLES, Array, Figure, figure, ratio, weights
from training.judging.judged import Judged
from training.judging.matching import (
    figures_of_each,
    marks_of,
    measure_figures,
    measured_pairs,
    statement_figures,
)
from training.judging.pointing import drop_pairs, pointing_figures, pointing_of_each
from training.judging.trust import (
    calibration_figures,
    heads_flat,
    reliability,
    risk_figures,
    sentences_flat,
    support_figures,
)
from training.judging.worst import worst_cases

Document = dict[str, Any]
CONDITIONS = ("real", "written", "shuffled", "chance_overlap", "blank", "always_normal")
PLOTTED = 2000
"""At most so many points of a scatter are kept in the document."""


@dataclass(frozen=True, slots=True)
class Blank:
    """What came of images that show nothing."""

    tried: int
    said: tuple[FactRecord, ...] = ()
    """What was drafted of those that were not refused."""


def figures(
    judged: Sequence[Judged], blank: Blank | None = None, *, seed: int = 0, resamples: int = RESAMPLES
) -> Document:
    """All figures of some cases; the same cases and seed give the same document.

    Figures are dictionaries of value, low and high (95 % bootstrap over cases) and `of`, how many it was
    counted over. Drafts of which the drafter was unsure are judged with the others, and by themselves left
    out under `answered`. Raises ValueError without a case.
    """
    weighted = weights(len(judged), seed, resamples)
    truth, said = [one.truth for one in judged], [one.said for one in judged]
    real = marks_of(truth, said)
    boxes = pointing_figures(weighted, judged)
    heads, sentences = heads_flat(judged), sentences_flat(judged)
    _, true_mm, said_mm = measured_pairs(truth, said)
    document = {
        "cases": len(judged),
        "resamples": resamples,
        "conditions": _conditions(weighted, judged, blank),
        "findings": figures_of_each(real.real(weighted)),
        "measure": measure_figures(weighted, truth, said),
        "sizes_mm": [list(pair) for pair in zip(true_mm.tolist(), said_mm.tolist(), strict=True)][:PLOTTED],
        "impression_agrees": _share(weighted, judged, lambda one: one.concluded.heads == one.said.heads),
        "contradictory": _share(weighted, judged, lambda one: one.contradictory),
        "form_valid": _share(weighted, judged, lambda one: not one.form_faults),
        "form_faults": dict(Counter(fault for one in judged for fault in one.form_faults).most_common(20)),
        "distinct": _distinct(judged),
        "support": support_figures(weighted, judged),
        "calibration": {
            "heads": {**calibration_figures(weighted, heads), "reliability": reliability(heads)},
            "sentences": {**calibration_figures(weighted, sentences), "reliability": reliability(sentences)},
        },
        "risk": risk_figures(weighted, judged),
        "abstained": _share(weighted, judged, lambda one: one.abstained),
        "answered": _answered(judged, seed, resamples),
        "evidence": boxes,
        "evidence_of_each": pointing_of_each(weighted, judged),
        "drops": drop_pairs(judged)[:PLOTTED],
        "blank": None if blank is None else {"tried": blank.tried, "refused": blank.tried - len(blank.said)},
        "worst": worst_cases(judged),
    }
    plain: Document = _plain(document)
    return plain


def _conditions(
    weighted: Array, judged: Sequence[Judged], blank: Blank | None
) -> dict[str, dict[str, Figure]]:
    """`written`: the words of the language half before the guard, which knows the finding heads, mends them.

    `chance_overlap` shuffles the truth against itself: what a drafter that is always right about another
    case would score. A shuffled drafter that scores more has learned from something else than the image."""
    truth, said = [one.truth for one in judged], [one.said for one in judged]
    written = [one.written for one in judged if one.written is not None]
    cases = len(judged)
    found = {
        "real": marks_of(truth, said).real(weighted),
        "shuffled": marks_of(truth, said).shuffled(weighted),
        "chance_overlap": marks_of(truth, truth).shuffled(weighted),
        "always_normal": marks_of(truth, [FactRecord()] * cases).real(weighted),
    }
    if len(written) == cases:
        found["written"] = marks_of(truth, written).real(weighted)
    if blank is not None:
        # Of a refused image nothing is said.
        spoken = blank.said or (FactRecord(),)
        found["blank"] = marks_of(truth, [spoken[row % len(spoken)] for row in range(cases)]).real(weighted)
    return {name: statement_figures(found[name], cases) for name in CONDITIONS if name in found}


def _answered(judged: Sequence[Judged], seed: int, resamples: int) -> dict[str, Figure] | None:
    kept = [one for one in judged if not one.abstained]
    if not kept:
        return None
    sums = marks_of([one.truth for one in kept], [one.said for one in kept]).real(
        weights(len(kept), seed, resamples)
    )
    return statement_figures(sums, len(kept))


def _distinct(judged: Sequence[Judged]) -> dict[str, Any]:
    text, facts = commonest(judged)
    return {
        "texts": len({one.findings_text for one in judged}),
        "fact_sets": len({one.said.heads for one in judged}),
        "true_fact_sets": len({one.truth.heads for one in judged}),
        "commonest_text": round(text, 4),
        "commonest_facts": round(facts, 4),
        "collapsed": collapsed(judged),
    }


def _share(weighted: Array, judged: Sequence[Judged], holds: Callable[[Judged], bool]) -> Figure:
    hits = np.array([float(holds(one)) for one in judged])
    return figure(ratio(weighted @ hits, weighted.sum(axis=1)), len(judged))


def _plain(value: Any) -> Any:
    if isinstance(value, Figure):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
