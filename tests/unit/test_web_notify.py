"""The endpoint that the FHIR server calls: who is heard, what is remembered, and what is answered."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from connectors.fhir.notices.notifications import MAX_NOTIFICATION_BYTES
from plugin.settings import SettingError
from plugin.tables import FhirNotice
from plugin.web.app import FORM_BYTES, create_app
from tests.web_site import WebSite

SECRET = "a-secret-of-this-test"
BEARER = {"Authorization": f"Bearer {SECRET}"}
FHIR = "http://fhir.hospital/r4"
URL = "http://prelim.hospital/notify/fhir"
REPORT = {"resourceType": "DiagnosticReport", "id": "17"}
WHERE = "/notify/fhir/reports"


class Endpoint(WebSite):
    """A site that is notified; how often it was said that something waits."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fhir_url=FHIR, fhir_notify_url=URL, fhir_notify_secret=SECRET)
        self.noticed = 0
        self.app = create_app(self.database, self.settings, self.intake, self._noticed)

    def _noticed(self) -> None:
        self.noticed += 1

    def call(self, path: str = WHERE, body: Any = b"", method: str = "POST", **more: Any) -> TestResponse:
        """One call of the server."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.open(path, **{"method": method, "data": data, "headers": BEARER, **more})

    @property
    def waiting(self) -> list[str]:
        """The notices."""
        with self.database.read() as session:
            return list(session.scalars(sa.select(FhirNotice.reference).order_by(FhirNotice.reference)))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Endpoint]:
    site = Endpoint(tmp_path)
    yield site
    site.database.close()


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    ("path", "body", "left"),
    [
        (WHERE, b"", "DiagnosticReport"),
        (WHERE, REPORT, "DiagnosticReport/17"),
        (f"{WHERE}/DiagnosticReport/17", REPORT, "DiagnosticReport/17"),
        ("/notify/fhir/orders", b"", "ServiceRequest"),
    ],
)
def test_what_a_call_names_is_remembered(
    site: Endpoint, method: str, path: str, body: Any, left: str
) -> None:
    """By either method; answered with nothing, once it is stored."""
    answer = site.call(path, body, method)
    assert (answer.status_code, answer.data) == (200, b"")
    assert (site.waiting, site.noticed) == ([left], 1)


def test_what_is_known_already_wakes_nobody(site: Endpoint) -> None:
    """The notice waits; the second call of the same is answered and changes nothing else."""
    assert [site.call().status_code for _ in range(2)] == [200, 200]
    assert site.noticed == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {SECRET}x"},
        {"Authorization": f"Bearer {SECRET[:-1]}"},
        {"Authorization": f"bearer {SECRET}"},
        {"Authorization": SECRET},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": f"Bearer {SECRET}\xff"},
    ],
)
def test_who_does_not_know_the_secret_is_not_heard(
    site: Endpoint, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """401, a line in the log without what came, and nothing is remembered."""
    assert site.call(headers=headers).status_code == 401
    assert (site.waiting, site.noticed) == ([], 0)
    assert "bearer token was refused" in caplog.text
    assert SECRET[:-1] not in caplog.text


@pytest.mark.parametrize("spare", [0, 1])
def test_a_body_may_be_this_long_and_no_longer(site: Endpoint, spare: int) -> None:
    """At the limit it is read, far over that of our forms; one byte more is refused unread."""
    start, end = b'{"resourceType":"DiagnosticReport","id":"17","conclusion":"', b'"}'
    body = start + b"x" * (MAX_NOTIFICATION_BYTES + spare - len(start) - len(end)) + end
    assert len(body) > FORM_BYTES
    assert site.call(body=body).status_code == (413 if spare else 200)
    assert site.waiting == ([] if spare else ["DiagnosticReport/17"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (WHERE, b"{"),
        (WHERE, b"\xff\xfe"),
        (WHERE, b"[]"),
        (WHERE, b"<Bundle/>"),
        (WHERE, {"resourceType": "Bundle"}),
        (f"{WHERE}/DiagnosticReport", b""),
        (f"{WHERE}/a/b/c/d", b""),
        (WHERE, b"[" * 100_000),
    ],
)
def test_what_cannot_be_read_is_refused(site: Endpoint, path: str, body: Any) -> None:
    """400, and nothing is remembered."""
    assert site.call(path, body).status_code == 400
    assert (site.waiting, site.noticed) == ([], 0)


@pytest.mark.parametrize("path", ["/notify/fhir", "/notify/fhir/others", "/notify/fhir/x"])
def test_a_name_that_is_none_of_ours_is_unknown(
    site: Endpoint, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """404, and the log says so."""
    assert site.call(path).status_code == 404
    assert "A notification was refused" in caplog.text
    assert site.waiting == []


def test_places_elsewhere_are_dropped_and_counted(site: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever lies not below our own base URL is nowhere to look; its address is not in the log."""
    focus = [f"{FHIR}/DiagnosticReport/1", "http://evil.example/DiagnosticReport/2", "../Patient/3"]
    events = [
        {
            "name": "notification-event",
            "part": [
                {"name": "event-number", "valueString": str(number)},
                {"name": "focus", "valueReference": {"reference": reference}},
            ],
        }
        for number, reference in enumerate(focus, 1)
    ]
    told = [{"name": "type", "valueCode": "event-notification"}, *events]
    status = {"resourceType": "Parameters", "parameter": told}
    body = {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}
    assert site.call(body=body).status_code == 200
    # Two events name no place of ours: something of the type happened.
    assert site.waiting == ["DiagnosticReport", "DiagnosticReport/1"]
    assert "named 2 resources of another server" in caplog.text
    assert "evil" not in caplog.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_taken(site: Endpoint, method: str) -> None:
    """Only a server that tells something is answered."""
    assert site.call(method=method).status_code == 405


