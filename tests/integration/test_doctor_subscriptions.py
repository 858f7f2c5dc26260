"""`prelim doctor` over our subscriptions: whether they stand, and whether the server can reach us at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox.fhir import FhirServer
from plugin.db import Database
from plugin.doctor import Finding, examine
from plugin.peers import fhir_client
from plugin.settings import Settings
from plugin.subscribing import Subscribing
from tests.case_samples import fresh_url

NOTIFIED = {"fhir_notify_url": "http://127.0.0.1:9/notify/fhir", "fhir_notify_secret": "a-secret"}


def settings(folder: Path, url: str, **changes: Any) -> Settings:
    known = folder / "prelim.sqlite"
    database_url = f"sqlite:///{known}" if known.exists() else fresh_url(folder)
    given = {"mllp_port": 0, "http_port": 0, "fhir_url": url, **NOTIFIED, **changes}
    return Settings(database_url=database_url, **given)


def found(chosen: Settings) -> Finding:
    """The finding about subscriptions."""
    (finding,) = [finding for finding in examine(chosen) if finding.name == "FHIR subscriptions"]
    return finding


def test_who_asks_for_none_is_well(tmp_path: Path) -> None:
    """And is told what happens instead."""
    finding = found(settings(tmp_path, "", fhir_notify_url=""))
    assert (finding.well, finding.said) == (True, "not asked for; the server is polled")


@pytest.mark.parametrize("lacking", ["fhir_notify_secret", "fhir_url"])
def test_an_address_alone_is_a_finding(tmp_path: Path, lacking: str) -> None:
    """Not a traceback: the setting that is missing."""
    finding = found(settings(tmp_path, "http://127.0.0.1:9/fhir", **{lacking: ""}))
    assert not finding.well
    assert f"PRELIM_{lacking.upper()}" in finding.said


@pytest.mark.parametrize(
    ("host", "well"),
    [
        ("localhost", True),
        ("127.0.0.1:8765", True),
        ("prelim.hospital:8080", False),
        ("evil.localhost", False),
    ],
)
def test_the_server_must_call_us_by_a_name_of_ours(tmp_path: Path, host: str, well: bool) -> None:
    """The pages would answer any other with 400, and the server would give the subscription up."""
    finding = found(
        settings(tmp_path, "http://127.0.0.1:9/fhir", fhir_notify_url=f"http://{host}/notify/fhir")
    )
    assert finding.well is well
    assert ("PRELIM_HTTP_HOSTS" in finding.said) is not well


def test_each_subscription_is_told_as_it_stands(tmp_path: Path) -> None:
    """Before the first start, active, and in error; doctor changes none of it."""
    with FhirServer() as server:
        chosen = settings(tmp_path, server.base_url, fhir_takes=("orders",))
        assert found(chosen).said == "asked for when Prelim starts; until then the server is polled"
        database = Database(chosen.database_url)
        with fhir_client(chosen) as client:
            Subscribing(chosen, database, client).renew()
        server.subscriptions.settle()
        finding = found(chosen)
        assert (finding.well, finding.said) == (True, "reports: active; orders: active")
        for version in server.store.search("Subscription", []):
            assert version.resource is not None
            if "ServiceRequest" in version.resource["criteria"]:
                told = {**version.resource, "status": "error", "error": "no answer"}
                server.store.update("Subscription", version.id, told)
        finding = found(chosen)
        assert not finding.well
        assert finding.said.startswith("reports: active; orders: the server could not deliver")
        assert "(no answer)" in finding.said
        database.close()
