"""What machines ask, the headers of every answer, and what errors look like."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.exchange import Patient
from plugin import outbox
from plugin.cases import CaseState
from plugin.db import Database, now
from plugin.settings import SettingError, Settings, load
from plugin.tables import Case, Message
from plugin.web.app import HEADERS, create_app
from tests.web_site import WebSite

SECRETS = ("ZZACC", "ZZFAMILY", "ZZGIVEN", "ZZMRN", "ZZQUESTION", "1.2.999")


@pytest.fixture
def site(tmp_path: Path) -> WebSite:
    return WebSite(tmp_path)


def secret_case(site: WebSite) -> str:
    return site.published(
        "ZZACC",
        patient=Patient("ZZMRN", "H", "ZZFAMILY", "ZZGIVEN"),
        clinical_question="ZZQUESTION",
        study_instance_uid="1.2.999",
    )


def test_a_migrated_site_is_alive_and_ready(site: WebSite) -> None:
    """Both answer 200; what waits for a person is counted by direction and state."""
    assert site.json("/healthz") == {"alive": True}
    assert site.json("/readyz") == {
        "ready": True,
        "problem": "",
        "messages": {
            "in": {"REFUSED": 0, "QUARANTINED": 0},
            "out": {"WAITING": 0, "REFUSED": 0},
            "oldest_waiting_delivery_seconds": 0.0,
        },
    }


def test_a_database_without_tables_is_alive_and_not_ready(tmp_path: Path) -> None:
    """Traffic waits until the migration is done."""
    database = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    client = create_app(database, Settings()).test_client()
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (503, False)


def test_a_database_that_does_not_answer_is_not_ready(tmp_path: Path) -> None:
    """The sentence names the setting and not its value."""
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'x.sqlite'}")
    answer = create_app(database, Settings()).test_client().get("/readyz")
    assert answer.status_code == 503
    assert "PRELIM_DATABASE_URL" in answer.json["problem"]
    assert "nowhere" not in answer.get_data(as_text=True)


def test_metrics_count_every_state_and_the_log(site: WebSite) -> None:
    """Zeros included, so that an alert can be written before the first failure."""
    site.every_state()
    text = site.get("/metrics")
    for state in CaseState:
        assert f'prelim_cases{{state="{state}"}} 1\n' in text
    assert 'prelim_messages{direction="in",state="QUARANTINED"} 0\n' in text
    size = len(site.json("/api/audit?limit=1000")["entries"])
    assert f"prelim_audit_entries {size}\n" in text


def test_metrics_give_the_age_of_the_longest_waiting_case(site: WebSite) -> None:
    """In seconds, for each state that waits for a machine."""
    site.ready("A1")
    site.ready("A2")
    with site.database.write() as session:
        session.execute(
            sa.update(Case).where(Case.accession == "A1").values(updated_at=now() - timedelta(hours=1))
        )
    lines = dict(line.rsplit(" ", 1) for line in site.get("/metrics").splitlines() if line[0] != "#")
    assert 3600 <= float(lines['prelim_oldest_waiting_case_seconds{state="READY"}']) < 3700
    assert lines['prelim_oldest_waiting_case_seconds{state="DRAFTED"}'] == "0"


@pytest.mark.parametrize(
    "path", ["/metrics", "/healthz", "/readyz", "/audit", "/api/audit", "/nope", "/?x=ZZACC"]
)
def test_pages_that_are_not_about_a_patient_name_none(site: WebSite, path: str) -> None:
    """No accession, name, id, question or study in what machines scrape, in the log or in an error."""
    secret_case(site)
    text = site.client.get(path).get_data(as_text=True)
    assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize(
    "path", ["/", "/audit", "/audit.csv", "/audit/verify", "/api/cases", "/api/audit", "/healthz", "/metrics",
             "/nope", "/api/nope", "/?state=x", "/static/prelim.css"],
)  # fmt: skip
def test_every_answer_carries_the_security_headers(site: WebSite, path: str) -> None:
    """Pages, downloads, JSON, errors and the style sheet alike."""
    headers = site.client.get(path).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert headers["Cache-Control"] == ("no-cache" if path.startswith("/static") else "no-store")
    assert "Set-Cookie" not in headers


def test_the_content_security_policy_allows_nothing_from_elsewhere() -> None:
    """No script at all; pictures, styles and forms from here only."""
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "img-src": "'self'",
        "style-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }


def test_pages_keep_to_their_own_policy(site: WebSite) -> None:
    """No inline style or script, and nothing fetched from another host."""
    cases = site.every_state()
    paths = ["/", "/audit", "/audit/verify", *(f"/cases/{case_id}" for case_id in cases.values())]
    for path in paths:
        page = site.get(path)
        assert "<script" not in page
        assert "style=" not in page
        assert 'src="http' not in page
        assert 'href="//' not in page


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/api/cases", "/audit", "/static/prelim.css", "/nope"])
def test_only_reading_is_allowed(site: WebSite, method: str, path: str) -> None:
    """Any other method is 405 with the two that exist, wherever it is sent."""
    answer = site.client.open(path, method=method)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_a_failure_inside_tells_neither_page_nor_log_a_patients_words(
    site: WebSite, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception's words stay out; its kind and place are logged."""
    case_id = secret_case(site)
    with site.database.write() as session:
        case = session.get_one(Case, case_id)
        # The date's own error repeats what it could not read.
        case.order = {**case.order, "patient": {**case.order["patient"], "birth_date": "ZZFAMILY"}}
    with caplog.at_level(logging.DEBUG):
        answer = site.client.get(f"/cases/{case_id}")
        twin = site.json(f"/api/cases/{case_id}", 500)
    assert answer.status_code == 500
    assert twin["error"].endswith(".")
    said = caplog.text + answer.get_data(as_text=True) + str(twin)
    assert not [secret for secret in SECRETS if secret in said]
    assert "A page could not be made: ValueError at " in caplog.text


