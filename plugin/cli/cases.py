"""`prelim case`: what stands where, why, and doing it again."""

from __future__ import annotations

import getpass
from typing import Any

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from plugin.audit.log import Query, search
from plugin.cases import CaseState
from plugin.cli.audit import entry
from plugin.cli.output import Failure, as_json, document, table
from plugin.cli.stored import stored
from plugin.queue import WorkQueue
from plugin.replay import NotReplayable, replay_case
from plugin.tables import Case, DraftRecord, SignOff


def summary(case: Case) -> dict[str, Any]:
    """A case as lists show it."""
    return {
        "id": case.id,
        "accession": case.accession,
        "state": case.state,
        "reason": case.reason,
        "draft_number": case.draft_number,
        "created_at": case.created_at,
        "updated_at": case.updated_at,
    }


def _found(session: Session, name: str) -> Case:
    case = session.scalar(sa.select(Case).where(sa.or_(Case.id == name, Case.accession == name)))
    if case is None:
        raise Failure("There is no such case; `prelim case list` shows them.")
    return case


@click.group()
def case() -> None:
    """List, show and replay cases."""


@case.command("list")
@click.option("--state", type=click.Choice([state.value for state in CaseState]), help="Only this state.")
@click.option("--limit", default=50, type=click.IntRange(1, 1000), show_default=True, help="At most so many.")
@as_json
def list_command(state: str | None, limit: int, as_json: bool) -> None:
    """List cases, latest change first."""
    chosen = sa.select(Case).order_by(Case.updated_at.desc()).limit(limit)
    with stored() as database, database.read() as session:
        rows = session.scalars(chosen.where(Case.state == state) if state else chosen).all()
    if as_json:
        document([summary(row) for row in rows])
        return
    table(
        ("case", "accession", "state", "updated", "reason"),
        [(r.id, r.accession, r.state, r.updated_at.isoformat(timespec="seconds"), r.reason) for r in rows],
    )


@case.command("show")
@click.argument("case_id", metavar="ID")
@as_json
def show(case_id: str, as_json: bool) -> None:
    """Show one case, by its id or its accession number."""
    with stored() as database, database.read() as session:
        found = _found(session, case_id)
        drafts = session.scalars(
            sa.select(DraftRecord).where(DraftRecord.case_id == found.id).order_by(DraftRecord.number)
        ).all()
        signoffs = session.scalars(
            sa.select(SignOff).where(SignOff.case_id == found.id).order_by(SignOff.id)
        ).all()
        leaves = search(session, Query(case_id=found.id))
    if as_json:
        document(
            {
                **summary(found),
                "order": found.order,
                "study_instance_uid": found.study_instance_uid,
                "drafts": [_columns(row) for row in drafts],
                "signoffs": [_columns(row) for row in signoffs],
                "log": [entry(leaf) for leaf in leaves],
            }
        )
        return
    click.echo(f"Case {found.id}, accession {found.accession}: {found.state}")
    if found.reason:
        click.echo(found.reason)
    for draft in drafts:
        click.echo(f"\nDraft {draft.number}, {draft.status}, {draft.url or 'not sent'}\n\n{draft.text}")
    for signoff in signoffs:
        click.echo(f"\n{_told(signoff)}\n\n{signoff.text}")
    click.echo()
    table(
        ("#", "at", "action"),
        [(leaf.position, leaf.at.isoformat(timespec="seconds"), leaf.action) for leaf in leaves],
    )


def _told(signoff: SignOff) -> str:
    """One line: what it counts as, who in what role, how long after the draft, and what was changed."""
    role = f" ({signoff.signer_role})" if signoff.signer_role else ""
    told = [f"{signoff.verdict}: {signoff.status} by {signoff.signer_name or 'nobody named'}{role}"]
    if signoff.seconds_to_sign is not None:
        told.append(f"{signoff.seconds_to_sign:.0f} s after the draft")
    if signoff.edit_distance is not None:
        told.append("untouched" if signoff.untouched else f"{signoff.edit_distance} words changed")
    return ", ".join([*told, f"seen as {signoff.evidence}"])


def _columns(row: DraftRecord | SignOff) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in type(row).__table__.columns}


@case.command("replay")
@click.argument("case_id", metavar="ID")
@click.option("--why", required=True, help="The reason, for the log.")
@as_json
def replay(case_id: str, why: str, as_json: bool) -> None:
    """Try a HELD or FAILED case again, or redo a draft; the log keeps who and why."""
    with stored() as database:
        queue = WorkQueue(database)
        try:
            with database.write() as session:
                found = _found(session, case_id)
                replay_case(session, found, queue.enqueue, who=f"operator:{getpass.getuser()}", why=why)
                told = summary(found)
        except NotReplayable as error:
            raise Failure(str(error)) from None
        finally:
            queue.close()
    if as_json:
        document(told)
    else:
        click.echo(f"The case is {told['state']}. {told['reason']}".rstrip())
