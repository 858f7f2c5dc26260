"""The list of messages, the page of one, and the form that replays it."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from connectors.exchange import Patient
from connectors.sandbox.ris import order_message
from plugin import outbox
from plugin.audit.verify import verify
from plugin.db import now
from plugin.offering import offer, offer_message
from plugin.pruning import prune
from plugin.reports import latest_draft
from plugin.tables import Case, Message
from plugin.web import forms
from plugin.web.app import create_app
from plugin.web.messages import PAGE
from tests.web_site import WebSite, order

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
PEER = "10.0.0.9:50000"
USER = {"X-User": "k.osei"}
OURS = {"Origin": "http://localhost"}
MUELLER = Patient("MRN77", "HOSP", "MÜLLER", "Jörg")
ATTACK = "<script>alert(1)</script>\"'{{7*7}}"


@pytest.fixture
def site(tmp_path: Path) -> WebSite:
    return WebSite(tmp_path, web_user_header="X-User")


def taken(site: WebSite, accession: str = "A1", control_id: str = "M1", **words: Any) -> int:
    """Take an order as a message; returns the message's number."""
    site.intake.receive(order_message(order(accession, **words), control_id, AT), PEER)
    return last(site)


def refused(site: WebSite) -> int:
    """A message of a type that is not taken."""
    site.intake.receive(b"MSH|^~\\&|OLD|HOSP|||2026||SIU^S12|R1|P|2.3\rSCH|1\r", PEER)
    return last(site)


def offered(site: WebSite, accession: str = "P1") -> int:
    """A draft in the outbox."""
    case_id = site.published(accession)
    with site.database.write() as session:
        row = latest_draft(session, case_id)
        assert row is not None
        case = session.get_one(Case, case_id)
        offer(session, case, row, offer_message(case, row, site.settings))
    return last(site)


def last(site: WebSite) -> int:
    """The number of the latest message."""
    with site.database.read() as session:
        return session.scalar(sa.select(sa.func.max(Message.id))) or 0


def listed(site: WebSite, query: str = "") -> list[int]:
    return [message["id"] for message in site.json(f"/api/messages{query}")["messages"]]


def token_of(site: WebSite, number: int, headers: dict[str, str] = USER) -> str:
    """The token of the form on a message's page."""
    found = re.search(r'name="token" value="([^"]+)"', site.get(f"/messages/{number}", headers=headers))
    assert found, "the page has no form"
    return found[1]


def post(site: WebSite, number: int, headers: dict[str, str] | None = None, **form: str) -> TestResponse:
    """Send the form; everything right unless told otherwise."""
    values = {"token": "", "why": "The setting was mended.", **form}
    values["token"] = values["token"] or token_of(site, number)
    sent = {**USER, **OURS} if headers is None else headers
    return site.client.post(f"/messages/{number}/replay", data=values, headers=sent)


# --- the list


def test_an_empty_list_says_so(site: WebSite) -> None:
    """A fresh site shows no table and no error."""
    assert "No message matches" in site.get("/messages")


def test_messages_of_both_ways_are_listed_latest_first(site: WebSite) -> None:
    """In and out in one list, with what each is about."""
    came, leaves = taken(site), offered(site)
    answer = site.json("/api/messages")
    assert [(one["id"], one["direction"]) for one in answer["messages"]] == [(leaves, "out"), (came, "in")]
    assert [one["accessions"] for one in answer["messages"]] == [["P1"], ["A1"]]
    page = site.get("/messages")
    assert page.index(f'href="/messages/{leaves}"') < page.index(f'href="/messages/{came}"')


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("patient=MRN77", {"mueller"}),
        ("patient=m%C3%BCll", {"mueller"}),
        ("patient=M%C3%9CLLER+j", {"mueller"}),
        ("patient=%25", set()),
        ("patient=MRN7", set()),
        ("accession=A2", {"mueller"}),
        ("accession=A", set()),
        ("control_id=M1", {"order"}),
        ("type=ORM", {"order", "mueller"}),
        ("type=ORM%5EO01", {"order", "mueller"}),
        ("type=RM", set()),
        ("state=REFUSED", {"refused"}),
        ("state=WAITING", {"draft"}),
        ("direction=out", {"draft"}),
        ("channel=ris", {"draft"}),
        ("channel=default", {"order", "mueller", "refused"}),
        ("since=2999-01-01", set()),
        ("until=2000-01-01", set()),
        ("state=PROCESSED&accession=A1", {"order"}),
    ],
)
def test_each_filter_finds_what_it_names(site: WebSite, query: str, found: set[str]) -> None:
    """Everything given must hold."""
    numbers = {
        "order": taken(site),
        "mueller": taken(site, "A2", "M2", patient=MUELLER),
        "refused": refused(site),
        "draft": offered(site),
    }
    assert set(listed(site, f"?{query}")) == {numbers[name] for name in found}


