"""`prelim message` and `prelim send`: found, shown, replayed, pruned, sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.hl7.ack import AckCode, acknowledge
from connectors.hl7.examples import KINDS
from connectors.hl7.message import parse
from connectors.hl7.mllp import MllpServer, Peer, running
from connectors.sandbox.ris import order_message
from connectors.tls import server_context
from plugin import outbox
from plugin.db import Database, now
from plugin.intake import Intake
from plugin.messages import Subject
from plugin.tables import Message
from tests.case_samples import ADA, BEN, Jobs, an_order, fresh_url
from tests.certificates import Authority
from tests.command_line import failure, invoke, told

AT = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
PEER = "127.0.0.1:1"
ORU = b"MSH|^~\\&|PRELIM||||2026||ORU^R01|PRELIM1|P|2.5.1\rPID|1||PAT-1\r"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """One order, one refused message, one order of another patient, one message that leaves."""
    monkeypatch.chdir(tmp_path)
    url = fresh_url(tmp_path)
    monkeypatch.setenv("PRELIM_DATABASE_URL", url)
    database = Database(url)
    intake = Intake(database, Jobs().enqueue)
    intake.receive(order_message(an_order(), "M1", AT), PEER)
    intake.receive(order_message(an_order(""), "M2", AT), PEER)
    intake.receive(order_message(an_order("ACC2", patient=BEN), "M3", AT), PEER)
    with database.write() as session:
        outbox.put(session, outbox.RIS, "lane", ORU, subjects=[Subject("ACC1", ADA)])
    yield database
    database.close()


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), [4, 3, 2, 1]),
        (("--patient", "PAT-2"), [3]),
        (("--patient", "example"), [4, 1]),
        (("--accession", "ACC1"), [4, 1]),
        (("--control-id", "M2"), [2]),
        (("--type", "ORM"), [3, 2, 1]),
        (("--state", "WAITING"), [4]),
        (("--direction", "in"), [3, 2, 1]),
        (("--channel", "ris"), [4]),
        (("--since", "2999-01-01"), []),
        (("--until", "2000-01-01"), []),
        (("--before", 3), [2, 1]),
        (("--limit", 1), [4]),
        (("--direction", "in", "--accession", "ACC1"), [1]),
    ],
)
def test_messages_are_listed_latest_first_by_every_filter(
    site: Database, options: tuple[object, ...], numbers: list[int]
) -> None:
    """As JSON and as a table."""
    assert [row["id"] for row in told("message", "list", *options)] == numbers
    lines = invoke("message", "list", *options).output.splitlines()
    assert [int(line.split()[0]) for line in lines[1:]] == numbers


def test_a_message_is_shown_and_the_look_is_logged(site: Database) -> None:
    """What came, what was answered, whom it is about; who looked."""
    shown = told("message", "show", 1)
    assert shown["body"].startswith("MSH|")
    assert "MSA|AA|M1" in shown["application_ack"]
    assert shown["accessions"] == ["ACC1"]
    (entry,) = told("audit", "search", "--action", "message.viewed")
    assert (entry["message"], entry["actor"][:9]) == (1, "operator:")
    words = invoke("message", "show", 2).output
    assert "REFUSED" in words
    assert "MSA|AE|M2" in words


def test_the_raw_message_is_printed_byte_by_byte(site: Database) -> None:
    """For another tool to read."""
    with site.read() as session:
        body = session.get_one(Message, 1).body
    assert invoke("message", "show", 1, "--raw").stdout_bytes == body


def test_an_unknown_message_is_one_sentence(site: Database) -> None:
    """Shown or replayed."""
    assert "There is no message 9" in failure("message", "show", 9)
    assert "There is no message 9" in failure("message", "replay", 9, "--why", "x")


def test_a_message_that_came_is_replayed_with_the_settings_of_now(
    site: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a new message; the answer is printed; the log keeps who and why."""
    monkeypatch.setenv("PRELIM_ACCESSION_PLACES", "OBR-18,OBR-3")
    found = told("message", "replay", 2, "--why", "mended")
    assert (found["message"], found["state"], found["direction"]) == (5, "PROCESSED", "in")
    assert "MSA|AA|M2" in found["application_ack"]
    (entry,) = told("audit", "search", "--action", "message.replayed")
    assert (entry["message"], entry["details"]["why"]) == (2, "mended")
    assert "taken as message 6" in invoke("message", "replay", 1, "--why", "again").output


def test_a_message_that_left_is_put_in_the_outbox(site: Database) -> None:
    """Linked to the original."""
    with site.write() as session:
        outbox.refused(session, 4, "no", None)
    assert invoke("message", "replay", 4, "--why", "x").output == "It was put in the outbox as message 5.\n"
    assert told("message", "list", "--state", "WAITING")[0]["replay_of"] == 4


@pytest.mark.parametrize("why", ["", "  "])
def test_a_replay_needs_a_reason(site: Database, why: str) -> None:
    """White space is none."""
    assert "--why" in failure("message", "replay", 1, "--why", why)
    assert len(told("message", "list")) == 4


def test_the_summary_counts_every_kind_and_says_what_waits(site: Database) -> None:
    """By direction, channel, type and state."""
    found = told("message", "summary")
    kinds = {(one["direction"], one["channel"], one["state"]): one["messages"] for one in found["messages"]}
    assert kinds == {
        ("in", "default", "PROCESSED"): 2,
        ("in", "default", "REFUSED"): 1,
        ("out", "ris", "WAITING"): 1,
    }
    assert [(one["destination"], one["messages"]) for one in found["waiting"]] == [("ris", 1)]
    assert "1 wait for ris" in invoke("message", "summary").output


