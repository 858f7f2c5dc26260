"""The README says what is there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from plugin.cli import prelim
from plugin.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    README,
    *((ROOT / name).read_text(encoding="utf-8") for name in ("ARCHITECTURE.md", "CONTRIBUTING.md")),
]


def test_the_tree_names_every_top_level_folder() -> None:
    """Each tracked folder stands in the tree with its purpose, and nothing else does."""
    tree = README.split("## The tree")[1].split("```")[1]
    named = set(re.findall(r"^(\w+)/ +\S", tree, re.MULTILINE))
    there = {path.parent.name for path in ROOT.glob("*/*.*") if path.suffix in {".py", ".md"}}
    assert named == {name for name in there if name[0] not in "._"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bmake ([a-z-]+)", "\n".join(PAGES)))))
def test_every_make_target_that_is_named_exists(name: str) -> None:
    """A reader can type what stands there."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert name in targets


def test_every_command_that_is_named_exists() -> None:
    """Commands of the README are commands of the program, and none of the program's is left out."""
    lines = re.findall(r"^prelim (.+?)(?:  |$)", README, re.MULTILINE)
    named = {word for line in lines for word in _commands(line)}
    context = click.Context(prelim)
    there = {
        f"{name} {inner}".strip()
        for name in prelim.list_commands(context)
        for inner in getattr(prelim.get_command(context, name), "commands", {"": None})
    }
    for command in named:
        assert any(one == command or one.startswith(f"{command} ") for one in there), command
    top = {command.split()[0] for command in named}
    assert {one.split()[0] for one in there} - top <= {"demo", "migrate"}


def _commands(line: str) -> list[str]:
    """`case list | show ID` -> case list, case show; `train | evaluate` -> train, evaluate."""
    parts = [re.findall(r"^[a-z]+(?: [a-z]+)?", part.strip())[0] for part in line.split("|")]
    first = parts[0].split()
    if len(first) == 2:
        return [parts[0], *(f"{first[0]} {part.split()[0]}" for part in parts[1:])]
    return [part.split()[0] for part in parts]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"PRELIM_[A-Z_]+[A-Z]", README))))
def test_every_setting_that_is_named_exists(name: str) -> None:
    """A setting in the README is a setting of the program."""
    assert name.removeprefix("PRELIM_").lower() in {field.name for field in fields(Settings)}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w/.-]+)\)|`([\w/-]+\.md)`", README))))
def test_every_file_that_is_linked_exists(path: tuple[str, str]) -> None:
    """Links and named pages lead somewhere."""
    assert (ROOT / (path[0] or path[1])).is_file()