def test_it_is_called_by_our_names_alone(site: Endpoint) -> None:
    """As the pages are: another name in Host is refused before anything is read."""
    assert site.call(headers={**BEARER, "Host": "evil.example"}).status_code == 400
    assert site.waiting == []


def test_without_an_address_of_ours_there_is_no_endpoint(tmp_path: Path) -> None:
    """A site that asks for no notifications takes none."""
    site = WebSite(tmp_path, fhir_url=FHIR)
    assert site.client.post(WHERE, headers={"Authorization": "Bearer "}).status_code in {404, 405}
    site.database.close()


@pytest.mark.parametrize(
    ("changes", "setting"),
    [({"fhir_notify_secret": ""}, "PRELIM_FHIR_NOTIFY_SECRET"), ({"fhir_url": ""}, "PRELIM_FHIR_URL")],
)
def test_no_endpoint_is_opened_that_anybody_could_call(
    tmp_path: Path, changes: dict[str, str], setting: str
) -> None:
    """An address without a secret, or without a server, is a setting to mend."""
    given = {"fhir_url": FHIR, "fhir_notify_url": URL, "fhir_notify_secret": SECRET, **changes}
    with pytest.raises(SettingError, match=setting):
        WebSite(tmp_path, **given)


def test_nothing_of_a_resource_that_comes_along_is_kept_or_logged(
    site: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that sends whole resources tells us a place and no more."""
    caplog.set_level(logging.DEBUG)
    patient = {"subject": {"display": "Ada Example"}, "conclusion": "Ada has an effusion."}
    site.call(body={**REPORT, **patient})
    site.call(f"{WHERE}/a/b/c", {**REPORT, **patient})
    assert site.waiting == ["DiagnosticReport/17"]
    assert "Ada" not in caplog.text
    # SQLite keeps what it stores in a file of its own beside: nothing of it is there either.
    raw = b"".join(path.read_bytes() for path in Path(site.database.url.partition("///")[2]).parent.iterdir())
    assert b"effusion" not in raw
