"""The reader process: `python -m connectors.dicomweb.reader FOLDER RESULT MEMORY SECONDS VOXELS`.

Untrusted files are parsed here and nowhere else, in a process of its own with limits that it sets
itself before it opens the first file. It leaves header.json and voxels.npy in RESULT, or refusal.json.
pixels.read_series starts it.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.uid import MediaStorageDirectoryStorage, RLELossless

from connectors.dicomweb.codestream import claimed_shapes
from connectors.dicomweb.geometry import arrange
from connectors.dicomweb.images import (
    MODALITIES,
    Belonging,
    Image,
    Scale,
    Unusable,
    belonging_of,
    image_of,
    text,
)
from connectors.dicomweb.parsing import read_file
from connectors.errors import Malformed

MOST_FILES = 20_000
RESULT_SLACK_BYTES = 1024 * 1024
"""Room for the headers beside the voxels."""


def main(arguments: list[str]) -> int:
    """Read a folder within the limits given; return the exit status: 0 read, 3 refused."""
    folder, result = Path(arguments[0]), Path(arguments[1])
    memory_bytes, seconds, max_voxels = (int(argument) for argument in arguments[2:5])
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_voxels * 4 + RESULT_SLACK_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    try:
        header, voxels = read_folder(folder, max_voxels)
        np.save(result / "voxels.npy", voxels, allow_pickle=False)
        (result / "header.json").write_text(json.dumps(header), encoding="ascii")
    except Malformed as refusal:
        reason = str(refusal)
    except MemoryError:
        reason = f"reading it needs more than {memory_bytes} bytes of memory"
    else:
        return 0
    (result / "refusal.json").write_text(json.dumps({"reason": reason}), encoding="ascii")
    return 3


def read_folder(folder: Path, max_voxels: int) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Read the best series among the DICOM files under a folder.

    1. Read every file's header, with bounds; all must be of one patient, study and accession.
    2. Choose a series: CT before MR, axial first, original first, most slices.
    3. Order its slices and find its orientation, before any pixel is decoded.
    4. Decode, rescale, and turn: feet to head, front to back, the patient's right to left.

    Returns the header as JSON types and the voxels. Raises Malformed, naming files by ordinal only.
    """
    # 1
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not 1 <= len(paths) <= MOST_FILES:
        raise Malformed(f"expected 1 to {MOST_FILES} files, got {len(paths)}")
    images: list[Image] = []
    unusable: dict[str, str] = {}
    owners: list[Belonging] = []
    for ordinal, path in enumerate(paths, 1):
        where = f"file {ordinal} of {len(paths)}"
        try:
            dataset = read_file(path, pixels=False)
            if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
                continue
            owners.append(belonging_of(dataset))
            _check_one_owner(owners[0], owners[-1])
            images.append(image_of(dataset, path, ordinal, max_voxels))
        except Unusable as reason:
            unusable.setdefault(text(dataset, "SeriesInstanceUID"), f"{where}: {reason}")
        except Malformed as reason:
            raise Malformed(f"{where}: {reason}") from None
        except MemoryError:
            raise
        except Exception as exc:
            # The text of a foreign exception may quote the file: only its kind goes on.
            raise Malformed(f"{where}: it cannot be parsed ({type(exc).__name__})") from None
    if not images:
        reason_of_first = next(iter(unusable.values()), "there are none")
        raise Malformed(f"expected images to make a volume of; {reason_of_first}")
    # 2
    chosen = _best_series(images)
    uid = chosen[0].series_instance_uid
    if uid in unusable:
        raise Malformed(unusable[uid])
    _check_one_kind(chosen)
    if sum(image.voxel_count for image in chosen) > max_voxels:
        raise Malformed(f"the series claims more than {max_voxels} voxels")
    # 3
    arrangement = arrange([plane for image in chosen for plane in image.planes])
    # 4
    stack, first = _stack(chosen, arrangement.order, len(paths))
    if chosen[0].inverted and chosen[0].modality != "CT":
        # Hounsfield units mean the same however they are shown; other values have only their display.
        np.subtract(stack.max() + stack.min(), stack, out=stack)
    header = {
        "spacing_mm": list(arrangement.spacing_mm),
        "modality": chosen[0].modality,
        "study_instance_uid": owners[0].study_instance_uid,
        "series_instance_uid": uid,
        "patient_id": owners[0].patient_id,
        "issuer": owners[0].issuer,
        "person_name": text(first, "PatientName"),
        "birth_date": text(first, "PatientBirthDate"),
        "sex": text(first, "PatientSex"),
        "accession": owners[0].accession,
        "study_date": text(first, "StudyDate"),
        "description": text(first, "SeriesDescription") or text(first, "StudyDescription"),
    }
    return header, arrangement.turned(stack)


