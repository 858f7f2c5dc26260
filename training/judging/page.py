"""The figures as one HTML page that needs nothing else: no script, no network, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from training.judging.figures import CONDITIONS
from training.judging.plots import bars_plot, drops_plot, reliability_plot, risk_plot, sizes_plot

_NAMES = {
    "real": "real images",
    "written": "before the guard",
    "shuffled": "shuffled",
    "chance_overlap": "truth of another case",
    "blank": "blank",
    "always_normal": "always normal",
    "finding_f1_micro": "finding F1, micro",
    "finding_f1_macro": "finding F1, macro",
    "finding_precision": "finding precision",
    "finding_recall": "finding recall",
    "head_f1_micro": "finding and side F1, micro",
    "head_f1_macro": "finding and side F1, macro",
    "side_accuracy": "side, of rightly stated findings",
    "size_accuracy": "size word, of rightly stated findings",
    "zone_accuracy": "zone, of rightly stated findings",
    "exact": "every finding and side right, nothing added",
    "mean_absolute_error_mm": "mean absolute error, mm",
    "median_absolute_error_mm": "median absolute error, mm",
    "mean_error_mm": "mean error, mm",
    "stated": "diameters stated, of those due",
    "impression_agrees": "Impression names the findings of the Findings",
    "contradictory": "drafts that state and deny the same finding",
    "form_valid": "drafts of valid form",
    "abstained": "drafts withheld for doubt",
    "per_report_before": "unsupported claims a report, as written",
    "per_report_after": "unsupported claims a report, after the guard",
    "reports_with_any_before": "reports with any, as written",
    "reports_with_any_after": "reports with any, after the guard",
    "expected_calibration_error": "expected calibration error, 15 bins",
    "brier": "Brier score",
    "area": "area under risk over coverage",
    "accuracy_at_80": "wholly right at 80 % coverage",
    "accuracy_at_100": "wholly right at 100 % coverage",
    "boxed": "findings with a box",
    "pointing": "box points at the finding",
    "chance": "the same with a box of another case",
    "overlap": "intersection over union of the boxes",
    "held": "share of the finding that the box holds",
    "drop": "fall of the probability without the evidence",
    "random_drop": "fall without as much elsewhere",
    "drop_beyond_random": "difference of the two, paired",
}

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #ffffff; --ink: #1d2327; --quiet: #5c666d;
  --rule: #dfe3e4; --one: #1f6f8b; --two: #b4632c; --bad: #a3302b; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181b; --card: #1b2024; --ink: #e4e8ea;
  --quiet: #9aa5ab; --rule: #333b41; --one: #63b7d4; --two: #e39a63; --bad: #f08f88; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 860px; padding: 32px 20px 64px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Noto Sans", "Noto Sans CJK KR", sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 36px 0 8px; }
p { margin: 6px 0 12px; max-width: 46em; } .quiet { color: var(--quiet); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
th { font-weight: 600; } td small { color: var(--quiet); white-space: nowrap; font-size: 12px; }
.list { table-layout: fixed; } .list th:first-child { width: 54%; } .list th:last-child { width: 12%; }
.wide { overflow-x: auto; } .plots { display: flex; flex-wrap: wrap; gap: 16px; }
.plots > div { flex: 1; min-width: 320px; }
figure { margin: 8px 0; } figcaption { color: var(--quiet); font-size: 13px; max-width: 380px; }
svg { max-width: 100%; height: auto; font-size: 12px; } svg text { fill: var(--quiet); }
svg .grid { stroke: var(--rule); } svg .axis { stroke: var(--quiet); fill: none; }
svg .guide { stroke: var(--quiet); stroke-dasharray: 5 4; fill: none; } svg .faint { stroke-dasharray: 1 4; }
svg .one { fill: var(--one); } svg .two { fill: var(--two); } svg .see-through { fill-opacity: .45; }
svg .line { fill: none; stroke-width: 1.8; } svg .line.one { stroke: var(--one); }
svg .line.two { stroke: var(--two); } svg .bar { fill-opacity: .55; }
svg .whisker { stroke: var(--ink); stroke-width: 1.4; fill: none; }
svg .chance { stroke: var(--two); stroke-width: 2; }
.key::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 50%;
  margin: 0 5px 0 0; background: var(--one); } .key.two::before { background: var(--two); }
details { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 8px 14px;
  margin: 8px 0; } summary { cursor: pointer; } pre { white-space: pre-wrap; font: inherit; margin: 8px 0; }
.fault { color: var(--bad); margin-right: 14px; } .warning { color: var(--bad); font-weight: 600; }
"""


