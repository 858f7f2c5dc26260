"""`prelim doctor`: what is set, what answers, how to mend the rest."""

from __future__ import annotations

from dataclasses import asdict, fields

import click

from plugin.cli.output import as_json, document, table
from plugin.doctor import examine
from plugin.listeners import Listener
from plugin.settings import PREFIX, Settings, load


def _shown(settings: Settings) -> list[dict[str, str]]:
    rows = []
    for spec in fields(Settings):
        value = getattr(settings, spec.name)
        default = value == spec.default
        hidden = spec.metadata["secret"] and not default
        rows.append(
            {
                "setting": f"{PREFIX}{spec.name.upper()}",
                "value": "(set)" if hidden else _text(value),
                "from": "default" if default else "set",
                "meaning": spec.metadata["meaning"],
            }
        )
    return rows


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_text(part) for part in value)
    if isinstance(value, Listener):
        return f"{value.name} ({_own(value)})"
    return "" if value is None else str(value)


def _own(listener: Listener) -> str:
    """What a listener has that is not the default, beside its name."""
    told = ((spec.name, getattr(listener, spec.name), spec.default) for spec in fields(Listener))
    own = [f"{name} {_text(value)}" for name, value, default in told if name != "name" and value != default]
    return ", ".join(own) or "as by default"


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Check every setting and peer, and say how to mend each; exit code 1 when something is wrong."""
    settings = load()
    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            click.echo(f"{'ok  ' if finding.well else 'MEND'}  {finding.name}: {finding.said}")
    well = all(finding.well for finding in findings)
    if as_json:
        document(
            {
                "well": well,
                "findings": [asdict(finding) for finding in findings],
                "settings": _shown(settings),
            }
        )
    else:
        click.echo()
        table(
            ("setting", "value", "from", "meaning"),
            [(row["setting"], row["value"], row["from"], row["meaning"]) for row in _shown(settings)],
        )
    if not well:
        raise SystemExit(1)
