"""`prelim message`: HL7 messages in the store, found, shown, replayed and pruned."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from connectors.hl7.ack import Answers
from plugin.audit.log import record
from plugin.cli.output import Failure, as_json, document, table
from plugin.cli.stored import stored
from plugin.db import Database
from plugin.intake import Intake, UnknownMessage
from plugin.messages import OUT, SEARCH_LIMIT, STATES, MessageQuery, find_messages, subjects_of
from plugin.outbox import Overtaken
from plugin.pipeline import rules
from plugin.pruning import Pruned, prunable, prune
from plugin.queue import WorkQueue
from plugin.settings import load
from plugin.tables import Message
from plugin.tally import DIRECTIONS, summarize, waiting


def summary(message: Message) -> dict[str, Any]:
    """A message as lists show it."""
    return {
        "id": message.id,
        "direction": message.direction,
        "received_at": message.received_at,
        "channel": message.channel,
        "peer": message.peer,
        "sender": message.sender,
        "control_id": message.control_id,
        "type": message.message_type,
        "state": message.state,
        "reason": message.reason,
        "replay_of": message.replay_of,
        "bytes": message.body_bytes,
        "sha256": message.body_sha256,
        "pruned_at": message.pruned_at,
    }


def _who() -> str:
    return f"operator:{getpass.getuser()}"


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _unknown(message_id: int) -> Failure:
    return Failure(f"There is no message {message_id}; `prelim message list` shows them.")


@click.group()
def message() -> None:
    """List, show, replay and prune HL7 messages."""


@message.command("list")
@click.option("--patient", default="", help="Messages about this identifier, or a name that begins so.")
@click.option("--accession", default="", help="Only messages of this accession number.")
@click.option("--control-id", default="", help="Only messages with this MSH-10.")
@click.option(
    "--type", "message_type", default="", help="Only types that begin so, for example ORM or ORU^R01."
)
@click.option("--state", type=click.Choice(STATES), help="Only this state.")
@click.option("--direction", type=click.Choice(DIRECTIONS), help="Only messages that came, or that leave.")
@click.option("--channel", default="", help="Only messages of this listener or destination.")
@click.option("--since", type=click.DateTime(), help="Not before this moment (UTC).")
@click.option("--until", type=click.DateTime(), help="Not after this moment (UTC).")
@click.option("--before", type=click.IntRange(1), help="Only messages with a smaller number, to read on.")
@click.option(
    "--limit", default=50, type=click.IntRange(1, SEARCH_LIMIT), show_default=True, help="At most so many."
)
@as_json
def list_command(
    patient: str,
    accession: str,
    control_id: str,
    message_type: str,
    state: str | None,
    direction: str | None,
    channel: str,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List messages, in and out, latest first."""
    query = MessageQuery(
        patient=patient,
        accession=accession,
        control_id=control_id,
        message_type=message_type,
        state=state or "",
        direction=direction or "",
        channel=channel,
        since=_utc(since),
        until=_utc(until),
        before=before,
        limit=limit,
    )
    with stored() as database, database.read() as session:
        rows = find_messages(session, query)
    if as_json:
        document([summary(row) for row in rows])
        return
    table(
        ("#", "way", "at", "channel", "sender", "type", "state", "reason"),
        [
            (
                row.id,
                row.direction,
                row.received_at.isoformat(timespec="seconds"),
                row.channel,
                row.sender,
                row.message_type,
                row.state,
                row.reason,
            )
            for row in rows
        ],
    )


@message.command("show")
@click.argument("message_id", metavar="ID", type=int)
@click.option("--raw", is_flag=True, help="Print the message and nothing else, byte by byte as it came.")
@as_json
def show(message_id: int, raw: bool, as_json: bool) -> None:
    """Show one message: what came, what was answered, what came of it. The log keeps who looked."""
    with stored() as database, database.write() as session:
        found = session.get(Message, message_id)
        if found is None:
            raise _unknown(message_id)
        record(session, _who(), "message.viewed", message_id=message_id, details={"as": "command"})
        about = subjects_of(session, message_id)
    if raw:
        if found.pruned_at is not None:
            raise Failure(f"The body of message {message_id} was erased on {found.pruned_at.date()}.")
        click.echo(found.body, nl=False)
        return
    body, first, second = (_readable(text) for text in (found.body, found.ack, found.application_ack))
    accessions = list(dict.fromkeys(subject.accession for subject in about if subject.accession))
    if as_json:
        document(
            {
                **summary(found),
                "accessions": accessions,
                "body": None if found.pruned_at else body,
                "ack": first,
                "application_ack": second,
            }
        )
        return
    click.echo(
        f"Message {found.id}, {found.direction}, {found.channel}: {found.state}. {found.reason}".rstrip()
    )
    if accessions:
        click.echo(f"About accession {', '.join(accessions)}.")
    if found.replay_of:
        click.echo(f"A replay of message {found.replay_of}.")
    if found.pruned_at is None:
        click.echo(f"\n{body}")
    else:
        erased = found.pruned_at.isoformat(timespec="seconds")
        click.echo(f"\nIts body was erased at {erased}; SHA-256 {found.body_sha256}.")
    for answer in filter(None, (first, second)):
        click.echo(f"\n{'Acknowledged' if found.direction == OUT else 'Answered'}:\n{answer}")


