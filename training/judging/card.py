"""The scores section of a model card, in Markdown, from the document of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.judging.figures import CONDITIONS
from training.judging.page import named


def scores_section(document: Mapping[str, Any]) -> str:
    """The section with its title: what was judged, then every table in the order of the page."""
    conditions, each = document["conditions"], document["findings"]
    shown = [name for name in CONDITIONS if name in conditions]
    pointing, distinct = document["evidence_of_each"], document["distinct"]
    unseen = " in words that no training saw" if document.get("unseen_wordings") else ""
    orders = f"orders in {document.get('language', 'en')}{unseen}"
    lines = [
        "## Scores",
        "",
        f"{document['cases']} phantoms that no training saw, {orders}. Facts are read back from the "
        "Findings; lexical scores are not used, for a wrong side hardly changes "
        f"them. Intervals are 95 %, from {document['resamples']} bootstrap resamples of the cases.",
        "",
        *_table(
            ["", *map(named, shown)],
            [
                [named(name), *(_cell(conditions[c][name], interval=c == "real") for c in shown)]
                for name in conditions["real"]
            ],
        ),
        *_table(
            ["finding", "precision", "recall", "F1", "side", "pointing", "pointing by chance"],
            [
                [
                    name,
                    *(_cell(part.get(key)) for key in ("precision", "recall", "f1", "side_accuracy")),
                    *(_cell(pointing[name][key], interval=False) for key in ("pointing", "chance")),
                ]
                for name, part in each.items()
            ],
        ),
        *_table(["", "value", "of"], _rows(document)),
        f"{distinct['texts']} different Findings and {distinct['fact_sets']} different sets of findings "
        f"({distinct['true_fact_sets']} are true); the commonest text is "
        f"{100 * distinct['commonest_text']:.1f} % of all.",
    ]
    if blank := document["blank"]:
        lines.append(f"Of {blank['tried']} images that show nothing, {blank['refused']} were refused.")
    return "\n".join(lines) + "\n"


def _rows(document: Mapping[str, Any]) -> list[list[str]]:
    heads = document["calibration"]["heads"]
    figures = {
        **document["measure"],
        **{name: document[name] for name in ("form_valid", "impression_agrees", "contradictory")},
        **document["support"],
        **{name: heads[name] for name in ("expected_calibration_error", "brier")},
        **{name: part for name, part in document["risk"].items() if name != "curve"},
        "abstained": document["abstained"],
        **document["evidence"],
    }
    return [[named(name), _cell(part), str(part["of"])] for name, part in figures.items()]


def _cell(figure: Mapping[str, Any] | None, *, interval: bool = True) -> str:
    if figure is None or figure["value"] is None:
        return ""
    if not interval or figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, and an empty one."""
    lines = [titles, ["---"] * len(titles), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]
