"""`drafter.json`: what a model folder says of itself, and the check that it is so. No torch here.

The configuration travels with the weights: window, slice sampling, prompt version and section grammar
are read from here by serving, never from code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from model.study import ModelCard, WeightsError
from model.tasks import REPORT, TASKS

MANIFEST = "drafter.json"
FORMAT = 1
ARCHITECTURES = ("vision-language", "scripted")
EXECUTABLE_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".py", ".so"}
)
"""Formats that can run code when they are loaded, or are often pickles under another name."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model folder whose every file has the hash that its `drafter.json` names."""

    folder: Path
    architecture: str
    name: str
    version: str
    prompt_version: str
    notice: str
    files: Mapping[str, str]
    """Relative POSIX path -> SHA-256 in hexadecimal, of every file beside drafter.json."""
    tasks: tuple[str, ...]
    """What the weights were trained for, of model.tasks.TASKS; a document that says nothing means reports."""
    settings: Mapping[str, Any]
    """The whole document, for the architecture to read its own part."""
    sha256: str
    """SHA-256 over the names and hashes of all files, drafter.json included."""

    @property
    def card(self) -> ModelCard:
        """The model card that every draft of these weights carries."""
        return ModelCard(self.name, self.version, self.sha256, self.prompt_version, self.notice)

    def path(self, relative: str) -> Path:
        """Absolute path of a pinned file. Raises WeightsError when drafter.json does not pin it."""
        if relative not in self.files:
            raise WeightsError(f"expected drafter.json to pin {relative}; it does not: add its SHA-256")
        return self.folder / relative

    def part(self, name: str) -> Mapping[str, Any]:
        """One object of the document. Raises WeightsError when it is missing or no object."""
        value = self.settings.get(name)
        if not isinstance(value, dict):
            raise WeightsError(f"expected drafter.json to hold an object named {name!r}; it does not")
        return value


def read_manifest(folder: Path) -> Manifest:
    """Read `drafter.json` and verify the folder against it, before anything is loaded.

    1. The document parses and names a known format, architecture and tasks.
    2. No file of the folder is of a kind that can run code.
    3. Every file of the folder is pinned and every pinned file is there.
    4. Every file has the SHA-256 that is pinned.

    Raises WeightsError, which names the file and what is wrong with it.
    """
    # 1.
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"expected a model folder with {MANIFEST}; none can be read in {folder.name!r}: "
            "point PRELIM_MODEL at such a folder"
        ) from error
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise WeightsError(f"expected {MANIFEST} to be JSON: {error}") from error
    if not isinstance(document, dict):
        raise WeightsError(f"expected {MANIFEST} to hold one JSON object")
    if document.get("format") != FORMAT:
        raise WeightsError(
            f"expected format {FORMAT} in {MANIFEST}, found {document.get('format')!r}: "
            "use the release of Prelim that wrote the folder"
        )
    if document.get("architecture") not in ARCHITECTURES:
        raise WeightsError(
            f"expected architecture {' or '.join(ARCHITECTURES)}, found {document.get('architecture')!r}"
        )
    words = {key: _words(document, key) for key in ("name", "version", "prompt_version", "notice")}
    tasks = _tasks(document)
    files = _pins(document)

    # 2.
    present = _present(folder)
    for name in present:
        if PurePosixPath(name).suffix.lower() in EXECUTABLE_SUFFIXES:
            raise WeightsError(f"{name} can run code when loaded: store tensors as safetensors and remove it")

    # 3.
    if unpinned := sorted(present - files.keys()):
        raise WeightsError(f"{unpinned[0]} is not pinned in {MANIFEST}: remove it or add its SHA-256")
    if missing := sorted(files.keys() - present):
        raise WeightsError(f"{missing[0]} is pinned in {MANIFEST} and missing: copy the whole folder again")

    # 4.
    for name, expected in files.items():
        found = file_sha256(folder / name)
        if found != expected:
            raise WeightsError(
                f"{name} has SHA-256 {found[:12]}…, {MANIFEST} pins {expected[:12]}…: "
                "the file was altered, copy the folder again from its source"
            )

    return Manifest(
        folder=folder,
        architecture=document["architecture"],
        files=files,
        tasks=tasks,
        settings=document,
        sha256=folder_sha256({**files, MANIFEST: hashlib.sha256(raw).hexdigest()}),
        **words,
    )


def write_manifest(folder: Path, document: Mapping[str, Any]) -> None:
    """Write `drafter.json` into a folder, pinning every file that lies there now."""
    files = {name: file_sha256(folder / name) for name in sorted(_present(folder))}
    text = json.dumps({"format": FORMAT, **document, "files": files}, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def file_sha256(path: Path) -> str:
    """SHA-256 of one file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def folder_sha256(files: Mapping[str, str]) -> str:
    """One hash over the names and hashes of many files, in the order of their names."""
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _present(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and path != folder / MANIFEST
    }


def _words(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value.strip():
        raise WeightsError(f"expected drafter.json to hold words under {key!r}")
    return value


def _tasks(document: Mapping[str, Any]) -> tuple[str, ...]:
    tasks = document.get("tasks", [REPORT])
    if not isinstance(tasks, list) or REPORT not in tasks or any(task not in TASKS for task in tasks):
        raise WeightsError(
            f"expected tasks in {MANIFEST} to be a list of {REPORT}, and of any of {', '.join(TASKS[1:])} "
            f"that the weights were trained for, found {tasks!r}: use the release of Prelim that wrote the "
            "folder"
        )
    return tuple(tasks)


def _pins(document: Mapping[str, Any]) -> dict[str, str]:
    files = document.get("files")
    if not isinstance(files, dict):
        raise WeightsError("expected drafter.json to hold an object named 'files': path -> SHA-256")
    for name, digest in files.items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise WeightsError(f"expected 64 hexadecimal digits as the SHA-256 of {name}")
    return dict(files)
