"""`prelim audit`: searching and verifying the log."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import click

from plugin.audit.log import SEARCH_LIMIT, Query, search
from plugin.audit.verify import PAGE, Checkpoint, verify
from plugin.cli.output import Failure, as_json, document, table
from plugin.cli.stored import stored
from plugin.tables import AuditLeaf


def entry(leaf: AuditLeaf) -> dict[str, Any]:
    """One leaf as JSON."""
    told: dict[str, Any] = json.loads(leaf.entry)
    return {**told, "leaf_hash": leaf.leaf_hash}


@click.group()
def audit() -> None:
    """Search and verify the audit log."""


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


@audit.command("search")
@click.option("--case", "case_id", default="", help="Entries of this case.")
@click.option("--accession", default="", help="Entries of the case of this accession number.")
@click.option("--actor", default="", help="Entries of this actor.")
@click.option("--action", default="", help="Entries whose action begins so, for example case or report.seen.")
@click.option("--signer", default="", help="Entries of cases that somebody of this name signed.")
@click.option("--since", type=click.DateTime(), help="Not before this moment (UTC).")
@click.option("--until", type=click.DateTime(), help="Not after this moment (UTC).")
@click.option("--after", default=-1, help="Only entries behind this position, to read on.")
@click.option(
    "--limit", default=200, type=click.IntRange(1, SEARCH_LIMIT), show_default=True, help="At most so many."
)
@as_json
def search_command(
    case_id: str,
    accession: str,
    actor: str,
    action: str,
    signer: str,
    since: datetime | None,
    until: datetime | None,
    after: int,
    limit: int,
    as_json: bool,
) -> None:
    """List log entries, oldest first."""
    query = Query(case_id, accession, actor, action, signer, _utc(since), _utc(until), limit, after)
    with stored() as database, database.read() as session:
        leaves = search(session, query)
    if as_json:
        document([entry(leaf) for leaf in leaves])
        return
    rows = []
    for leaf in leaves:
        details = entry(leaf)["details"]
        said = ", ".join(f"{key} {value}" for key, value in details.items() if value not in ("", None))
        rows.append((leaf.position, leaf.at.isoformat(timespec="seconds"), leaf.actor, leaf.action, said))
    table(("#", "at", "actor", "action", "details"), rows)


def _progress(done: int, total: int) -> None:
    """Say on standard error how far it is, when somebody watches and there is something to wait for."""
    if total > PAGE and sys.stderr.isatty():
        click.echo(f"\r{done} of {total} entries", nl=done >= total, err=True)


@audit.command("verify")
@click.option(
    "--against",
    default="",
    metavar="SIZE:ROOT",
    help="A checkpoint written down earlier; its entries must be unchanged.",
)
@as_json
def verify_command(against: str, as_json: bool) -> None:
    """Recompute the whole log; exit code 1 when anything in it was changed."""
    try:
        checkpoint = Checkpoint.parse(against) if against else None
    except ValueError as error:
        raise Failure(str(error)) from None
    with stored() as database, database.read() as session:
        found = verify(session, checkpoint, None if as_json else _progress)
    if as_json:
        document(
            {
                "verified": found.verified,
                "size": found.size,
                "root": found.root,
                "problem": found.problem,
                "checkpoint": f"{found.size}:{found.root}" if found.verified else None,
            }
        )
    elif found.verified:
        click.echo(f"All {found.size} entries hold.")
        click.echo(f"Write this down elsewhere, and verify against it next time: {found.size}:{found.root}")
    else:
        click.echo(f"The log does not hold. {found.problem}")
    if not found.verified:
        raise SystemExit(1)
