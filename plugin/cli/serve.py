"""`prelim serve` and `prelim migrate`."""

from __future__ import annotations

import logging
import signal
import threading
from dataclasses import replace
from typing import Any

import click

from plugin import migrate as migrations
from plugin.cli.output import as_json, document
from plugin.db import Database
from plugin.serve import PARTS, Service
from plugin.settings import load


@click.command()
@click.option(
    "--only",
    type=click.Choice(PARTS),
    multiple=True,
    help="Run only this part; may be given more than once. Default: all.",
)
@click.option("--worker-name", default="", help="Stable name of this worker (PRELIM_WORKER_NAME).")
@as_json
def serve(only: tuple[str, ...], worker_name: str, as_json: bool) -> None:
    """Run Prelim until SIGTERM or Ctrl-C: the HL7 listener, the worker and the pages."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # What libraries tell of their daily work hides what Prelim tells.
    for chatty in ("alembic", "dbos"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    settings = load()
    if worker_name:
        settings = replace(settings, worker_name=worker_name)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    service = Service(settings, only or PARTS)
    service.start()
    first = settings.hl7_listeners[0]
    where: dict[str, Any] = {
        "parts": list(only or PARTS),
        "mllp": f"{first.host}:{service.mllp_port}" if service.mllp_port else None,
        "listeners": {
            listener.name: f"{listener.host}:{service.mllp_ports[listener.name]}"
            for listener in settings.hl7_listeners
            if listener.name in service.mllp_ports
        },
        "pages": f"http://{settings.http_host}:{service.http_port}/" if service.http_port else None,
    }
    if as_json:
        document(where)
    else:
        click.echo(f"Serving {', '.join(only or PARTS)}.")
        for name, place in where["listeners"].items():
            click.echo(f"  HL7 over MLLP   {place}{'' if name == 'default' else f' ({name})'}")
        if where["pages"]:
            click.echo(f"  pages           {where['pages']}")
    stop.wait()
    service.stop()


@click.command()
@as_json
def migrate(as_json: bool) -> None:
    """Create or upgrade the database's tables (`serve` does it as well)."""
    database = Database(load().database_url)
    was_pending = migrations.pending(database)
    migrations.migrate(database)
    if as_json:
        document({"upgraded": was_pending})
    else:
        click.echo("The tables were upgraded." if was_pending else "The tables are up to date.")
    database.close()
