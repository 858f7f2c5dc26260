"""The command line: help and --json everywhere, one sentence for what a person can mend."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from connectors.hl7.ack import AckCode, acknowledge
from connectors.hl7.message import parse
from connectors.hl7.mllp import MllpServer, Peer, running
from connectors.sandbox.ris import order_message
from plugin.casework import find_case, hold
from plugin.cli import prelim
from plugin.db import Database
from plugin.intake import Intake
from tests.case_samples import ADA, ROSA, Jobs, a_report, an_order, fresh_url, see_report, tamper
from tests.command_line import failure, invoke, told

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
DEMO = {"accession": "DEMO-ACC-1", "study_instance_uid": "2.25.214748364720260105"}


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of ours below a group; those of training are tested with training."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = list(leaves(prelim))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A working folder of its own with a migrated database that holds one order and one refused message."""
    monkeypatch.chdir(tmp_path)
    url = fresh_url(tmp_path)
    monkeypatch.setenv("PRELIM_DATABASE_URL", url)
    database = Database(url)
    intake = Intake(database, Jobs().enqueue)
    intake.receive(order_message(an_order(), "M1", AT), "127.0.0.1:1")
    intake.receive(order_message(an_order(""), "M2", AT), "127.0.0.1:1")
    yield database
    database.close()


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_command_has_help_and_json(path: tuple[str, ...], command: click.Command) -> None:
    """--help prints a first sentence, --json is there, and each option says what it does."""
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "--json" in result.output
    assert command.help
    assert not [o.name for o in command.params if isinstance(o, click.Option) and not (o.help or o.hidden)]


def test_the_commands_have_their_stable_names() -> None:
    """What scripts of the site call."""
    names = {" ".join(path) for path, _ in COMMANDS}
    assert names >= {
        "audit search",
        "audit verify",
        "case list",
        "case replay",
        "case show",
        "demo",
        "doctor",
        "draft",
        "message list",
        "message replay",
        "message show",
        "migrate",
        "send",
        "serve",
    }


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PRELIM_")}
    command = [sys.executable, "-c", "from plugin.cli import main; main()", *map(str, arguments)]
    return subprocess.run(
        command,
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["case", "list"], {"PRELIM_MLLP_PORT": "many"}, "PRELIM_MLLP_PORT must be"),
        (["doctor"], {"PRELIM_MLLP_PROT": "1"}, "PRELIM_MLLP_PROT is no setting"),
        (["case", "list"], {"PRELIM_DATABASE_URL": "sqlite:///{folder}/new.sqlite"}, "prelim migrate"),
        (["case", "list"], {"PRELIM_DATABASE_URL": "sqlite:///{folder}/none/x.sqlite"}, "prelim doctor"),
        (["migrate"], {"PRELIM_DATABASE_URL": "sqlite:///{folder}/none/x.sqlite"}, "prelim doctor"),
    ],
)
def test_what_a_person_can_mend_is_one_sentence(
    arguments: list[str], variables: dict[str, str], words: str, tmp_path: Path
) -> None:
    """A wrong setting or database ends with code 1 and one line on standard error, never a stack."""
    done = run(*arguments, **{name: value.format(folder=tmp_path) for name, value in variables.items()})
    assert done.returncode == 1
    assert done.stderr.startswith("prelim: ")
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    # A command that only looks makes no database at a mistyped path.
    assert list(tmp_path.iterdir()) == []


def test_verify_says_what_holds(site: Database) -> None:
    """Exit code 0 and a checkpoint to write down, against which the next check holds as well."""
    found = told("audit", "verify")
    assert (found["verified"], found["problem"]) == (True, "")
    assert told("audit", "verify", "--against", found["checkpoint"])["verified"]
    assert f"All {found['size']} entries hold." in invoke("audit", "verify").output


def test_verify_ends_with_one_when_something_was_changed(site: Database) -> None:
    """Exit code 1, the position, and no checkpoint."""
    tamper(site, "UPDATE audit_leaves SET actor = 'else' WHERE position = 1")
    found = told("audit", "verify", code=1)
    assert (found["verified"], found["checkpoint"]) == (False, None)
    assert "Entry 1" in found["problem"]
    assert "The log does not hold." in invoke("audit", "verify").output


