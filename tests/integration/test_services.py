"""The real peers behave as the other integration tests count on."""

from __future__ import annotations

import uuid

import httpx
import pytest
import sqlalchemy

pytestmark = pytest.mark.services


def test_hapi_conditional_create_makes_one_resource(hapi_url: str) -> None:
    """Two creates under the same If-None-Exist leave one resource (FHIR R4 3.1.0.8.1)."""
    value = str(uuid.uuid4())
    device = {"resourceType": "Device", "identifier": [{"system": "urn:prelim:test", "value": value}]}
    headers = {"If-None-Exist": f"identifier=urn:prelim:test|{value}"}
    with httpx.Client(base_url=hapi_url, timeout=60) as http:
        codes = [http.post("/Device", json=device, headers=headers).status_code for _ in range(2)]
        found = http.get("/Device", params={"identifier": f"urn:prelim:test|{value}"}).json()
    assert codes == [201, 200]
    assert len(found["entry"]) == 1


def test_hapi_refuses_a_write_over_a_newer_version(hapi_url: str) -> None:
    """A stale If-Match is refused and changes nothing; HAPI says 409 where FHIR R4 3.1.0.5 names 412."""
    with httpx.Client(base_url=hapi_url, timeout=60) as http:
        made = http.post("/Device", json={"resourceType": "Device", "status": "active"}).json()
        url = f"/Device/{made['id']}"
        fresh = http.put(url, json={**made, "status": "inactive"}, headers={"If-Match": 'W/"1"'})
        stale = http.put(url, json={**made, "status": "entered-in-error"}, headers={"If-Match": 'W/"1"'})
        assert fresh.status_code == 200
        assert stale.status_code in {409, 412}
        assert http.get(url).json()["status"] == "inactive"


def test_hapi_transaction_is_all_or_nothing(hapi_url: str) -> None:
    """A transaction with one bad entry leaves nothing of the others behind (FHIR R4 3.1.0.11.2)."""
    value = str(uuid.uuid4())
    good = {"resourceType": "Device", "identifier": [{"system": "urn:prelim:test", "value": value}]}
    bad = {"resourceType": "Provenance", "target": [{"reference": f"Device/{uuid.uuid4()}"}]}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"resource": good, "request": {"method": "POST", "url": "Device"}},
            {"resource": bad, "request": {"method": "POST", "url": "Provenance"}},
        ],
    }
    with httpx.Client(base_url=hapi_url, timeout=60) as http:
        assert http.post("/", json=bundle).is_client_error
        found = http.get("/Device", params={"identifier": f"urn:prelim:test|{value}"}).json()
    assert "entry" not in found


def test_orthanc_announces_changes_and_answers_qido(orthanc_url: str, dicomweb_url: str) -> None:
    """The archive has both of the surfaces that we use: the changes feed and QIDO-RS."""
    assert "Changes" in httpx.get(f"{orthanc_url}/changes", params={"limit": 1}).json()
    assert httpx.get(f"{dicomweb_url}/studies", params={"limit": 1}).status_code in {200, 204}


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_gets_an_empty_postgresql(postgres_url: str, turn: str) -> None:
    """What one test writes to PostgreSQL the next one does not see."""
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE only_once (turn text)")
        connection.exec_driver_sql("INSERT INTO only_once VALUES (%s)", (turn,))
    engine.dispose()
