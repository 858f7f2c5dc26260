"""What is installed from a wheel is what works in a checkout: no file that the code reads is left behind."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.unit.test_house_files import tracked

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("plugin", "connectors", "model", "training", "migrations")


def package_data(setup: Path) -> dict[str, list[str]]:
    """The package_data argument of a setup.py, read without running it."""
    for node in ast.walk(ast.parse(setup.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "package_data":
            return dict(ast.literal_eval(node.value))
    return {}


def left_behind(root: Path, files: list[str]) -> list[str]:
    """The files of our packages that a wheel would not hold.

    A module is packed when every folder above it has an __init__.py, any other file when a pattern of
    package_data names it.
    """
    packed = {
        path
        for package, patterns in package_data(root / "setup.py").items()
        for pattern in patterns
        for path in (root / package.replace(".", "/")).glob(pattern)
    }
    missing = []
    for name in files:
        path = root / name
        if Path(name).parts[0] not in PACKAGES:
            continue
        if path.suffix == ".py":
            above = [root / parent for parent in Path(name).parents if parent != Path()]
            is_packed = all((folder / "__init__.py").exists() for folder in above)
        else:
            is_packed = path in packed
        if not is_packed:
            missing.append(name)
    return missing


def plant(root: Path, *files: str) -> list[str]:
    """A small tree whose setup.py packs the text files of plugin.web."""
    (root / "setup.py").write_text(
        "setup(package_data={'plugin.web': ['*.txt', 'deep/**/*']})", encoding="utf-8"
    )
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return list(files)


def test_every_tracked_file_of_the_packages_is_installed() -> None:
    """Templates, migrations, weights and sample studies travel with the code that reads them."""
    names = [str(path.relative_to(ROOT)) for path in tracked(ROOT)]
    assert left_behind(ROOT, names) == []


def test_the_checker_lets_packed_files_pass(tmp_path: Path) -> None:
    """Modules of real packages, and files that a pattern names at any depth, are packed."""
    files = plant(
        tmp_path,
        "plugin/__init__.py",
        "plugin/web/__init__.py",
        "plugin/web/a.txt",
        "plugin/web/deep/b/c.bin",
    )
    assert left_behind(tmp_path, files) == []


@pytest.mark.parametrize("file", ["plugin/web/a.html", "plugin/a.txt", "plugin/views/page.py"])
def test_the_checker_sees_a_file_that_is_left_behind(tmp_path: Path, file: str) -> None:
    """A file without a pattern and a module without a package are found."""
    files = plant(tmp_path, "plugin/__init__.py", "plugin/web/__init__.py", file)
    assert left_behind(tmp_path, files) == [file]