@pytest.mark.parametrize(("number", "pages"), [(PAGE, 1), (PAGE + 1, 2)])
def test_a_full_page_has_no_next_and_one_more_message_makes_one(
    site: WebSite, number: int, pages: int
) -> None:
    """Just at the page's size and just over; every message comes once, and the filters stay."""
    for index in range(number):
        taken(site, f"A{index}", f"M{index}")
    refused(site)
    seen: list[int] = []
    address: str | None = "/api/messages?state=PROCESSED"
    count = 0
    while address:
        answer = site.json(address)
        seen += [message["id"] for message in answer["messages"]]
        address, count = answer["next"], count + 1
    assert count == pages
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == number
    assert ("Older messages" in site.get("/messages?state=PROCESSED")) == (pages == 2)


def test_what_needs_a_person_is_counted(site: WebSite) -> None:
    """Every state has its count; those that a person may have to deal with come first."""
    taken(site)
    refused(site)
    offered(site)
    counts = site.json("/api/messages")["counts"]
    assert list(counts)[:3] == ["REFUSED", "QUARANTINED", "WAITING"]
    assert counts == {
        "REFUSED": 1,
        "QUARANTINED": 0,
        "WAITING": 1,
        "PROCESSED": 1,
        "SENT": 0,
        "DROPPED": 0,
    }


def test_the_list_names_no_patient(site: WebSite) -> None:
    """So that looking at it needs no entry in the log."""
    taken(site, patient=Patient("ZZMRN", "H", "ZZFAMILY", "ZZGIVEN"))
    text = (site.get("/messages") + site.client.get("/api/messages").get_data(as_text=True)).casefold()
    assert not [word for word in ("zzmrn", "zzfamily", "zzgiven") if word in text]
    assert site.leaves("message.searched") == []


def test_asking_for_a_patients_messages_is_logged_without_the_patient(site: WebSite) -> None:
    """Who asked, and which messages were found; never for whom."""
    number = taken(site, patient=MUELLER)
    site.get("/messages?patient=MRN77", headers=USER)
    (leaf,) = site.leaves("message.searched")
    assert leaf.actor == "web/k.osei"
    assert f'"found":[{number}]' in leaf.entry
    assert "MRN77" not in leaf.entry


@pytest.mark.parametrize(
    "query", ["state=DONE", "direction=up", "before=0", "since=soon", "page=2", "state=SENT&state=SENT"]
)
def test_a_query_that_cannot_be_answered_is_a_sentence(site: WebSite, query: str) -> None:
    """The page and its twin answer 400 and say what is expected."""
    assert site.client.get(f"/messages?{query}").status_code == 400
    assert site.json(f"/api/messages?{query}", 400)["error"].endswith(".")


def test_the_list_is_in_the_navigation(site: WebSite) -> None:
    """Every page leads to it."""
    assert '<a href="/messages">Messages</a>' in site.get("/")
    assert 'aria-current="page">Messages</a>' in site.get("/messages")


# --- the page of one message


def test_a_message_is_shown_line_by_line_and_field_by_field(site: WebSite) -> None:
    """One segment a line; each valued field with the standard's name and its components."""
    known = site.json(f"/api/messages/{taken(site)}")
    assert known["body"]["lines"][0].startswith("MSH|^~\\&|")
    segments = {segment["name"]: segment for segment in known["body"]["segments"]}
    assert segments["PID"]["meaning"] == "Patient Identification"
    fields = {field["place"]: field for field in segments["PID"]["fields"]}
    assert fields["PID-3"]["name"] == "Patient Identifier List"
    assert {"place": "PID-3.1", "value": "MRN1"} in fields["PID-3"]["parts"]


def test_the_page_shows_the_answer_the_case_and_what_came_of_it(site: WebSite) -> None:
    """The acknowledgement as it was sent, the case with a link, the entries of the log."""
    number = taken(site)
    page = site.get(f"/messages/{number}")
    assert "Application acknowledgement sent: AA" in page
    assert f'<a href="/cases/{site.id_of("A1")}">A1</a>' in page
    for action in ("message.processed", "order.taken"):
        assert action in page


