"""The command line: `prelim`. Every command has --json, which prints one JSON document and nothing else."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click
import sqlalchemy as sa

from plugin.cli.audit import audit
from plugin.cli.cases import case
from plugin.cli.codes import codes
from plugin.cli.demo import demo
from plugin.cli.doctor import doctor
from plugin.cli.draft import draft
from plugin.cli.messages import message
from plugin.cli.output import Failure
from plugin.cli.send import send
from plugin.cli.serve import migrate, serve
from plugin.migrate import OutOfDate
from plugin.settings import SettingError
from plugin.worker import NameTaken

TRAINING = "prelim.commands"


class _Group(click.Group):
    """Finds the commands of training by name when they are asked for: the plugin may not import them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *(found.name for found in _offered())})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        own = super().get_command(context, name)
        if own is not None:
            return own
        loaded = [found.load() for found in _offered() if found.name == name]
        return loaded[0] if loaded and isinstance(loaded[0], click.Command) else None


def _offered() -> list[EntryPoint]:
    return list(entry_points(group=TRAINING))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="prelim")
def prelim() -> None:
    """Drafts radiology reports for a radiologist to sign; never signs one."""


for command in (audit, case, codes, demo, doctor, draft, message, migrate, send, serve):
    prelim.add_command(command)


def main() -> None:
    """Run the command line; an error that a person can mend is one sentence, not a stack."""
    try:
        prelim()
    except (SettingError, NameTaken, OutOfDate, Failure) as error:
        raise SystemExit(f"prelim: {error}") from None
    except sa.exc.OperationalError:
        raise SystemExit("prelim: the database does not answer; `prelim doctor` says more.") from None
