"""`prelim send`: HL7 messages out of files, or made up, over MLLP."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from connectors.errors import ExchangeError
from connectors.hl7 import batches
from connectors.hl7.examples import KINDS, example
from connectors.hl7.mllp import send as send_messages
from connectors.tls import client_context
from plugin.cli.output import Failure, as_json, document

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, type=_file)
@click.option("--to", "peer", required=True, metavar="HOST:PORT", help="The MLLP listener.")
@click.option(
    "--example",
    "examples",
    type=click.Choice(list(KINDS)),
    multiple=True,
    help="Send a made-up message of this kind; may be given more than once.",
)
@click.option("--timeout", "timeout_seconds", default=30.0, show_default=True, help="Seconds for each ack.")
@click.option(
    "--tls-ca", type=_file, help="Speak TLS; the listener's certificate must come from one of these (PEM)."
)
@click.option(
    "--tls-certificate", type=_file, help="Our certificate, for a listener that asks for one (PEM)."
)
@click.option("--tls-key", type=_file, help="The key of that certificate (PEM).")
@as_json
def send(
    files: tuple[Path, ...],
    peer: str,
    examples: tuple[str, ...],
    timeout_seconds: float,
    tls_ca: Path | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    as_json: bool,
) -> None:
    """Send HL7 files over MLLP and print each ack; a file may hold one message, several, or a batch.

    Exit code 1 unless all are accepted.
    """
    host, _, port = peer.rpartition(":")
    if not host or not port.isdigit():
        raise Failure(f"--to takes HOST:PORT; it is {peer!r}.")
    if not files and not examples:
        raise Failure("Name at least one FILE, or --example KIND.")
    named = [*_from_files(files), *((kind, _made_up(kind)) for kind in examples)]
    context = _tls(tls_ca, tls_certificate, tls_key)
    bodies = [body for _, body in named]
    told: list[dict[str, Any]] = []
    try:
        answers = send_messages(
            host.strip("[]"), int(port), bodies, timeout_seconds=timeout_seconds, ssl_context=context
        )
        for (name, _), ack in zip(named, answers, strict=True):
            told.append(
                {"file": name, "code": ack.code.value, "control_id": ack.control_id, "text": ack.text}
            )
            if not as_json:
                click.echo(f"{ack.code.value}  {name}  {ack.text}".rstrip())
    except ExchangeError as error:
        raise Failure(
            f"{len(told)} of {len(named)} messages were answered. {error} {error.next_step}"
        ) from None
    if as_json:
        document(told)
    if any(line["code"][1] != "A" for line in told):
        raise SystemExit(1)


def _from_files(files: Sequence[Path]) -> list[tuple[str, bytes]]:
    """Every message of every file, in order, with what it is called."""
    found = []
    for file in files:
        raw = file.read_bytes()
        try:
            bodies = batches.split(raw).messages if batches.is_batch(raw) else (raw,)
        except ExchangeError as error:
            raise Failure(f"{file}: {error}") from None
        several = len(bodies) > 1
        found += [
            (f"{file} ({number})" if several else str(file), body) for number, body in enumerate(bodies, 1)
        ]
    return found


def _made_up(kind: str) -> bytes:
    return example(kind, datetime.now(UTC), uuid4().hex[:20].upper())


def _tls(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if ca is None:
        if certificate or key:
            raise Failure("--tls-certificate and --tls-key need --tls-ca, that of the listener.")
        return None
    if bool(certificate) != bool(key):
        raise Failure("--tls-certificate and --tls-key are given together, or neither is.")
    try:
        return client_context(ca, certificate, key)
    except ExchangeError as error:
        raise Failure(f"{error} {error.next_step}") from None