def _readable(raw: bytes) -> str:
    return raw.decode("utf-8", errors="backslashreplace").replace("\r", "\n").strip()


@message.command("replay")
@click.argument("message_id", metavar="ID", type=int)
@click.option("--why", required=True, help="The reason, for the log.")
@as_json
def replay(message_id: int, why: str, as_json: bool) -> None:
    """Take a message again, or put one that left in the outbox again; the log keeps who and why."""
    if not why.strip():
        raise Failure("--why must say what was mended: the log keeps it.")
    settings = load()
    with stored() as database:
        queue = WorkQueue(database)
        try:
            answers = Intake(database, queue.enqueue, rules(settings)).replay(message_id, why.strip(), _who())
        except (UnknownMessage, Overtaken) as error:
            raise Failure(str(error)) from None
        finally:
            queue.close()
        new = _latest_replay(database, message_id)
    told = {"message": new.id, "direction": new.direction, "state": new.state, "reason": new.reason}
    if as_json:
        document(
            {**told, "ack": _readable(answers.accept), "application_ack": _readable(answers.application)}
        )
    elif new.direction == OUT:
        click.echo(f"It was put in the outbox as message {new.id}.")
    else:
        _tell_answers(new, answers)


def _latest_replay(database: Database, message_id: int) -> Message:
    with database.read() as session:
        found = session.query(Message).filter(Message.replay_of == message_id)
        new = found.order_by(Message.id.desc()).first()
    if new is None:
        raise Failure(f"Message {message_id} was not replayed.")
    return new


def _tell_answers(new: Message, answers: Answers) -> None:
    click.echo(f"It was taken as message {new.id}: {new.state}. {new.reason}".rstrip())
    for answer in answers.in_order:
        click.echo(f"\n{_readable(answer)}")


@message.command("summary")
@as_json
def summary_command(as_json: bool) -> None:
    """Count messages by direction, channel, type and state, and say what waits in the outbox."""
    with stored() as database, database.read() as session:
        counts, queued = summarize(session), waiting(session)
    if as_json:
        document({"messages": [asdict(one) for one in counts], "waiting": [asdict(one) for one in queued]})
        return
    table(
        ("way", "channel", "type", "state", "messages", "latest"),
        [
            (
                one.direction,
                one.channel,
                one.message_type or "unreadable",
                one.state,
                one.messages,
                one.latest.isoformat(timespec="seconds"),
            )
            for one in counts
        ],
    )
    for one in queued:
        click.echo(
            f"\n{one.messages} wait for {one.destination}, the oldest since "
            f"{one.since.isoformat(timespec='seconds')}; at most {one.attempts} attempts."
        )


@message.command("prune")
@click.option("--days", required=True, type=click.IntRange(1, 36500), help="Bodies older than so many days.")
@click.option("--yes", is_flag=True, help="Erase them; without it they are only counted.")
@as_json
def prune_command(days: int, yes: bool, as_json: bool) -> None:
    """Erase the bodies of old messages that nobody has to deal with any more.

    What is refused, in quarantine or waiting keeps its body; every message keeps its number, its hash, its
    acknowledgements and what it was about.
    """
    with stored() as database:
        if yes:
            told = None if as_json or not sys.stderr.isatty() else _progress
            done = prune(database, days, _who(), told=told)
        else:
            with database.read() as session:
                done = prunable(session, days)
    if as_json:
        document({"erased": yes, **asdict(done)})
        return
    click.echo(_told(done, days, yes))
    if done.messages and not yes:
        click.echo("Nothing was erased; add --yes to do it.")


def _progress(done: int) -> None:
    click.echo(f"\r{done} messages", nl=False, err=True)


def _told(done: Pruned, days: int, erased: bool) -> str:
    if not done.messages:
        return f"No message older than {days} days has a body to erase."
    verb = "were erased" if erased else "would be erased"
    numbers = f"numbers {done.first} to {done.last}"
    return f"The bodies of {done.messages} messages ({done.size} bytes), {numbers}, {verb}."
