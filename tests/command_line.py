"""`prelim` as tests call it: in this process, with what it prints and how it refuses."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from plugin.cli import prelim
from plugin.cli.output import Failure


def invoke(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(prelim, [str(argument) for argument in arguments])


def told(*arguments: object, code: int = 0) -> Any:
    """What a command prints with --json."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def failure(*arguments: object) -> str:
    """The sentence with which a command refuses."""
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, Failure)
    return str(result.exception)
