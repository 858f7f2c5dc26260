"""How commands speak: sentences for a person, or one JSON document for a program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=click.Command)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


class Failure(Exception):
    """A command could not do its work; the words say what to do."""


def document(content: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form.")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns as wide as their longest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[index]) for line in [list(heads), *cells]) for index in range(len(heads))]
    for line in [list(heads), *cells]:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
