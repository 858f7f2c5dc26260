"""What one transaction writes and reads at once, on a real server."""

from __future__ import annotations

import secrets

from connectors.fhir.client import FhirClient


def test_a_transaction_reads_back_what_it_writes(hapi_url: str) -> None:
    """One round trip: the new resource when asked for, what a search finds, nothing for what is absent."""
    mark = secrets.token_hex(6)
    query = f"identifier=urn:prelim:test%7C{mark}"
    device = {"resourceType": "Device", "identifier": [{"system": "urn:prelim:test", "value": mark}]}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"resource": device, "request": {"method": "POST", "url": "Device", "ifNoneExist": query}},
            {"request": {"method": "GET", "url": f"Device?{query}"}},
            {"request": {"method": "GET", "url": f"Device/none-{mark}"}},
        ],
    }
    with FhirClient(hapi_url, timeout_seconds=60) as client:
        written, found, absent = client.transaction(bundle, representation=True)
        again, *_ = client.transaction(bundle)
    assert written.created
    assert written.resource is not None
    assert f"Device/{written.resource['id']}" == written.reference
    assert written.resource["meta"]["versionId"] == written.version
    assert found.resource is not None
    assert [entry["resource"]["id"] for entry in found.resource["entry"]] == [written.resource["id"]]
    assert (absent.reference, absent.resource) == ("", None)
    assert (again.reference, again.created, again.resource) == (written.reference, False, None)