def page(document: Mapping[str, Any]) -> str:
    """The page of a document as `figures` gives it, with `model`, `language` and the rest that the command
    adds. Every word of a draft is escaped."""
    model = document.get("model", {})
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Evaluation of {escape(str(model.get('name', 'a drafter')))}</title>",
            f"<style>{_STYLE}</style></head><body>",
            *_head(document),
            *_statements(document),
            *_findings(document),
            *_sizes(document),
            *_form(document),
            *_trust(document),
            *_evidence(document),
            *_worst(document["worst"]),
            "</body></html>\n",
        ]
    )


def named(name: str) -> str:
    """What a figure or a condition is called for people."""
    return _NAMES.get(name, name.replace("_", " "))


def _head(document: Mapping[str, Any]) -> list[str]:
    model, distinct = document.get("model", {}), document["distinct"]
    lines = [
        f"<h1>{escape(str(model.get('name', 'a drafter')))} {escape(str(model.get('version', '')))}</h1>",
        f'<p class="quiet">{document["cases"]} synthetic chests that no training saw, '
        f"{'orders in unseen words, ' if document.get('unseen_wordings') else ''}"
        f"language {escape(str(document.get('language', 'en')))}. Facts are read back from the Findings. "
        f"Intervals are 95 %, from {document['resamples']} bootstrap resamples of the cases.</p>",
    ]
    if distinct["collapsed"]:
        lines.append('<p class="warning">Most drafts say the same: these weights have collapsed.</p>')
    return lines


def _statements(document: Mapping[str, Any]) -> list[str]:
    shown = [name for name in CONDITIONS if name in document["conditions"]]
    rows = [
        [
            named(name),
            *(_cell(document["conditions"][c][name], interval=c in ("real", "written")) for c in shown),
        ]
        for name in document["conditions"]["real"]
    ]
    lines = [
        "<h2>What is stated</h2>",
        _table(["", *map(named, shown)], rows),
        '<p class="quiet">Shuffled: each draft against the truth of another case, in expectation over all '
        "ways to shuffle. Truth of another case: the same for the truth itself, which is what chance "
        "gives.</p>",
    ]
    if blank := document["blank"]:
        lines.append(f"<p>Blank images: {blank['refused']} of {blank['tried']} refused.</p>")
    if document["answered"]:
        kept = document["answered"]
        lines.append(
            f"<p>Of {kept['exact']['of']} drafts that are not withheld for doubt, finding F1 (macro) is "
            f"{_cell(kept['finding_f1_macro'])}, wholly right are {_cell(kept['exact'])}.</p>"
        )
    return lines


def _findings(document: Mapping[str, Any]) -> list[str]:
    found = document["findings"]
    names = ("precision", "recall", "f1", "side_accuracy")
    rows = [[name, *(_cell(part.get(key)) for key in names)] for name, part in found.items()]
    return [
        "<h2>Each finding</h2>",
        bars_plot("F1 of each finding", [(name, part["f1"], None) for name, part in found.items()]),
        _table(["finding", "precision", "recall", "F1", "side"], rows),
    ]


def _sizes(document: Mapping[str, Any]) -> list[str]:
    return [
        "<h2>Diameters</h2>",
        '<div class="plots">',
        _figure(sizes_plot(document["sizes_mm"]), "Between the dotted lines the error is 3 mm at most."),
        f"<div>{_list(document['measure'])}</div>",
        "</div>",
    ]


