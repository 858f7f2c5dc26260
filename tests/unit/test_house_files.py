"""What the repository may hold: no large files, no pickle; with proof that the checkers see a breach."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGEST_BYTES = 10_000_000
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"}


def tracked(root: Path) -> list[Path]:
    """The files that git tracks under root. Skips the test where that is not known."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed: what is tracked is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: what is tracked is not known")
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def too_large(files: list[Path], largest_bytes: int) -> list[Path]:
    """The files over the limit."""
    return [path for path in files if path.stat().st_size > largest_bytes]


def pickling(source: str) -> list[str]:
    """Every way in which a source file would load or write pickles, as line and reason."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        found += [
            f"{getattr(node, 'lineno', 0)}: imports {name}"
            for name in names
            if name.partition(".")[0] in PICKLES
        ]
        if isinstance(node, ast.Call):
            constants = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            if ast.unparse(node.func) == "torch.load" and constants.get("weights_only") is not True:
                found.append(f"{node.lineno}: torch.load without weights_only=True")
            if constants.get("allow_pickle") is True:
                found.append(f"{node.lineno}: allow_pickle=True")
    return found


def test_no_tracked_file_is_large() -> None:
    """Nothing over 10 MB is tracked: a clone stays quick, and weights stay small or outside."""
    assert too_large(tracked(ROOT), LARGEST_BYTES) == []


@pytest.mark.parametrize(("size", "count"), [(100, 0), (101, 1)])
def test_the_limit_counts_from_the_first_byte_over(tmp_path: Path, size: int, count: int) -> None:
    """A file of the limit passes, one byte more does not."""
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    assert len(too_large([path], 100)) == count


def test_no_code_pickles() -> None:
    """A pickle runs code when it is read, so no file of ours imports or allows one."""
    sources = [path for path in tracked(ROOT) if path.suffix == ".py"]
    assert {
        str(path): found for path in sources if (found := pickling(path.read_text(encoding="utf-8")))
    } == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import shelve as s",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
    ],
)
def test_the_checker_sees_a_pickle(source: str) -> None:
    """Each way to a pickle is found."""
    assert len(pickling(source)) == 1


@pytest.mark.parametrize(
    "source", ["import json", "import torch\ntorch.load(path, weights_only=True)", "load(x)"]
)
def test_the_checker_lets_harmless_code_pass(source: str) -> None:
    """What does not pickle is not reported."""
    assert pickling(source) == []