def test_pruning_counts_first_and_erases_only_when_told(site: Database) -> None:
    """Without --yes nothing is changed; with it bodies are gone, but for what a person has to deal with."""
    with site.write() as session:
        session.execute(sa.update(Message).values(received_at=now() - timedelta(days=40)))
    counted = told("message", "prune", "--days", 30)
    assert (counted["erased"], counted["messages"], counted["first"], counted["last"]) == (False, 2, 1, 3)
    assert "add --yes" in invoke("message", "prune", "--days", 30).output
    assert told("message", "show", 1)["body"]
    assert "numbers 1 to 3, were erased" in invoke("message", "prune", "--days", 30, "--yes").output
    shown = told("message", "show", 1)
    assert (shown["body"], bool(shown["pruned_at"])) == (None, True)
    assert told("message", "show", 2)["body"]
    assert told("message", "show", 4)["body"]
    (entry,) = told("audit", "search", "--action", "messages.pruned")
    assert entry["actor"].startswith("operator:")
    assert "was erased" in failure("message", "replay", 1, "--why", "x")
    assert "was erased" in failure("message", "show", 1, "--raw")
    assert "No message older" in invoke("message", "prune", "--days", 30, "--yes").output


@pytest.mark.parametrize(("days", "code"), [(0, 2), (1, 0)])
def test_pruning_takes_one_day_or_more(site: Database, days: int, code: int) -> None:
    """Zero would erase what came just now."""
    assert invoke("message", "prune", "--days", days).exit_code == code


# --- send


async def accept(payload: bytes, _peer: Peer) -> list[bytes]:
    return [acknowledge(parse(payload), AckCode.AA)]


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_example_of_every_kind_is_taken(site: Database, kind: str) -> None:
    """What is sent as an example, a fresh site accepts; no file is needed."""
    taken: list[bytes] = []
    intake = Intake(site, Jobs().enqueue)

    async def receive(payload: bytes, peer: Peer) -> tuple[bytes, ...]:
        taken.append(payload)
        return intake.receive(payload, peer.address).in_order

    with running(MllpServer("127.0.0.1", 0, receive)) as port:
        (sent,) = told("send", "--example", kind, "--to", f"127.0.0.1:{port}")
    assert (sent["file"], sent["code"]) == (kind, "AA")
    assert parse(taken[0]).control_id == sent["control_id"]


def test_a_file_of_several_messages_is_sent_message_by_message(tmp_path: Path) -> None:
    """Pasted one after another, or in a batch; each is named with its number in the file."""
    one, two = (order_message(an_order(), f"M{number}", AT) for number in (1, 2))
    pasted, batch = tmp_path / "pasted.hl7", tmp_path / "batch.hl7"
    pasted.write_bytes(one + two)
    batch.write_bytes(b"BHS|^~\\&|RIS\r" + one + two + b"BTS|2\r")
    with running(MllpServer("127.0.0.1", 0, accept)) as port:
        for file in (pasted, batch):
            sent = told("send", file, "--to", f"127.0.0.1:{port}")
            assert [ack["control_id"] for ack in sent] == ["M1", "M2"]
            assert [ack["file"] for ack in sent] == [f"{file} (1)", f"{file} (2)"]


def test_a_batch_that_disagrees_with_its_count_is_not_sent(tmp_path: Path) -> None:
    """Nothing of it: the sentence names the file and the place."""
    file = tmp_path / "batch.hl7"
    file.write_bytes(b"BHS|^~\\&|RIS\r" + order_message(an_order(), "M1", AT) + b"BTS|2\r")
    words = failure("send", file, "--to", "127.0.0.1:1")
    assert words.startswith(str(file))
    assert "BTS-1" in words


def test_files_are_optional_only_beside_an_example() -> None:
    """One sentence that names both."""
    assert "--example" in failure("send", "--to", "127.0.0.1:1")


def test_messages_are_sent_by_tls(tmp_path: Path) -> None:
    """With a CA the listener is verified; with our certificate it lets us in."""
    authority = Authority(tmp_path)
    theirs, ours = authority.issue("listener"), authority.issue("sender")
    context = server_context(theirs.certificate, theirs.key, authority.certificate)
    own = ("--tls-certificate", ours.certificate, "--tls-key", ours.key)
    with running(MllpServer("127.0.0.1", 0, accept, ssl_context=context)) as port:
        arguments = ("send", "--example", "orm", "--to", f"127.0.0.1:{port}", "--timeout", 5)
        assert told(*arguments, "--tls-ca", authority.certificate, *own)[0]["code"] == "AA"
        assert failure(*arguments, "--tls-ca", authority.certificate).startswith("0 of 1")
        stranger = Authority(tmp_path, "stranger")
        assert failure(*arguments, "--tls-ca", stranger.certificate, *own).startswith("0 of 1")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tls-certificate", "{file}"), "need --tls-ca"),
        (("--tls-key", "{file}"), "need --tls-ca"),
        (("--tls-ca", "{file}", "--tls-key", "{file}"), "together"),
        (("--tls-ca", "{file}"), "expected certificates in PEM"),
    ],
)
def test_tls_options_that_do_not_fit_are_one_sentence(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    """Before anything is sent."""
    file = tmp_path / "file"
    file.write_text("nothing")
    given = [option.format(file=file) for option in options]
    assert words in failure("send", "--example", "orm", "--to", "127.0.0.1:1", *given)
