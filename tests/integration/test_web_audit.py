"""The audit pages: search, downloads, verification."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

import pytest

from plugin.audit.log import SEARCH_LIMIT, record
from plugin.audit.verify import verify
from plugin.tables import AuditHead
from tests.web_site import WebSite


@pytest.fixture
def site(tmp_path: Path) -> WebSite:
    return WebSite(tmp_path)


def entries(site: WebSite, query: str = "") -> list[str]:
    return [entry["action"] for entry in site.json(f"/api/audit{query}")["entries"]]


def test_an_empty_log_has_a_page(site: WebSite) -> None:
    """A fresh site has nothing to show and says so."""
    assert "No entry matches" in site.get("/audit")


def test_each_filter_narrows_the_search(site: WebSite) -> None:
    """Case, accession, actor, action and signer each find their own."""
    case_id = site.published("A1")
    site.report("A1", "Findings\nNone.")
    site.order("A2")
    assert set(entries(site, f"?case={case_id}")) == set(entries(site, "?accession=A1"))
    assert entries(site, "?accession=A2") == ["case.opened", "order.taken"]
    assert entries(site, "?actor=archive") == ["study.announced", "case.ready"]
    assert entries(site, "?action=case.s") == ["case.signed"]
    assert "case.signed" in entries(site, "?signer=osei")
    assert entries(site, "?signer=nobody") == []


def test_the_span_of_time_narrows_the_search(site: WebSite) -> None:
    """Since and until are read as UTC; a day as until includes it."""
    site.order("A1")
    today = site.json("/api/audit")["entries"][0]["at"][:10]
    assert len(entries(site, f"?since={today}&until={today}")) == 2
    assert entries(site, "?until=2020-01-01") == []
    assert entries(site, "?since=2999-01-01") == []


def test_the_times_of_the_log_can_be_pasted_back(site: WebSite) -> None:
    """Each entry is found by its own moment, escaped or not."""
    site.order("A1")
    at = site.json("/api/audit")["entries"][0]["at"]
    for pasted in (at, at.replace("+", "%2B")):
        assert entries(site, f"?since={pasted}&until={pasted}") == ["case.opened"]


def test_a_search_that_is_cut_says_where_it_goes_on(site: WebSite) -> None:
    """Just at the limit there is no next; just over it there is, and nothing is lost."""
    site.order("A1")
    assert site.json("/api/audit?limit=2")["next"] is None
    first = site.json("/api/audit?limit=1")
    second = site.json(first["next"])
    assert [e["position"] for e in first["entries"] + second["entries"]] == [0, 1]
    assert second["next"] is None
    assert "Next entries" in site.get("/audit?limit=1")
    assert 'rel="next"' in site.client.get("/audit.csv?limit=1").headers["Link"]
    assert "Link" not in site.client.get("/audit.csv?limit=2").headers


@pytest.mark.parametrize(
    ("limit", "status"), [(0, 400), (1, 200), (SEARCH_LIMIT, 200), (SEARCH_LIMIT + 1, 400)]
)
def test_the_limit_has_two_ends(site: WebSite, limit: int, status: int) -> None:
    """Just inside and just outside of each."""
    assert site.client.get(f"/audit?limit={limit}").status_code == status


@pytest.mark.parametrize(
    "query", ["since=monday", "limit=all", "after=-2", "user=x", "after=9999999999999999"]
)
def test_a_search_that_cannot_be_answered_is_a_sentence(site: WebSite, query: str) -> None:
    """The page and every form of it answer 400."""
    for path in ("/audit", "/audit.csv", "/audit.ndjson"):
        assert site.client.get(f"{path}?{query}").status_code == 400
    assert site.json(f"/api/audit?{query}", 400)["error"].endswith(".")


def test_the_permalink_and_the_downloads_carry_the_whole_search(site: WebSite) -> None:
    """A link that is sent to somebody shows them the same."""
    page = site.get("/audit?actor=archive&limit=7")
    for path in ("/audit", "/audit.csv", "/audit.ndjson", "/api/audit"):
        assert f'href="{path}?actor=archive&amp;limit=7"' in page


def test_a_csv_has_no_cell_that_is_a_formula(site: WebSite) -> None:
    """Whoever opens the download in a spreadsheet runs nothing."""
    with site.database.write() as session:
        for actor in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "plain, with comma"):
            record(session, actor, "=cmd", details={"=x": "y"})
    rows = list(csv.reader(io.StringIO(site.client.get("/audit.csv").data.decode(), newline="")))
    assert len(rows) == 8
    assert rows[1][2] == "'=1+1"
    assert rows[7][2] == "plain, with comma"
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)


def test_each_ndjson_line_can_be_hashed_again(site: WebSite) -> None:
    """The line carries the very text that was hashed (RFC 6962 section 2.1)."""
    site.order("A1")
    lines = site.get("/audit.ndjson").splitlines()
    assert len(lines) == 2
    for line in lines:
        entry = json.loads(line)
        assert hashlib.sha256(b"\x00" + entry["entry"].encode()).hexdigest() == entry["leaf_hash"]


def test_the_page_names_the_checkpoint_to_verify_against(site: WebSite) -> None:
    """Size and root are those that a full check computes."""
    site.order("A1")
    with site.database.read() as session:
        found = verify(session)
    assert f"prelim audit verify --against {found.size}:{found.root}" in site.get("/audit")


def test_words_in_the_log_are_text_and_never_markup(site: WebSite) -> None:
    """An actor or a detail cannot become a tag."""
    with site.database.write() as session:
        record(session, "<script>x</script>", "<b>a</b>", details={"<i>n</i>": "<img src=x>"})
    page = site.get("/audit")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;b&gt;a&lt;/b&gt;" in page


def test_a_whole_log_verifies(site: WebSite) -> None:
    """Also against a checkpoint from before it grew."""
    site.order("A1")
    before = site.json("/api/audit/verify")
    assert before["verified"] is True
    site.order("A2")
    query = f"?against={before['size']}:{before['root']}"
    assert site.json(f"/api/audit/verify{query}")["verified"] is True
    assert "All 4 entries" in site.get(f"/audit/verify{query}")


def test_a_broken_log_does_not_verify(site: WebSite) -> None:
    """The page says what does not hold."""
    site.order("A1")
    with site.database.write() as session:
        session.get_one(AuditHead, 1).roots = ["00" * 32]
    assert site.json("/api/audit/verify")["verified"] is False
    page = site.get("/audit/verify")
    assert "Not verified" in page
    assert "The head holds" in page


def test_another_checkpoint_does_not_verify(site: WebSite) -> None:
    """A log that was written anew has another root."""
    site.order("A1")
    answer = site.json(f"/api/audit/verify?against=2:{'0' * 64}")
    assert answer["verified"] is False
    assert "checkpoint" in answer["problem"]


def test_what_is_no_checkpoint_is_a_sentence(site: WebSite) -> None:
    """SIZE:ROOT or nothing."""
    assert "SIZE:ROOT" in site.json("/api/audit/verify?against=12", 400)["error"]