def test_a_refused_message_says_why_and_what_to_do(site: WebSite) -> None:
    """The words of the refusal stand before everything else."""
    number = refused(site)
    known = site.json(f"/api/messages/{number}")
    page = site.get(f"/messages/{number}")
    assert known["reason"].startswith("this type of message is not taken here")
    assert page.index("this type of message is not taken here") < page.index("As it came")
    assert f"prelim message replay {number} --why" in page


def test_a_message_that_is_no_hl7_is_shown_all_the_same(site: WebSite) -> None:
    """Bytes that are no text, control characters and line ends are visible; nothing of it is markup."""
    site.intake.receive(b"hello <b>\x00\x07\xff\nthere", PEER)
    known = site.json(f"/api/messages/{last(site)}")
    assert known["body"]["lines"] == ["hello <b>‹NUL›‹BEL›\\xff‹LF›", "there"]
    assert known["body"]["segments"] == []
    assert "hello &lt;b&gt;" in site.get(f"/messages/{last(site)}")


def test_nothing_of_a_message_is_markup(site: WebSite) -> None:
    """Neither in its lines nor in its fields, its subjects, its sender or its control id."""
    taken(site, "A1", ATTACK, patient=Patient(ATTACK, "H", ATTACK, ATTACK))
    pages = site.get("/messages") + site.get(f"/messages/{last(site)}")
    assert "<script" not in pages
    assert "&lt;script&gt;" in pages
    assert "{{7*7}}" in pages


def test_a_quarantined_message_leads_to_the_one_it_is_compared_with(site: WebSite) -> None:
    """The message that had its MSH-10 before is linked."""
    first = taken(site)
    second = taken(site, "A9")
    known = site.json(f"/api/messages/{second}")
    assert (known["state"], [other["id"] for other in known["same_control_id"]]) == ("QUARANTINED", [first])
    assert f'<a href="/messages/{first}">Message {first}</a>' in site.get(f"/messages/{second}")


def test_a_message_that_waits_says_when_it_is_sent(site: WebSite) -> None:
    """Its attempts, its destination and its draft; a copy of it cannot be made meanwhile."""
    number = offered(site)
    known = site.json(f"/api/messages/{number}")
    assert known["delivery"]["destination"] == "ris"
    assert known["draft"] == {"number": 1, "status": "preliminary", "case": site.id_of("P1")}
    page = site.get(f"/messages/{number}", headers=USER)
    assert "still waits in the outbox" in page
    assert 'name="token"' not in page


def test_a_pruned_message_says_when_and_keeps_its_hash(site: WebSite) -> None:
    """No body, no form; the hash and what it was about stay."""
    number = taken(site)
    with site.database.write() as session:
        session.execute(sa.update(Message).values(received_at=now() - timedelta(days=9)))
    sha256 = site.json(f"/api/messages/{number}")["sha256"]
    prune(site.database, 8, "test")
    known = site.json(f"/api/messages/{number}")
    page = site.get(f"/messages/{number}", headers=USER)
    assert (known["body"], known["sha256"], known["accessions"]) == (None, sha256, ["A1"])
    assert "Its body was erased at" in page
    assert sha256 in page
    assert 'name="token"' not in page
    assert "Body erased." in site.get("/messages")


@pytest.mark.parametrize("address", ["/messages/{}", "/api/messages/{}"])
def test_looking_at_a_message_is_logged(site: WebSite, address: str) -> None:
    """Who and which, before it is shown; the page itself ends with that entry, and the log verifies."""
    number = taken(site)
    known = site.client.get(address.format(number), headers=USER).get_data(as_text=True)
    (leaf,) = site.leaves("message.viewed")
    assert (leaf.actor, leaf.message_id) == ("web/k.osei", number)
    assert leaf.leaf_hash in known
    with site.database.read() as session:
        assert verify(session).verified


def test_a_head_request_is_no_look(site: WebSite) -> None:
    """Nothing is shown, so nobody has seen it."""
    number = taken(site)
    assert site.client.head(f"/messages/{number}").status_code == 200
    assert site.leaves("message.viewed") == []


@pytest.mark.parametrize("number", ["0", "99", "1x", "-1", "01", "9" * 16])
def test_a_message_that_is_not_there_is_not_found(site: WebSite, number: str) -> None:
    """The page, its twin and its form."""
    taken(site)
    for address in (f"/messages/{number}", f"/api/messages/{number}"):
        assert site.client.get(address).status_code == 404
    answer = site.client.post(f"/messages/{number}/replay", data={}, headers={**USER, **OURS})
    assert answer.status_code == 404


