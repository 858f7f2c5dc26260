"""The page of a resource that was fetched: its own words, and none of HL7's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange import Patient
from plugin.web.app import create_app
from tests.fhir_followed import Followed, followed

HL7_WORDS = ("MSH", "Control ID", "acknowledge", "Field by field", "segments", "sender")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Followed]:
    with followed(tmp_path, fhir_takes=("orders",)) as site:
        order, _ = site.published()
        site.request(order)
        other, _ = site.published()
        site.report(replace(other, patient=Patient("P-OTHER", "TESTHOSP", "Other", "Olga")), "theirs")
        site.following.round()
        yield site


def shown(site: Followed, path: str) -> Any:
    """An address, as a browser gets it."""
    answer = create_app(site.database, site.settings, site.intake).test_client().get(path)
    assert answer.status_code == 200
    return answer.get_json() if path.startswith("/api/") else answer.get_data(as_text=True)


def test_its_page_speaks_of_a_resource(site: Followed) -> None:
    """Version, elements and what it names; no acknowledgement, since nobody sent it."""
    report, request = site.messages
    assert [one.message_type for one in (report, request)] == ["DiagnosticReport", "ServiceRequest"]
    page = shown(site, f"/messages/{request.id}")
    for words in (
        "As it was fetched",
        "Element by element",
        request.control_id,
        "named by it",
        "It was applied.",
    ):
        assert words in page
    assert not [word for word in HL7_WORDS if word in page.split("<main", 1)[-1].split("What came of it")[0]]


def test_a_refused_one_says_how_it_is_mended(site: Followed) -> None:
    """A new version on the server, or a replay; the reason first."""
    page = shown(site, f"/messages/{site.messages[0].id}")
    assert page.index("The patient identifier of the order") < page.index("which makes a new version")


def test_the_list_is_filtered_by_its_channel(site: Followed) -> None:
    """fhir is offered, and gives the resources alone."""
    assert '<option value="fhir" selected>' in shown(site, "/messages?channel=fhir")
    found = shown(site, "/api/messages?channel=fhir")["messages"]
    assert {one["id"] for one in found} == {one.id for one in site.messages}
    assert shown(site, "/api/messages?channel=default")["messages"] == []
    assert len(shown(site, "/api/messages?type=ServiceRequest")["messages"]) == 1
