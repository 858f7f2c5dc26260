"""The deployment files name only settings and commands that exist, and the unit is as hardened as it says."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from plugin import settings
from plugin.cli import prelim

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
NAMES = {f"PRELIM_{field.name.upper()}" for field in dataclasses.fields(settings.Settings)}
# Where the settings file is; read before there are settings.
NAMES_BESIDE = {"PRELIM_SETTINGS"}


def compose() -> dict[str, Any]:
    """compose.yaml, parsed."""
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def environment_file() -> dict[str, str]:
    """prelim.env as its reader sees it: NAME=VALUE lines without comments."""
    lines = (DEPLOY / "prelim.env").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line.strip() and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def unknown_settings(text: str) -> set[str]:
    """The PRELIM_* names in a text that are no settings."""
    return set(re.findall(r"\bPRELIM_[A-Z][A-Z_]*\b", text)) - NAMES - NAMES_BESIDE


def parse(command: list[str]) -> None:
    """Parse a command line as `prelim` would, without running it. Raises click.UsageError."""
    program, *arguments = command
    assert Path(program).name == "prelim"
    context = click.Context(prelim, info_name="prelim")
    name, subcommand, rest = prelim.resolve_command(context, arguments)
    assert subcommand is not None
    subcommand.make_context(name, rest, parent=context)


def commands() -> list[list[str]]:
    """Every command line by which the files start Prelim."""
    found = [service["command"] for service in compose()["services"].values() if "command" in service]
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    found += [yaml.safe_load(line) for line in re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)]
    unit = (DEPLOY / "prelim.service").read_text(encoding="utf-8")
    found += [shlex.split(line) for line in re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_setting_that_a_file_names_exists(path: Path) -> None:
    """A misspelt PRELIM_* variable would stop Prelim at start-up: no deployment file has one."""
    assert unknown_settings(path.read_text(encoding="utf-8")) == set()


def test_the_checker_sees_a_misspelt_setting() -> None:
    """A name that is one letter off is found."""
    assert unknown_settings("PRELIM_FHIR_URL=x PRELIM_FHIR_ULR=x") == {"PRELIM_FHIR_ULR"}


def test_the_listeners_in_prelim_toml_are_read_once_they_are_uncommented(tmp_path: Path) -> None:
    """The examples at its end are settings as they stand: two listeners, one of them with mutual TLS."""
    told = (DEPLOY / "prelim.toml").read_text(encoding="utf-8")
    plain, marker, examples = told.partition("# [[listeners]]")
    uncommented = "\n".join(
        line.removeprefix("# ").removeprefix("#") for line in (marker + examples).split("\n")
    )
    file = tmp_path / "prelim.toml"
    file.write_text(plain + uncommented, encoding="utf-8")
    ris, old = settings.load({}, file).listeners
    assert ris.tls_client_ca is not None
    assert (old.name, old.ack_mode, old.accession_places) == ("old-ris", "original", ("OBR-3",))


def test_prelim_toml_is_read_without_complaint() -> None:
    """The example settings file is one that Prelim accepts, and it starts in shadow mode on loopback."""
    read = settings.load({}, DEPLOY / "prelim.toml")
    assert read.shadow
    assert (read.mllp_host, read.http_host) == ("127.0.0.1", "127.0.0.1")


def test_prelim_env_is_read_without_complaint(tmp_path: Path) -> None:
    """The example environment is one that Prelim accepts, names compose's peers, and is in shadow mode."""
    nothing = tmp_path / "prelim.toml"
    nothing.touch()
    read = settings.load(environment_file(), nothing)
    services = compose()["services"]
    assert read.shadow
    for url in (read.fhir_url, read.dicomweb_url, read.pacs_changes_url):
        assert re.match(r"http://(\w+):\d+", url).group(1) in services  # type: ignore[union-attr]


def test_the_compose_database_address_is_accepted(tmp_path: Path) -> None:
    """With a password in its place, the database address that every part is given is a valid setting."""
    nothing = tmp_path / "prelim.toml"
    nothing.touch()
    given = compose()["services"]["listen"]["environment"]["PRELIM_DATABASE_URL"]
    url = re.sub(r"\$\{.*?\}", "word", given)
    assert settings.load({"PRELIM_DATABASE_URL": url}, nothing).database_url == url


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_is_one_that_prelim_has(command: list[str]) -> None:
    """What the files start parses as a command line of `prelim`."""
    parse(command)


@pytest.mark.parametrize("command", ["prelim serve --only lisen", "prelim migrat", "prelim serve --onyl web"])
def test_the_checker_sees_a_wrong_command(command: str) -> None:
    """A wrong part, subcommand or option is found."""
    with pytest.raises(click.UsageError):
        parse(command.split())


def test_compose_starts_each_part_once_after_the_migration() -> None:
    """listen, work (two) and web wait for a migration that succeeded, and only they run `serve`."""
    services = compose()["services"]
    serving = {name: entry for name, entry in services.items() if "serve" in entry.get("command", [])}
    assert {name: entry["command"][-1] for name, entry in serving.items()} == {
        name: name for name in ("listen", "work", "web")
    }
    assert services["work"]["deploy"]["replicas"] == 2
    for entry in serving.values():
        assert entry["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_compose_publishes_ports_on_loopback_only() -> None:
    """Nothing is reachable from outside until somebody decides so."""
    for entry in compose()["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in entry.get("ports", []))


def test_compose_takes_privileges_from_every_part_of_prelim() -> None:
    """Each part of Prelim runs without capabilities on a read-only file system."""
    for entry in compose()["services"].values():
        if entry["image"].startswith("prelim:"):
            assert entry["read_only"] is True
            assert entry["cap_drop"] == ["ALL"]
            assert entry["security_opt"] == ["no-new-privileges:true"]


def test_compose_pins_every_foreign_image() -> None:
    """An image without a version would change under a site's feet."""
    for entry in compose()["services"].values():
        name, colon, tag = entry["image"].partition(":")
        assert colon
        assert tag not in {"", "latest"}, name


def test_only_the_work_image_has_torch() -> None:
    """Parts that listen or serve pages run the image that was built without the model extra."""
    stages = re.split(r"^FROM ", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    built_with_model = [stage.splitlines()[0] for stage in stages if "[model" in stage]
    assert built_with_model == ["build-light AS build-work"]
    images = {name: entry["image"] for name, entry in compose()["services"].items()}
    assert [name for name, image in images.items() if image == "prelim:work"] == ["work"]


def test_the_images_run_as_nobody_in_particular() -> None:
    """Every stage that is run descends from one that gave up root."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    stages = {line.split()[-1]: line.split()[1] for line in text.splitlines() if line.startswith("FROM ")}
    assert stages["light"] == stages["work"] == "runtime"
    runtime = text.partition("AS runtime")[2].partition("FROM ")[0]
    assert "\nUSER prelim" in runtime


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """systemd reads every line of the unit (with an executable that exists here in place of Prelim's)."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "prelim.service"
    text = (DEPLOY / "prelim.service").read_text(encoding="utf-8")
    unit.write_text(
        re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE), encoding="utf-8"
    )
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize(
    "line",
    [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "DynamicUser=yes",
        "StateDirectory=prelim",
        "Restart=on-failure",
        "CapabilityBoundingSet=",
    ],
)
def test_the_unit_is_hardened(line: str) -> None:
    """The unit keeps the lines that its description promises."""
    assert line in (DEPLOY / "prelim.service").read_text(encoding="utf-8").splitlines()