# --- the form


def test_a_replay_is_a_new_message_and_leads_to_it(site: WebSite) -> None:
    """See-other to the new page; the log says who and why; both pages link each other."""
    number = taken(site)
    answer = post(site, number)
    new = last(site)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/messages/{new}")
    (leaf,) = site.leaves("message.replayed")
    assert (leaf.actor, leaf.message_id) == ("web/k.osei", number)
    assert "The setting was mended." in leaf.entry
    assert site.json(f"/api/messages/{new}")["original"]["id"] == number
    assert [one["id"] for one in site.json(f"/api/messages/{number}")["replays"]] == [new]


def test_a_replay_of_a_message_that_left_is_put_in_the_outbox(site: WebSite) -> None:
    """As it was, linked to the original."""
    number = offered(site)
    with site.database.write() as session:
        outbox.refused(session, number, "The RIS said no.", None)
    assert post(site, number).status_code == 303
    known = site.json(f"/api/messages/{last(site)}")
    assert (known["direction"], known["state"], known["replay_of"]) == ("out", "WAITING", number)


def test_a_draft_that_stands_no_longer_is_not_offered_again(site: WebSite) -> None:
    """The outbox refuses, and the page says so in its words."""
    number = offered(site)
    with site.database.write() as session:
        outbox.refused(session, number, "The RIS said no.", None)
    token = token_of(site, number)
    site.report("P1", "Findings\nNone.")
    answer = post(site, number, token=token)
    assert (answer.status_code, last(site)) == (409, number)
    assert "stands no longer" in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "headers",
    [
        USER,
        {**USER, "Origin": "http://evil.example"},
        {**USER, "Origin": "http://localhost.evil.example"},
        {**USER, "Origin": "http://evil.example@"},
        {**USER, "Origin": "null"},
        {**USER, "Origin": "http://[bad"},
        {**USER, **OURS, "Sec-Fetch-Site": "cross-site"},
        {**USER, **OURS, "Sec-Fetch-Site": "same-site"},
        {**USER, **OURS, "Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_of_another_page_is_refused(site: WebSite, headers: dict[str, str]) -> None:
    """Whatever token it carries: the browser says where it comes from, and silence is no yes."""
    number = taken(site)
    assert post(site, number, headers).status_code == 403
    assert last(site) == number


@pytest.mark.parametrize(
    "headers", [OURS, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "https://localhost"}]
)
def test_a_form_of_our_own_page_is_taken(site: WebSite, headers: dict[str, str]) -> None:
    """By either header, also where a proxy speaks TLS in front of us."""
    assert post(site, taken(site), {**USER, **headers}).status_code == 303


def test_a_token_is_for_one_message_and_one_person(site: WebSite) -> None:
    """Taken to another message, or sent by somebody else, it is refused."""
    first, second = taken(site), taken(site, "A2", "M2")
    token = token_of(site, first)
    assert post(site, second, token=token).status_code == 403
    assert post(site, first, {"X-User": "somebody", **OURS}, token=token).status_code == 403
    assert post(site, first, token=token).status_code == 303


@pytest.mark.parametrize("token", ["0", "x", "9999999999-" + "0" * 64, "1-" + "é" * 64])
def test_a_token_that_we_did_not_write_is_refused(site: WebSite, token: str) -> None:
    """Guessed or broken, it is 403 and never an error of ours."""
    number = taken(site)
    assert post(site, number, token=token).status_code == 403
    assert last(site) == number


@pytest.mark.parametrize(("age", "status"), [(0, 303), (1, 403)])
def test_a_form_is_valid_for_a_while(
    site: WebSite, monkeypatch: pytest.MonkeyPatch, age: int, status: int
) -> None:
    """Just within its lifetime and just after."""
    at = [1_000_000.0]
    tokens = forms.Tokens(clock=lambda: at[0])
    monkeypatch.setattr("plugin.web.message.Tokens", lambda: tokens)
    site.app = create_app(site.database, site.settings, site.intake)
    number = taken(site)
    token = token_of(site, number)
    at[0] += forms.LIFETIME_SECONDS + age
    assert post(site, number, token=token).status_code == status


def test_a_token_of_before_a_restart_is_refused(site: WebSite) -> None:
    """The key is made anew."""
    number = taken(site)
    token = token_of(site, number)
    site.app = create_app(site.database, site.settings, site.intake)
    assert post(site, number, token=token).status_code == 403


def test_a_form_that_is_sent_twice_replays_once(site: WebSite) -> None:
    """Two clicks, one after the other or at the same moment."""
    number = taken(site)
    token = token_of(site, number)
    answers: list[int] = []
    clicks = [
        threading.Thread(target=lambda: answers.append(post(site, number, token=token).status_code))
        for _ in range(4)
    ]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert sorted(answers) == [303, 403, 403, 403]
    assert last(site) == number + 1


@pytest.mark.parametrize(("why", "status"), [("", 400), ("  ", 400), ("x" * 500, 303), ("x" * 501, 400)])
def test_a_replay_needs_a_reason(site: WebSite, why: str, status: int) -> None:
    """Not empty, and at most 500 characters."""
    assert post(site, taken(site), why=why).status_code == status


def test_without_a_named_user_nothing_is_replayed(site: WebSite) -> None:
    """Neither form nor replay; the sentence names the setting."""
    number = taken(site)
    page = site.get(f"/messages/{number}")
    assert 'name="token"' not in page
    assert "PRELIM_WEB_USER_HEADER" in page
    answer = post(site, number, OURS, token=token_of(site, number))
    assert answer.status_code == 403
    assert "PRELIM_WEB_USER_HEADER" in answer.get_data(as_text=True)
    assert last(site) == number


def test_without_the_setting_a_header_names_nobody(tmp_path: Path) -> None:
    """A client that sends the header itself gains nothing."""
    site = WebSite(tmp_path)
    number = taken(site)
    assert 'name="token"' not in site.get(f"/messages/{number}", headers=USER)
    assert post(site, number, {**USER, **OURS}, token="1-" + "0" * 64).status_code == 403


def test_pages_without_an_intake_replay_nothing(site: WebSite) -> None:
    """They say how it is done instead."""
    number = taken(site)
    site.app = create_app(site.database, site.settings)
    page = site.get(f"/messages/{number}", headers=USER)
    assert 'name="token"' not in page
    assert post(site, number, token="1-" + "0" * 64).status_code == 403


def test_a_message_that_waits_is_not_put_in_the_outbox_twice(site: WebSite) -> None:
    """A form that was opened before it waited is answered with a sentence."""
    number = offered(site)
    with site.database.write() as session:
        session.get_one(Message, number).state = "SENT"
    token = token_of(site, number)
    with site.database.write() as session:
        session.get_one(Message, number).state = "WAITING"
    assert post(site, number, token=token).status_code == 409
    assert last(site) == number


def test_a_form_that_is_too_long_is_refused(site: WebSite) -> None:
    """Before it is read."""
    number = taken(site)
    answer = post(site, number, why="x" * 20_000)
    assert answer.status_code == 413
    assert last(site) == number


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("address", ["/", "/messages", "/messages/1", "/api/messages/1", "/audit"])
def test_no_other_address_takes_a_form(site: WebSite, method: str, address: str) -> None:
    """Everything else is read and nothing else."""
    taken(site)
    answer = site.client.open(address, method=method, headers={**USER, **OURS})
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_the_form_cannot_be_asked_for(site: WebSite) -> None:
    """A link or a picture cannot replay: the address takes POST only."""
    number = taken(site)
    answer = site.client.get(f"/messages/{number}/replay", headers=USER)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert last(site) == number


def test_the_page_with_the_form_lets_the_browser_name_its_origin(site: WebSite) -> None:
    """With no-referrer a browser sends Origin: null; no other header is weaker than elsewhere."""
    number = taken(site)
    of_page = site.client.get(f"/messages/{number}").headers
    of_list = site.client.get("/messages").headers
    assert of_page["Referrer-Policy"] == "same-origin"
    assert of_list["Referrer-Policy"] == "no-referrer"
    assert of_page["Content-Security-Policy"] == of_list["Content-Security-Policy"]
    assert "Set-Cookie" not in of_page


def test_the_pages_say_the_same_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """List, search, page, replay and counts do not depend on SQLite."""
    site = WebSite(tmp_path, database_url=postgres_url, web_user_header="X-User")
    number = taken(site, patient=MUELLER)
    offered(site)
    assert listed(site, "?patient=m%C3%BCll") == [number]
    assert post(site, number).status_code == 303
    assert site.json(f"/api/messages/{number}")["replays"]
    assert 'prelim_messages{direction="out",state="WAITING"} 1\n' in site.get("/metrics")
    site.database.close()
