"""`prelim message` and `prelim send`: HL7 messages in the store, and out of a file."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

from connectors.errors import ExchangeError
from connectors.hl7.mllp import send as send_messages
from plugin.cli.output import Failure, as_json, document, table
from plugin.cli.stored import stored
from plugin.intake import Intake, UnknownMessage
from plugin.pipeline import places
from plugin.queue import WorkQueue
from plugin.settings import load
from plugin.tables import Message


def summary(message: Message) -> dict[str, Any]:
    """A message as lists show it."""
    return {
        "id": message.id,
        "received_at": message.received_at,
        "sender": message.sender,
        "control_id": message.control_id,
        "type": message.message_type,
        "accession": message.accession,
        "state": message.state,
        "reason": message.reason,
        "replay_of": message.replay_of,
    }


@click.group()
def message() -> None:
    """List, show and replay HL7 messages."""


@message.command("list")
@click.option("--state", type=click.Choice(["PROCESSED", "REFUSED", "QUARANTINED"]), help="Only this state.")
@click.option("--accession", default="", help="Only messages of this accession number.")
@click.option("--limit", default=50, type=click.IntRange(1, 1000), show_default=True, help="At most so many.")
@as_json
def list_command(state: str | None, accession: str, limit: int, as_json: bool) -> None:
    """List messages, latest first."""
    chosen = sa.select(Message).order_by(Message.id.desc()).limit(limit)
    if state:
        chosen = chosen.where(Message.state == state)
    if accession:
        chosen = chosen.where(Message.accession == accession)
    with stored() as database, database.read() as session:
        rows = session.scalars(chosen).all()
    if as_json:
        document([summary(row) for row in rows])
        return
    table(
        ("#", "received", "sender", "type", "state", "reason"),
        [
            (r.id, r.received_at.isoformat(timespec="seconds"), r.sender, r.message_type, r.state, r.reason)
            for r in rows
        ],
    )


@message.command("show")
@click.argument("message_id", metavar="ID", type=int)
@as_json
def show(message_id: int, as_json: bool) -> None:
    """Show one message: what came, what was answered, what came of it."""
    with stored() as database, database.read() as session:
        found = session.get(Message, message_id)
    if found is None:
        raise Failure(f"There is no message {message_id}; `prelim message list` shows them.")
    body, ack = (_readable(raw) for raw in (found.body, found.ack))
    if as_json:
        document({**summary(found), "body": body, "ack": ack})
        return
    click.echo(f"Message {found.id}, {found.state}. {found.reason}".rstrip())
    click.echo(f"\n{body}\n\nAnswered:\n{ack}")


def _readable(raw: bytes) -> str:
    return raw.decode("utf-8", errors="backslashreplace").replace("\r", "\n").strip()


@message.command("replay")
@click.argument("message_id", metavar="ID", type=int)
@click.option("--why", required=True, help="The reason, for the log.")
@as_json
def replay(message_id: int, why: str, as_json: bool) -> None:
    """Take a stored message again, linked to the original; the log keeps who and why."""
    settings = load()
    with stored() as database:
        queue = WorkQueue(database)
        try:
            answer = Intake(database, queue.enqueue, places(settings)).replay(
                message_id, why, f"operator:{getpass.getuser()}"
            )
        except UnknownMessage as error:
            raise Failure(str(error)) from None
        finally:
            queue.close()
    if as_json:
        document({"ack": _readable(answer)})
    else:
        click.echo(_readable(answer))


@click.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--to", "peer", required=True, metavar="HOST:PORT", help="The MLLP listener.")
@click.option("--timeout", "timeout_seconds", default=30.0, show_default=True, help="Seconds for each ack.")
@as_json
def send(files: tuple[Path, ...], peer: str, timeout_seconds: float, as_json: bool) -> None:
    """Send HL7 files over MLLP, one message a file, and print each ack.

    Exit code 1 unless all are accepted.
    """
    host, _, port = peer.rpartition(":")
    if not host or not port.isdigit():
        raise Failure(f"--to takes HOST:PORT; it is {peer!r}.")
    bodies = [file.read_bytes() for file in files]
    told: list[dict[str, Any]] = []
    try:
        for file, ack in zip(
            files, send_messages(host, int(port), bodies, timeout_seconds=timeout_seconds), strict=True
        ):
            told.append(
                {"file": str(file), "code": ack.code.value, "control_id": ack.control_id, "text": ack.text}
            )
            if not as_json:
                click.echo(f"{ack.code.value}  {file}  {ack.text}".rstrip())
    except ExchangeError as error:
        raise Failure(
            f"{len(told)} of {len(files)} messages were answered. {error} {error.next_step}"
        ) from None
    if as_json:
        document(told)
    if any(line["code"][1] != "A" for line in told):
        raise SystemExit(1)
