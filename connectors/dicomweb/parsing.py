"""One DICOM file read with bounds. Runs only in the reader process: pydicom alone has no limits."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_file_meta_info, read_partial
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from connectors.errors import Malformed

DEEPEST = 32
"""Sequences inside sequences."""
MOST_ELEMENTS = 20_000
"""Top-level elements of one file."""
INFLATED_CAP_BYTES = 256 * 1024 * 1024
"""Largest dataset that a deflated file may hold (PS3.5 section A.5)."""
_PREFIX_ENDS = 132
_GROUP_LENGTH_ENDS = _PREFIX_ENDS + 12
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}


def read_file(path: Path, *, pixels: bool) -> Dataset:
    """Read one file: its file meta information and dataset, with or without the pixel data.

    Sequences of undefined length may nest DEEPEST levels; those of defined length stay unopened until
    asked for. Raises Malformed; foreign exceptions of pydicom pass through, the caller maps them.
    """
    with path.open("rb") as source:
        head = source.read(_PREFIX_ENDS)
        if not head:
            raise Malformed("the file is empty")
        if head[128:] != b"DICM":
            raise Malformed("not a DICOM file: expected DICM at byte 128 (PS3.10 section 7.1)")
        meta = read_file_meta_info(path)
        if "TransferSyntaxUID" not in meta:
            raise Malformed("no Transfer Syntax UID (0002,0010): how to read the file is unknown")
        stop = _guard(pixels)
        try:
            if meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
                dataset = read_dataset(BytesIO(_inflated(source, meta)), False, True, stop_when=stop)
                meta.TransferSyntaxUID = ExplicitVRLittleEndian
                dataset.file_meta = meta
            else:
                source.seek(0)
                dataset = read_partial(source, stop_when=stop)
        except RecursionError:
            raise _too_deep() from None
    _check_depth(dataset)
    return dataset


def _guard(pixels: bool) -> Callable[[Any, Any, int], bool]:
    """Return a stop condition that counts elements, so that no stream of empty ones goes on for ever."""
    count = 0

    def stop(tag: Any, _vr: Any, _length: int) -> bool:
        nonlocal count
        count += 1
        if count > MOST_ELEMENTS:
            raise Malformed(f"more than {MOST_ELEMENTS} elements in one file")
        return not pixels and int(tag) in _PIXELS

    return stop


def _inflated(source: Any, meta: Dataset) -> bytes:
    """Inflate what follows the file meta information, up to the cap."""
    if "FileMetaInformationGroupLength" not in meta:
        raise Malformed("no File Meta Information Group Length (0002,0000), required by PS3.10 section 7.1")
    source.seek(_GROUP_LENGTH_ENDS + int(meta.FileMetaInformationGroupLength))
    try:
        # PS3.5 section A.5: a raw deflate stream, without the zlib header.
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(source.read(), INFLATED_CAP_BYTES + 1)
    except zlib.error:
        raise Malformed("the deflated dataset cannot be inflated") from None
    if len(data) > INFLATED_CAP_BYTES:
        raise Malformed(f"the deflated dataset inflates to more than {INFLATED_CAP_BYTES} bytes")
    return data


def _check_depth(dataset: Dataset) -> None:
    """Refuse what is nested too deeply, with a stack of our own: recursion is what the limit protects."""
    waiting = [(dataset, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > DEEPEST:
            raise _too_deep()
        for element in current.values():  # elements still raw are not converted by this
            if getattr(element, "VR", "") == "SQ" and not element.is_raw:
                waiting.extend((item, depth + 1) for item in element.value)


def _too_deep() -> Malformed:
    return Malformed(f"sequences are nested more than {DEEPEST} levels deep")