def _check_one_owner(first: Belonging, other: Belonging) -> None:
    if (first.patient_id, first.issuer) != (other.patient_id, other.issuer):
        raise Malformed("the files are of more than one patient")
    if first.study_instance_uid != other.study_instance_uid:
        raise Malformed("the files are of more than one study")
    if first.accession != other.accession:
        raise Malformed("the files carry more than one accession number")


def _best_series(images: list[Image]) -> list[Image]:
    """Return the images of the best series, each SOP instance once."""
    series: defaultdict[str, dict[str, Image]] = defaultdict(dict)
    for image in images:
        series[image.series_instance_uid].setdefault(image.sop_instance_uid, image)

    def rank(uid: str) -> tuple[int, bool, bool, int, str]:
        members = list(series[uid].values())
        return (
            MODALITIES.index(members[0].modality),
            not members[0].planes[0].is_axial,
            not members[0].original,
            -sum(len(member.planes) for member in members),
            uid,
        )

    return list(series[min(series, key=rank)].values())


def _check_one_kind(images: list[Image]) -> None:
    if len({(image.modality, image.inverted) for image in images}) > 1:
        raise Malformed("images of one series differ in modality or photometric interpretation")


def _stack(images: list[Image], order: tuple[int, ...], count: int) -> tuple[NDArray[np.float32], Any]:
    """Decode and rescale all slices into their places; return them and the first file's dataset."""
    rows, columns = images[0].planes[0].shape
    stack = np.empty((len(order), rows, columns), dtype=np.float32)
    place = {plane: slot for slot, plane in enumerate(order)}
    index = 0
    first: Any = None
    for image in images:
        where = f"file {image.ordinal} of {count}"
        try:
            dataset = read_file(image.path, pixels=True)
            first = dataset if first is None else first
            for values, scale in zip(_frames(dataset), image.scales, strict=True):
                _rescale(values, scale, (rows, columns), out=stack[place[index]])
                index += 1
            if first is not dataset:
                del dataset
        except Malformed as reason:
            raise Malformed(f"{where}: {reason}") from None
        except MemoryError:
            raise
        except Exception as exc:
            raise Malformed(
                f"{where}: its pixels cannot be decoded, they are cut short or not of the transfer syntax "
                f"they claim ({type(exc).__name__})"
            ) from None
    return stack, first


def _rescale(values: Any, scale: Scale, shape: tuple[int, int], out: NDArray[np.float32]) -> None:
    if values.shape != shape:
        raise Malformed("a frame's pixels are not of the size that the header claims")
    np.multiply(values, np.float32(scale.slope), out=out, casting="unsafe")
    out += np.float32(scale.intercept)


def _frames(dataset: Any) -> Any:
    """Yield the decoded frames of one image as integer arrays."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" not in dataset:
        raise Malformed("it has no Pixel Data (7FE0,0010)")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise Malformed("its transfer syntax is not one that we decode") from None
    if not syntax.is_compressed:
        plugin = ""
    elif syntax == RLELossless:
        plugin = "pydicom"
    else:
        plugin = "pylibjpeg"
        shape = (int(dataset.Rows), int(dataset.Columns))
        if claimed_shapes(dataset, int(dataset.get("NumberOfFrames") or 1)) - {shape}:
            raise Malformed("a compressed frame claims another size than the header")
    for values, _ in decoder.iter_array(dataset, raw=True, decoding_plugin=plugin):
        yield values


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