def test_what_was_not_shown_is_not_logged_as_seen(site: WebSite) -> None:
    """A page that fails takes its own entry back."""
    case_id = site.order("A1")
    with site.database.write() as session:
        session.get_one(Case, case_id).order = {"patient": "x"}
    assert site.client.get(f"/cases/{case_id}").status_code == 500
    assert site.leaves("case.viewed") == []


@pytest.mark.parametrize("value", ["X-User", "", "x" * 64])
def test_the_user_header_is_a_header_name_or_nothing(value: str) -> None:
    """Letters, digits and hyphens, up to 64."""
    assert load({"PRELIM_WEB_USER_HEADER": value}).web_user_header == value


@pytest.mark.parametrize("value", ["X User", "X_User", "X-User:", "x" * 65])
def test_what_is_no_header_name_is_refused(value: str) -> None:
    """A value that no request could carry would silently name nobody."""
    with pytest.raises(SettingError, match="PRELIM_WEB_USER_HEADER"):
        load({"PRELIM_WEB_USER_HEADER": value})


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8765", 200), ("localhost", 200), ("prelim.example", 200), ("evil.example", 400)],
)
def test_only_the_names_of_the_settings_are_answered(tmp_path: Path, host: str, status: int) -> None:
    """A request for a host name that is not ours is refused, so that no foreign page can read ours."""
    site = WebSite(tmp_path, http_hosts=("localhost", "127.0.0.1", "prelim.example"))
    assert site.client.get("/", headers={"Host": host}).status_code == status


def test_messages_are_counted_by_direction_and_state(site: WebSite) -> None:
    """Every pair that can be, zeros included; the age of the oldest delivery; nothing of a patient."""
    site.intake.receive(b"MSH|^~\\&|ZZMRN|H|||2026||SIU^S12|R1|P|2.3\rPID|1||ZZMRN||ZZFAMILY\r", "10.0.0.9:1")
    with site.database.write() as session:
        body = b"MSH|^~\\&|PRELIM||||2026||ORU^R01|PRELIM1|P|2.5.1\rPID|1||ZZMRN\r"
        number = outbox.put(session, outbox.RIS, "lane", body)
        written = now() - timedelta(hours=2)
        session.execute(sa.update(Message).where(Message.id == number).values(received_at=written))
    text = site.get("/metrics")
    assert 'prelim_messages{direction="in",state="REFUSED"} 1\n' in text
    assert 'prelim_messages{direction="out",state="WAITING"} 1\n' in text
    assert text.count("prelim_messages{") == 7
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(lines["prelim_oldest_waiting_delivery_seconds"]) == pytest.approx(7200, abs=60)
    ready = site.json("/readyz")["messages"]
    assert ready["in"] == {"REFUSED": 1, "QUARANTINED": 0}
    assert ready["out"] == {"WAITING": 1, "REFUSED": 0}
    assert ready["oldest_waiting_delivery_seconds"] == pytest.approx(7200, abs=60)
    assert not [secret for secret in SECRETS if secret in text + str(ready)]
