"""Whether a drafter looks: facts read back from its drafts of unseen phantoms, as figures and as a page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.watched import WatchedDrafter
from training.judging.card import scores_section
from training.judging.cases import blank_images, judge_cases, unseen_cases
from training.judging.figures import CONDITIONS, figures
from training.judging.page import page

Progress = Callable[[int], None]
DOCUMENT, PAGE, CARD = "evaluation.json", "evaluation.html", "scores.md"


def evaluate(
    drafter: WatchedDrafter,
    count: int,
    language: str = "en",
    *,
    unseen_wordings: bool = False,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Judge a drafter on `count` unseen phantoms; progress is told how many more are done.

    The document is that of `training.judging.figures` with the model, the conditions of the run and its
    speed. Seconds are those of drafting and judging; making the phantoms, and drafting them, is among them.
    """
    began = time.perf_counter()
    cases = unseen_cases(count, language, unseen_wordings=unseen_wordings)
    judged = list(judge_cases(drafter, cases, progress=progress))
    seconds = time.perf_counter() - began
    tokens = sum(one.tokens for one in judged)
    return {
        "model": {
            "name": drafter.card.name,
            "version": drafter.card.version,
            "sha256": drafter.card.weights_sha256,
        },
        "language": language,
        "unseen_wordings": unseen_wordings,
        **figures(judged, blank_images(drafter, language)),
        "tokens": tokens,
        "seconds": round(seconds, 1),
    }


def write(document: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write the document as JSON, as a page and as the scores of a model card into a folder, which is made
    when it is missing; returns the paths of the first two."""
    folder.mkdir(parents=True, exist_ok=True)
    text, drawn = folder / DOCUMENT, folder / PAGE
    text.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    drawn.write_text(page(document), encoding="utf-8")
    (folder / CARD).write_text(scores_section(document), encoding="utf-8")
    return text, drawn


def table(document: dict[str, Any]) -> str:
    """The scores as a short table for a terminal."""
    conditions = [name for name in CONDITIONS if name in document["conditions"]]
    rows = [f"{'':20}" + "".join(f"{name:>16}" for name in conditions)]
    for name in document["conditions"]["real"]:
        values = "".join(f"{_shown(document['conditions'][c][name]):>16}" for c in conditions)
        rows.append(f"{name:20}{values}")
    rows += ["", f"{'finding':20}{'F1':>8}{'side':>8}"]
    rows += [
        f"{name:20}{_shown(part['f1']):>8}{_shown(part.get('side_accuracy')):>8}"
        for name, part in document["findings"].items()
    ]
    distinct, support = document["distinct"], document["support"]
    rows += [
        "",
        f"{document['cases']} cases, {distinct['texts']} different Findings"
        f"{', COLLAPSED' if distinct['collapsed'] else ''}, form valid {_shown(document['form_valid'])}",
        f"diameters: {_shown(document['measure']['mean_absolute_error_mm'])} mm mean absolute error",
        f"unsupported claims a report: {_shown(support['per_report_before'])} as written, "
        f"{_shown(support['per_report_after'])} after the guard",
        f"evidence: pointing {_shown(document['evidence']['pointing'])}, "
        f"fall {_shown(document['evidence']['drop'])}, "
        f"elsewhere {_shown(document['evidence']['random_drop'])}",
        f"calibration error {_shown(document['calibration']['heads']['expected_calibration_error'])}, "
        f"wholly right {_shown(document['risk']['accuracy_at_80'])} at 80 % and "
        f"{_shown(document['risk']['accuracy_at_100'])} at 100 % coverage",
    ]
    return "\n".join(rows)


def _shown(figure: dict[str, Any] | None) -> str:
    return "-" if figure is None or figure["value"] is None else f"{figure['value']:.3f}"