def _form(document: Mapping[str, Any]) -> list[str]:
    distinct = document["distinct"]
    lines = [
        "<h2>Form and claims</h2>",
        _list({name: document[name] for name in ("form_valid", "impression_agrees", "contradictory")}),
        _list(document["support"]),
        f"<p>{distinct['texts']} different Findings, {distinct['fact_sets']} different sets of findings "
        f"({distinct['true_fact_sets']} are true). The commonest text is "
        f"{100 * distinct['commonest_text']:.1f} % of all.</p>",
    ]
    if document["form_faults"]:
        named = "; ".join(f"{fault} ({count})" for fault, count in document["form_faults"].items())
        lines.append(f"<p>Faults of form: {escape(named)}.</p>")
    return lines


def _trust(document: Mapping[str, Any]) -> list[str]:
    heads, sentences = document["calibration"]["heads"], document["calibration"]["sentences"]
    curves = [("one", heads["reliability"]), ("two", sentences["reliability"])]
    rows = [
        [named(name), _cell(heads[name]), _cell(sentences[name])]
        for name in ("expected_calibration_error", "brier")
    ]
    risk = {name: part for name, part in document["risk"].items() if name != "curve"}
    return [
        "<h2>Calibration, risk and coverage</h2>",
        '<div class="plots">',
        _figure(
            reliability_plot(curves),
            '<span class="key">finding heads</span> <span class="key two">sentences</span>. On the dashed '
            "line the two agree; the larger a dot, the more stands behind it.",
        ),
        _figure(
            risk_plot(document["risk"]["curve"]),
            "Drafts kept from the surest on. Dashed: all of them. A confidence that tells right from wrong "
            "keeps below it.",
        ),
        "</div>",
        _table(["", "finding heads", "sentences"], rows),
        _list({**risk, "abstained": document["abstained"]}),
    ]


def _evidence(document: Mapping[str, Any]) -> list[str]:
    each = document["evidence_of_each"]
    names = ("pointing", "chance", "overlap", "drop", "random_drop")
    rows = [[name, *(_cell(part[key], interval=False) for key in names)] for name, part in each.items()]
    bars = [(name, part["pointing"], part["chance"]["value"]) for name, part in each.items()]
    return [
        "<h2>Evidence</h2>",
        '<p class="quiet">Of the rightly stated findings and sides. A box points at a finding when its '
        "middle lies in the box around it, widened by one voxel. For a finding as large as the chest any box "
        "does, and the orange mark, a box of the same finding in another case, says so.</p>",
        bars_plot("Pointing accuracy of each finding; marks: by chance", bars),
        '<div class="plots">',
        _figure(
            drops_plot(document["drops"]),
            '<span class="key">evidence taken out</span> <span class="key two">as much elsewhere</span>.',
        ),
        f"<div>{_list(document['evidence'])}</div>",
        "</div>",
        _table(["finding", "pointing", "by chance", "overlap", "fall", "fall elsewhere"], rows),
    ]


def _worst(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["<h2>The worst cases</h2>"]
    if not cases:
        return [*lines, "<p>Nothing is wrong in any.</p>"]
    for case in cases:
        wrong = "".join(f'<span class="fault">{escape(fault)}</span>' for fault in case["faults"])
        sure = "" if case["confidence"] is None else f", confidence {case['confidence']:.2f}"
        withheld = ", withheld" if case["abstained"] else ""
        lines.append(
            f"<details><summary>Seed {case['seed']}{sure}{withheld}: {wrong}</summary>"
            f"<p><b>True:</b> {escape(case['truth'])}<br><b>Read back:</b> {escape(case['said'])}</p>"
            f"<pre>{escape(case['text'])}</pre></details>"
        )
    return lines


def _cell(figure: Mapping[str, Any] | None, *, interval: bool = True) -> str:
    """A figure as HTML; empty where there is none."""
    if figure is None or figure["value"] is None:
        return ""
    value = f"{figure['value']:.3f}"
    if not interval or figure["low"] is None:
        return value
    return f"{value} <small>{figure['low']:.3f} to {figure['high']:.3f}</small>"


def _list(figures: Mapping[str, Any]) -> str:
    rows = [[named(name), _cell(part), str(part["of"])] for name, part in figures.items()]
    return _table(["", "value, 95 % interval", "of"], rows, kind="list")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, kind: str = "") -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    rows_and_head = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table class="{kind}">{rows_and_head}</table></div>'


def _figure(drawing: str, caption: str) -> str:
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"
