"""The page shows the document, needs nothing from anywhere, and lets no word of a draft become markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.judged_cases import judged_case, judged_cases
from training.facts import Fact, FactRecord
from training.judging.figures import Blank, figures
from training.judging.page import page
from training.judging.plots import bars_plot, drops_plot, reliability_plot, risk_plot, sizes_plot

EMPTY = {"value": None, "low": None, "high": None, "of": 0}


class Tags(HTMLParser):
    """Every opening tag with its attributes, and whether all were closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "line", "path", "rect", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(html: str) -> Tags:
    """The tags of a page; fails when they do not nest."""
    parser = Tags()
    parser.feed(html)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return figures(judged_cases(60), Blank(4), resamples=30)


def test_the_page_stands_alone(document: dict[str, Any]) -> None:
    """No script, no link, nothing fetched; both colour schemes; and its tags nest."""
    html = page(document)
    seen = tags(html)
    assert not {"script", "link", "img", "iframe", "a"} & {tag for tag, _ in seen.seen}
    assert not [name for _, attributes in seen.seen for name in attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import", html)
    assert "prefers-color-scheme: dark" in html


def test_every_figure_of_the_document_is_on_the_page(document: dict[str, Any]) -> None:
    """Real images with their intervals, the other conditions, every finding, five plots."""
    html = page(document)
    for figure in document["conditions"]["real"].values():
        assert f"{figure['value']:.3f} <small>{figure['low']:.3f} to {figure['high']:.3f}</small>" in html
    assert html.count("<svg") == 6
    assert all(name in html for name in document["findings"])
    assert "4 of 4 refused" in html
    assert html.count("<details>") == len(document["worst"]) > 0


def test_words_of_a_draft_are_never_markup() -> None:
    """Neither the text of a bad case nor the name of a model opens a tag."""
    evil = '<script>alert("x")</script><img src=x onerror=y>'
    one = replace(judged_case(1), truth=FactRecord((Fact("cardiomegaly"),)), said=FactRecord(), text=evil)
    document = {**figures([one], resamples=3), "model": {"name": evil, "version": evil}, "language": evil}
    html = page(document)
    assert not {"script", "img"} & {tag for tag, _ in tags(html).seen}
    assert "&lt;script&gt;" in html


def test_a_collapsed_drafter_is_named_so(document: dict[str, Any]) -> None:
    """The page says it in words before any table."""
    assert "have collapsed" not in page(document)
    same = [replace(one, findings_text="Normal.", said=FactRecord()) for one in judged_cases(9)]
    html = page(figures(same, resamples=3))
    assert html.index("have collapsed") < html.index("<table")


def test_a_page_of_next_to_nothing_is_still_a_page() -> None:
    """One normal case without probabilities, boxes or doubts."""
    bare = replace(
        judged_case(0),
        truth=FactRecord(),
        said=FactRecord(),
        probabilities=None,
        confidence=None,
        spoken=(),
        pointed=(),
        unsupported_before=None,
        unsupported_after=None,
    )
    html = page(figures([bare], resamples=3))
    tags(html)
    assert "Nothing is wrong in any." in html
    assert "nan" not in html.lower().replace("nanum", "")


def test_what_lies_outside_of_the_scale_is_drawn_at_its_end() -> None:
    """A probability that rises by a half when the evidence goes stands with the lowest."""
    assert drops_plot([(-0.5, 1.7)]) == drops_plot([(-0.1, 1.0)]) != drops_plot([(0.5, 1.7)])


@pytest.mark.parametrize(
    "drawn",
    [
        reliability_plot([("one", [{"count": 3, "believed": 0.2, "true": 0.5}]), ("two", [])]),
        risk_plot([(0.5, 0.0), (1.0, 0.25)]),
        risk_plot([]),
        sizes_plot([(12, 14), (30, 41)]),
        sizes_plot([]),
        drops_plot([(0.9, 0.0), (-0.5, 1.2)]),
        drops_plot([]),
        bars_plot("Bars", [("a & b", {"value": 0.5, "low": 0.4, "high": 0.6}, 0.2), ("c", EMPTY, None)]),
    ],
)
def test_every_plot_is_well_formed_and_stays_in_its_frame(drawn: str) -> None:
    """Whatever it is given: XML, with a title, and no place outside of the drawing."""
    root = ElementTree.fromstring(drawn)
    assert root.findtext("title")
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for name, most in (("x1", width), ("x2", width), ("cx", width), ("y1", height), ("cy", height)):
            assert 0 <= float(element.get(name, 0)) <= most
        for place in (element.get("points") or "").split():
            x, y = (float(number) for number in place.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
        assert 0 <= float(element.get("width", 0)) <= width