@pytest.mark.parametrize("checkpoint", ["99:" + "0" * 64, "1:" + "0" * 64])
def test_verify_against_another_log_fails(site: Database, checkpoint: str) -> None:
    """Exit code 1 when the checkpoint is over more entries, or over others."""
    assert told("audit", "verify", "--against", checkpoint, code=1)["problem"]


def test_verify_against_what_is_no_checkpoint_says_so(site: Database) -> None:
    """One sentence that names the form."""
    assert "SIZE:ROOT" in failure("audit", "verify", "--against", "5")


def test_the_log_is_searched_and_listed(site: Database) -> None:
    """By accession and action, as JSON and as a table."""
    assert [entry["action"] for entry in told("audit", "search", "--accession", "ACC1")] == [
        "case.opened",
        "order.taken",
    ]
    assert told("audit", "search", "--action", "message", "--limit", 1)[0]["action"] == "message.processed"
    assert "order.taken" in invoke("audit", "search").output


def test_cases_are_listed_and_shown(site: Database) -> None:
    """By state; by id and by accession; an unknown one is one sentence."""
    (listed,) = told("case", "list")
    assert (listed["accession"], listed["state"]) == ("ACC1", "RECEIVED")
    assert told("case", "list", "--state", "SIGNED") == []
    assert told("case", "show", "ACC1") == told("case", "show", listed["id"])
    assert "ACC1: RECEIVED" in invoke("case", "show", "ACC1").output
    assert "no such case" in failure("case", "show", "ACC9")


def test_a_shown_case_tells_all_of_its_sign_offs(site: Database) -> None:
    """Who in what role, how much was changed, and where it was seen; as JSON every column."""
    signed = a_report("ACC1", signer=replace(ROSA, role="OBR-32"), study_instance_uid="")
    with site.write() as session:
        see_report(session, signed, "message 5:0", "hl7/RIS")
    (row,) = told("case", "show", "ACC1")["signoffs"]
    assert (row["signer_role"], row["untouched"], row["evidence"]) == ("OBR-32", None, "message 5:0")
    shown = invoke("case", "show", "ACC1").output
    assert "signed: final by Dr. Elena Rosa (OBR-32), seen as message 5:0" in shown


def test_a_case_is_replayed_with_who_and_why(site: Database) -> None:
    """A HELD case is compared again; the log keeps the reason; --why must be given."""
    with site.write() as session:
        hold(session, find_case(session, "ACC1"), "test", "For a test.")  # type: ignore[arg-type]
    assert invoke("case", "replay", "ACC1").exit_code == 2
    assert told("case", "replay", "ACC1", "--why", "Looked at it.")["state"] == "RECEIVED"
    (entry,) = told("audit", "search", "--action", "case.replayed")
    assert entry["actor"].startswith("operator:")
    assert entry["details"]["why"] == "Looked at it."
    with site.write() as session:
        find_case(session, "ACC1").state = "SIGNED"  # type: ignore[union-attr]
    assert "cannot be replayed" in failure("case", "replay", "ACC1", "--why", "x")


def test_messages_are_listed_and_shown(site: Database) -> None:
    """Latest first, by state; what came and what was answered."""
    assert [row["state"] for row in told("message", "list")] == ["REFUSED", "PROCESSED"]
    assert [row["id"] for row in told("message", "list", "--state", "REFUSED")] == [2]
    assert [row["id"] for row in told("message", "list", "--accession", "ACC1")] == [1]
    shown = told("message", "show", 1)
    assert shown["body"].startswith("MSH|")
    assert "MSA|AA|M1" in shown["application_ack"]
    assert "There is no message 9" in failure("message", "show", 9)


