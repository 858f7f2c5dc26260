"""What the case page tells of each sentence: how sure it is, what it rests on, what was done to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from model.study import Draft, Evidence, Sentence
from plugin.tables import DraftRecord, Picture
from tests.case_samples import CARD
from tests.web_site import WebSite, guarded_draft, png


@pytest.fixture
def site(tmp_path: Path) -> WebSite:
    return WebSite(tmp_path)


def words_of(page: str) -> str:
    """What a person reads of a page, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def findings(site: WebSite, case_id: str) -> list[dict[str, Any]]:
    """The sentences of the findings as the JSON twin tells them."""
    sections = site.json(f"/api/cases/{case_id}")["drafts"][0]["sections"]
    return [
        sentence
        for section in sections
        if section["title"] == "Findings"
        for sentence in section["sentences"]
    ]


def test_every_sentence_of_the_images_says_how_sure_it_is(site: WebSite) -> None:
    """Confidence stands beside the sentence, and nowhere where no image is spoken of."""
    case_id = site.drafted("A1", guarded_draft())
    page = words_of(site.get(f"/cases/{case_id}"))
    assert page.count("confidence ") == 5
    assert "confidence 97 %" in page
    assert "Confidence that every finding is right 74 %" in page
    assert [one["confidence"] for one in findings(site, case_id)] == [0.56, 0.97, 0.98, 0.91]


def test_a_marked_sentence_is_seen_to_be_uncertain_and_why(site: WebSite) -> None:
    """The mark is no part of the words: it stands apart, with its reason; a rewritten one says that it is."""
    page = site.get(f"/cases/{site.drafted('A1', guarded_draft())}")
    marked, rewritten = page.index('class="sentence marked"'), page.index('class="sentence rewritten"')
    assert "Uncertain. What it says is not well supported" in words_of(page[marked:rewritten])
    assert "Rewritten. The model" in words_of(page[rewritten:])
    assert page.count("Uncertain.") == page.count("Rewritten.") == 1


def test_the_guards_own_reason_is_told(site: WebSite) -> None:
    """Where the guard says why, its words stand there, as text and not as markup."""
    sentence = Sentence("Findings", "Effusion.", guarded="marked", reason="The order says <b>right</b>.")
    page = site.get(f"/cases/{site.drafted('A1', Draft((sentence,), CARD))}")
    assert "The order says &lt;b&gt;right&lt;/b&gt;." in page


def test_evidence_says_what_its_removal_does_or_that_there_is_none(site: WebSite) -> None:
    """A finding with a box: how far its probability falls without it. One without a box: no evidence."""
    case_id = site.drafted("A1", guarded_draft())
    page = words_of(site.get(f"/cases/{case_id}"))
    assert "pleural effusion, left · 97 % · 14 mm · slice 9 · falls by 62 points when removed" in page
    assert "pulmonary nodule, right · 56 % · 12 mm · slice 21 · no evidence" in page
    assert "pneumothorax, left · 2 % " in page
    nodule, effusion, absent, _ = (one["evidence"] for one in findings(site, case_id))
    assert (nodule[0]["no_evidence"], nodule[0]["box"]) == (True, None)
    assert (effusion[0]["box"], effusion[0]["drop"]) == ([6, 40, 60, 12, 70, 90], 0.62)
    assert (absent[0]["no_evidence"], absent[0]["slice"]) == (False, None)


def test_findings_stand_under_their_organs(site: WebSite) -> None:
    """Each organ once, in the order of the text."""
    page = site.get(f"/cases/{site.drafted('A1', guarded_draft())}")
    assert re.findall(r"<h4>(\w+)</h4>", page) == ["Lungs", "Pleura", "Heart"]


def test_a_draft_in_another_language_says_so(site: WebSite) -> None:
    """Titles and organs are those of the language, and the page names it for whoever reads aloud."""
    page = site.get(f"/cases/{site.drafted('A1', guarded_draft('de'))}")
    assert '<section class="report" lang="de">\n<h3>Befund</h3>' in page
    assert "<h4>Lunge</h4>" in page
    assert page.count("<p>Small left effusion.</p>") == 2


def test_evidence_links_to_the_picture_of_its_own_finding(site: WebSite) -> None:
    """Of two findings on one slice, each leads to the picture with its own box."""
    one = Evidence("image", "pleural effusion", "left", 0.9, 8, (8, 0, 0, 9, 2, 2), 0.5)
    other = Evidence("image", "consolidation", "left", 0.9, 8, (8, 2, 2, 9, 4, 4), 0.5)
    told = (Sentence("Findings", "Effusion.", (one,)), Sentence("Findings", "Consolidation.", (other,)))
    case_id = site.drafted("A1", Draft(told, CARD))
    with site.database.write() as session:
        row = session.scalars(sa.select(DraftRecord)).one()
        session.scalars(sa.select(Picture)).one().finding = "pleural effusion, left"
        session.add(
            Picture(
                draft_id=row.id,
                ordinal=1,
                slice_index=8,
                finding="consolidation, left",
                caption="C",
                png=png(),
            )
        )
    assert [one["evidence"][0]["picture"] for one in findings(site, case_id)] == [0, 1]


def test_a_draft_that_was_stored_before_is_still_shown(site: WebSite) -> None:
    """Sentences without organ, confidence and box say nothing of them, and are not called unsupported."""
    case_id = site.drafted("A1")
    kept = {
        "kind": "image",
        "finding": "pleural effusion",
        "side": "left",
        "probability": 0.97,
        "slice_index": 8,
    }
    with site.database.write() as session:
        row = session.scalars(sa.select(DraftRecord)).one()
        row.sentences = [{"section": "Findings", "text": row.sections[0][1], "evidence": [kept]}]
    page = words_of(site.get(f"/cases/{case_id}"))
    assert "pleural effusion, left · 97 % · slice 9" in page
    assert "no evidence" not in page
    assert "confidence" not in page.lower()
