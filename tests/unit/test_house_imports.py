"""The import law of the house, and proof on small trees that the checker sees each way to break it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAW = {
    "plugin": {"plugin", "connectors", "model"},
    "connectors": {"connectors"},
    "model": {"model"},
    "training": {"training", "model"},
    "migrations": {"migrations"},
}
EXCEPTIONS = {("migrations.env", "plugin.db")}
FORBIDDEN_NAMES = {"common", "utils"}
NOT_OURS = {"build", "dist", "runs"}


def module_name(path: Path, root: Path) -> str:
    """The dotted name that a file under root is imported by."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path) -> dict[str, Path]:
    """Every module of the packages that the law speaks of: dotted name -> file."""
    return {module_name(path, root): path for top in LAW for path in sorted((root / top).rglob("*.py"))}


def imported(tree: ast.AST, package: str) -> Iterator[tuple[str, ...]]:
    """What the import statements below tree name: (module, attribute) or (module,).

    `package` is what relative imports are relative to. import_module("x") and __import__("x") count.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield (node.args[0].value,)


def _package_of(name: str, path: Path) -> str:
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def violations(root: Path) -> list[str]:
    """Every import that the law forbids, as `module -> target`; imports inside functions count."""
    found = []
    for name, path in modules(root).items():
        top = name.partition(".")[0]
        for target in imported(ast.parse(path.read_text(encoding="utf-8")), _package_of(name, path)):
            target_top = target[0].partition(".")[0]
            if target_top not in LAW or target_top in LAW[top]:
                continue
            if {(name, target[0]), (name, ".".join(target))} & EXCEPTIONS:
                continue
            found.append(f"{name} -> {'.'.join(target)}")
    return found


def _module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """The statements that run at import, also below if, try and class, without the insides of functions."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def cycle(root: Path) -> list[str]:
    """One circle of imports between files, first and last the same; empty when there is none."""
    known = modules(root)
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        targets: set[str] = set()
        for statement in _module_level(ast.parse(path.read_text(encoding="utf-8"))):
            for target in imported(statement, _package_of(name, path)):
                dotted = ".".join(target)
                targets.add(dotted if dotted in known else target[0])
        graph[name] = (targets & known.keys()) - {name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def strangers(root: Path) -> list[str]:
    """Files of Python in rooms that the house does not name, and common/ or utils.py anywhere."""
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if parts[0].startswith(".") or parts[0] in NOT_OURS:
            continue
        if parts[0] not in {*LAW, "tests", "setup.py"} or FORBIDDEN_NAMES & {
            Path(part).stem for part in parts
        }:
            found.append("/".join(parts))
    return found


def importers_of(unwanted: str, names: list[str], root: Path) -> str:
    """The first of these modules whose import puts `unwanted` into sys.modules; empty when none does."""
    program = (
        "import importlib, sys\n"
        "unwanted, *names = sys.argv[1:]\n"
        "for name in names:\n"
        "    importlib.import_module(name)\n"
        "    if unwanted in sys.modules:\n"
        "        sys.exit(print(name))\n"
    )
    command = [sys.executable, "-c", program, unwanted, *names]
    finished = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write a small tree of packages."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    return root


def test_every_import_obeys_the_law() -> None:
    """plugin -> connectors, model; training -> model; connectors and model import nobody."""
    assert violations(ROOT) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports at module level form no circle."""
    assert cycle(ROOT) == []


def test_the_house_has_no_other_rooms() -> None:
    """Python lives in the five packages, the tests and setup.py; there is no common/ and no utils.py."""
    assert strangers(ROOT) == []


def test_connectors_and_plugin_import_without_torch() -> None:
    """Importing every module of connectors and plugin leaves torch alone, so listeners stay small."""
    names = [name for name in modules(ROOT) if name.startswith(("connectors", "plugin"))]
    assert importers_of("torch", [name for name in names if not name.endswith("__main__")], ROOT) == ""


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("connectors/hl7/orders.py", "from plugin import cases"),
        ("connectors/fhir/drafts/report.py", "import model.study"),
        ("connectors/mllp.py", "def f():\n    import plugin.db"),
        ("connectors/hl7/deep.py", "from ...plugin import cases"),
        ("model/drafter.py", "from connectors.exchange import Order"),
        ("model/vision.py", "import importlib\nimportlib.import_module('training.facts')"),
        ("plugin/cli.py", "from training.cli import train"),
        ("training/cli.py", "if True:\n    from plugin import settings"),
        ("training/corpus.py", "__import__('connectors')"),
        ("migrations/env.py", "from plugin import cases"),
        ("migrations/versions/0001_first.py", "from plugin.db import Case"),
    ],
)
def test_the_checker_sees_a_forbidden_import(tmp_path: Path, file: str, text: str) -> None:
    """A forbidden import is found wherever and however it is written."""
    assert len(violations(plant(tmp_path, {file: text}))) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("plugin/pipeline.py", "from connectors import exchange\nfrom model.study import Draft"),
        ("training/finetune.py", "from model import prompts"),
        ("connectors/fhir/drafts/report.py", "from ..exchange import DraftReport\nfrom . import client"),
        ("migrations/env.py", "from plugin.db import metadata"),
        ("migrations/env.py", "from plugin import db"),
        ("model/vision.py", "import torch"),
    ],
)
def test_the_checker_lets_a_lawful_import_pass(tmp_path: Path, file: str, text: str) -> None:
    """What the law allows is not reported."""
    assert violations(plant(tmp_path, {file: text})) == []


def test_the_checker_sees_a_circle(tmp_path: Path) -> None:
    """Three files in a ring are a circle."""
    ring = {
        "plugin/a.py": "from plugin import b",
        "plugin/b.py": "try:\n    import plugin.c\nexcept ImportError:\n    pass",
        "plugin/c.py": "from .a import thing",
    }
    assert set(cycle(plant(tmp_path, ring))) == {"plugin.a", "plugin.b", "plugin.c"}


def test_the_checker_takes_a_line_for_no_circle(tmp_path: Path) -> None:
    """The same three files in a line, whose way back is inside a function, are no circle at import."""
    line = {
        "plugin/a.py": "from plugin import b",
        "plugin/b.py": "import plugin.c",
        "plugin/c.py": "def f():\n    from .a import thing",
    }
    assert cycle(plant(tmp_path, line)) == []


@pytest.mark.parametrize("file", ["common/words.py", "helpers.py", "plugin/utils.py", "model/common/x.py"])
def test_the_checker_sees_a_strange_room(tmp_path: Path, file: str) -> None:
    """A package of another name, a loose file, common/ and utils.py are found."""
    assert file in strangers(plant(tmp_path, {file: ""}))


def test_the_checker_sees_a_heavy_import(tmp_path: Path) -> None:
    """A module that pulls the unwanted package in through another is named."""
    root = plant(
        tmp_path,
        {
            "heavy/x.py": "",
            "plugin/light.py": "",
            "plugin/a.py": "import plugin.b",
            "plugin/b.py": "import heavy",
        },
    )
    assert importers_of("heavy", ["plugin.light", "plugin.a"], root) == "plugin.a"