def test_a_message_is_replayed(site: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings of now, linked to the original."""
    monkeypatch.setenv("PRELIM_ACCESSION_PLACES", "OBR-18,OBR-3")
    assert "MSA|AA|M2" in told("message", "replay", 2, "--why", "mended")["application_ack"]
    assert told("message", "list")[0]["replay_of"] == 2
    assert "There is no message 9" in failure("message", "replay", 9, "--why", "x")


@pytest.mark.parametrize(
    ("code", "exit_code"), [(AckCode.AA, 0), (AckCode.CA, 0), (AckCode.AE, 1), (AckCode.AR, 1)]
)
def test_send_prints_each_ack(tmp_path: Path, code: AckCode, exit_code: int) -> None:
    """Exit code 0 only when every message is accepted, over a real MLLP listener."""

    async def handle(payload: bytes, _peer: Peer) -> list[bytes]:
        return [acknowledge(parse(payload), code)]

    files = [tmp_path / "a.hl7", tmp_path / "b.hl7"]
    for number, file in enumerate(files):
        file.write_bytes(order_message(an_order(), f"M{number}", AT))
    with running(MllpServer("127.0.0.1", 0, handle)) as port:
        found = told("send", *files, "--to", f"127.0.0.1:{port}", code=exit_code)
        plain = invoke("send", files[0], "--to", f"127.0.0.1:{port}")
    assert [(ack["code"], ack["control_id"]) for ack in found] == [(code.value, "M0"), (code.value, "M1")]
    assert plain.output.startswith(code.value)


def test_send_without_a_listener_says_so(tmp_path: Path) -> None:
    """One sentence: how many were answered, and what to do."""
    file = tmp_path / "a.hl7"
    file.write_bytes(order_message(an_order(), "M1", AT))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        words = failure("send", file, "--to", f"127.0.0.1:{unused.getsockname()[1]}", "--timeout", 5)
    assert words.startswith("0 of 1 messages were answered.")
    assert "HOST:PORT" in failure("send", file, "--to", "nowhere")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo study as a folder of DICOM files, and the scripted drafter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRELIM_MODEL", str(ROOT / "model" / "weights" / "scripted"))
    with zipfile.ZipFile(ROOT / "connectors" / "sandbox" / "studies" / "chest-ct.zip") as archive:
        archive.extractall(tmp_path / "study")
    return tmp_path / "study"


def test_draft_writes_one_draft_from_files(study: Path) -> None:
    """The text under its notice; as JSON with the hash of the text."""
    found = told("draft", study)
    assert "Small left pleural effusion." in found["text"]
    plain = invoke("draft", study).output
    assert plain.startswith(found["notice"])


def test_draft_takes_the_order_that_belongs_to_the_images(study: Path, tmp_path: Path) -> None:
    """An order of the same patient, accession and study is used."""
    file = tmp_path / "order.hl7"
    patient = type(ADA)("DEMO-0001", "DEMOHOSP")
    file.write_bytes(order_message(an_order(patient=patient, **DEMO), "M1", AT))
    assert told("draft", study, "--order", file)["text"]


@pytest.mark.parametrize("change", [{"patient": ADA}, {"accession": "ACC1"}, {"study_instance_uid": "1.2.3"}])
def test_draft_refuses_the_order_of_somebody_else(
    study: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    """Another patient, accession or study: no draft, and a sentence without identifiers."""
    file = tmp_path / "order.hl7"
    patient = type(ADA)("DEMO-0001", "DEMOHOSP")
    file.write_bytes(order_message(an_order(**{"patient": patient, **DEMO, **change}), "M1", AT))
    words = failure("draft", study, "--order", file)
    assert words.startswith("No draft: ")
    assert not [part for part in ("PAT-1", "DEMO", "ACC1", "1.2.3", "2.25") if part in words]


def test_doctor_with_nothing_set_says_how_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1; database, FHIR server and archive each name what to do; every setting is listed."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PRELIM_")]:
        monkeypatch.delenv(name)
    found = told("doctor", code=1)
    ill = {finding["name"]: finding["said"] for finding in found["findings"] if not finding["well"]}
    assert "prelim migrate" in ill["database"]
    assert "PRELIM_FHIR_URL" in ill["FHIR server"]
    assert "PRELIM_DICOMWEB_URL" in ill["image archive"]
    assert {row["from"] for row in found["settings"]} == {"default"}


def test_doctor_shows_each_listener_by_what_is_its_own(
    site: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name, and what differs from the default."""
    listeners = [{"name": "orders", "port": 0, "charset": "8859/1"}, {"name": "results"}]
    monkeypatch.setenv("PRELIM_LISTENERS", json.dumps(listeners))
    found = told("doctor", code=1)
    (value,) = [row["value"] for row in found["settings"] if row["setting"] == "PRELIM_LISTENERS"]
    assert value == "orders (port 0, charset 8859/1),results (as by default)"
    assert {finding["name"] for finding in found["findings"]} >= {"listener orders", "listener results"}


def test_doctor_shows_no_secret(site: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is set is shown as set."""
    monkeypatch.setenv("PRELIM_FHIR_TOKEN", "hunter2")
    for arguments in (["doctor"], ["doctor", "--json"]):
        result = invoke(*arguments)
        assert "hunter2" not in result.output
        assert "(set)" in result.output
