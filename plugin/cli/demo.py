"""`prelim demo`: the main job, to watch."""

from __future__ import annotations

import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path

import click

from plugin.cli.output import Failure, as_json, document
from plugin.demo import DemoFailed, Outcome, run


@click.command()
@click.option("--once", is_flag=True, help="End after the main job (off a terminal it always does).")
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the model; default: the shipped demonstration weights.",
)
@as_json
def demo(once: bool, model: Path | None, as_json: bool) -> None:
    """Run the whole main job on an embedded hospital: order, images, draft, signature, audit.

    Exit code 1 when it does not come to its end or the audit log does not verify.
    """

    def tell(line: str) -> None:
        if not as_json:
            click.echo(line)

    tell("An embedded hospital on 127.0.0.1; nothing leaves this machine.\n")
    with tempfile.TemporaryDirectory(prefix="prelim-demo-") as folder:
        try:
            outcome, hospital = run(Path(folder), tell, model)
        except DemoFailed as error:
            raise Failure(str(error)) from None
        try:
            if as_json:
                document(asdict(outcome))
            else:
                _show(outcome, hospital.pages_url)
            if not once and not as_json and sys.stdout.isatty():
                click.echo("\nThe hospital stays up: open the pages, press Ctrl-C to end.")
                _until_interrupted()
        finally:
            hospital.close()
    if not outcome.audit_verified or outcome.case_state != "SIGNED":
        raise SystemExit(1)


def _until_interrupted() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo()


def _show(outcome: Outcome, pages: str) -> None:
    click.echo(f"\n--- the draft ({outcome.draft_status}) {'-' * 50}\n{outcome.draft_text}")
    click.echo(f"\n--- what {outcome.signed_by} changed ({outcome.words_changed} words) {'-' * 30}")
    for change in outcome.changes:
        marked = " ".join(_marked(kind, words) for kind, words in change["parts"])
        if any(kind != "same" for kind, _ in change["parts"]):
            click.echo(f"{change['title']}: {marked}")
    click.echo(f"\n--- where to look {'-' * 56}")
    click.echo(f"the report    {outcome.report_url}")
    click.echo(f"the case      {pages}/cases/{outcome.case_id}")
    click.echo(f"the worklist  {pages}/")
    click.echo(f"the log       {pages}/audit")
    holds = "verified" if outcome.audit_verified else "DOES NOT VERIFY"
    click.echo(
        f"\nCase {outcome.case_state}, {outcome.final_status} report signed by {outcome.signed_by}; "
        f"{outcome.audit_entries} log entries, {holds}."
    )


def _marked(kind: str, words: str) -> str:
    return {"same": words, "drafted": f"[-{words}-]", "signed": f"{{+{words}+}}"}[kind]
