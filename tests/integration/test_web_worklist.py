"""The worklist: filters, pages, counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.exchange import Coding, Patient
from plugin.cases import CaseState
from plugin.db import now
from plugin.tables import Case
from plugin.web.worklist import PAGE, WORDS
from tests.web_site import WebSite

MUELLER = Patient("MRN77", "HOSP", "MÜLLER", "Jörg")


@pytest.fixture
def site(tmp_path: Path) -> WebSite:
    return WebSite(tmp_path)


def listed(site: WebSite, query: str = "") -> list[str]:
    return [case["accession"] for case in site.json(f"/api/cases{query}")["cases"]]


def test_an_empty_worklist_says_so(site: WebSite) -> None:
    """A fresh site shows no table and no error."""
    assert "No case matches" in site.get("/")


def test_what_changed_last_is_on_top(site: WebSite) -> None:
    """A case that moves comes up."""
    for accession in ("A1", "A2", "A3"):
        site.order(accession)
    site.move(site.id_of("A1"), CaseState.FAILED, "Broken.")
    assert listed(site) == ["A1", "A3", "A2"]


def test_every_state_is_listed_with_its_label_and_counted(site: WebSite) -> None:
    """No state is left out of the table, the counts or the filter."""
    cases = site.every_state()
    page = site.get("/")
    answer = site.json("/api/cases")
    for state, case_id in cases.items():
        assert f"/cases/{case_id}" in page
        assert answer["counts"][state.value] == 1
        assert [case["id"] for case in site.json(f"/api/cases?state={state}")["cases"]] == [case_id]
    for label in ("Received", "Ready", "Drafted", "Published", "Signed", "Superseded", "Withheld", "Held"):
        assert f">{label}</span>" in page


def test_the_accession_filter_is_exact(site: WebSite) -> None:
    """A1 is not A10."""
    site.order("A1")
    site.order("A10")
    assert listed(site, "?accession=A1") == ["A1"]


@pytest.mark.parametrize("text", ["müller", "M%C3%9CLLER", "J%C3%B6rg+m%C3%BCll", "mrn77", "thorax", "A2"])
def test_text_finds_name_id_procedure_and_accession(site: WebSite, text: str) -> None:
    """Each word must occur somewhere, in either case, outside ASCII as well."""
    site.order("A1")
    site.order("A2", patient=MUELLER, procedure=Coding("1", "CT Thorax"))
    assert listed(site, f"?text={text}") == ["A2"]


def test_every_word_of_the_text_must_occur(site: WebSite) -> None:
    """One word that fits is not enough."""
    site.order("A2", patient=MUELLER)
    assert listed(site, "?text=jörg+abdomen") == []


def test_percent_signs_in_the_text_are_no_wildcards(site: WebSite) -> None:
    """A search for % must not find everything."""
    site.order("A1")
    assert listed(site, "?text=%25") == []


@pytest.mark.parametrize("number", [WORDS, WORDS + 1])
def test_the_text_has_a_largest_number_of_words(site: WebSite, number: int) -> None:
    """At the cap it is answered, over it refused."""
    status = site.client.get(f"/?text={'+'.join('abcdefghijk'[:number])}").status_code
    assert status == (200 if number == WORDS else 400)


@pytest.mark.parametrize(("number", "pages"), [(PAGE, 1), (PAGE + 1, 2)])
def test_a_full_page_has_no_next_and_one_more_case_makes_one(site: WebSite, number: int, pages: int) -> None:
    """Just at the page's size and just over; every case comes once."""
    for index in range(number):
        site.order(f"A{index}")
    seen: list[str] = []
    address: str | None = "/api/cases"
    count = 0
    while address:
        answer = site.json(address)
        seen += [case["accession"] for case in answer["cases"]]
        address, count = answer["next"], count + 1
    assert count == pages
    assert sorted(seen) == sorted(f"A{index}" for index in range(number))
    assert ("Older cases" in site.get("/")) == (pages == 2)


def test_the_next_page_keeps_the_filters(site: WebSite) -> None:
    """Reading on does not widen the search."""
    for index in range(PAGE + 1):
        site.order(f"A{index}")
    site.ready("B1")
    following = site.json("/api/cases?state=RECEIVED")["next"]
    assert "state=RECEIVED" in following
    assert [case["accession"] for case in site.json(following)["cases"]] == ["A0"]


def test_cases_that_changed_at_the_same_moment_are_all_shown(site: WebSite) -> None:
    """The id breaks the tie between pages."""
    for index in range(PAGE + 3):
        site.order(f"A{index}")
    with site.database.write() as session:
        session.execute(sa.update(Case).values(updated_at=now()))
    first = site.json("/api/cases")
    second = site.json(first["next"])
    ids = {case["id"] for case in [*first["cases"], *second["cases"]]}
    assert len(ids) == PAGE + 3


@pytest.mark.parametrize(
    "query", ["state=DONE", "page=2", "before=1", "before=99999999999999999999-" + "a" * 32, "text=%00"]
)
def test_a_query_that_cannot_be_answered_is_a_sentence(site: WebSite, query: str) -> None:
    """The page and its twin answer 400 and say what is expected."""
    assert site.client.get(f"/?{query}").status_code == 400
    error = site.json(f"/api/cases?{query}", 400)["error"]
    assert error.endswith(".")


def test_a_patient_name_is_text_and_never_markup(site: WebSite) -> None:
    """What a message carries cannot become a tag or an attribute."""
    site.order("A1", patient=Patient("1", "H", "<script>alert(1)</script>", '"><img src=x onerror=y>'))
    page = site.get('/?text="><script>')
    assert "<script" not in page + site.get("/")
    assert "<img src=x" not in site.get("/")
    assert "&lt;script&gt;" in site.get("/")


def test_the_pages_say_the_same_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """Search, case, log and metrics do not depend on SQLite."""
    site = WebSite(tmp_path, database_url=postgres_url)
    case_id = site.published("A1", patient=MUELLER)
    site.report("A1", "Findings\nNone.", patient=MUELLER)
    site.order("A2")
    assert listed(site, "?text=müller+chest") == ["A1"]
    assert "A2" in site.get("/")
    assert "Untouched: every word" not in site.get(f"/cases/{case_id}")
    assert site.json("/api/audit?signer=OSEI&action=case")["entries"]
    assert site.json("/api/audit/verify")["verified"] is True
    assert 'prelim_cases{state="SIGNED"} 1\n' in site.get("/metrics")
    site.database.close()
