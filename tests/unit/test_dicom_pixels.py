"""DICOM files are read in a process with limits, or refused with a reason that names no patient."""

from __future__ import annotations

import json
import os
import resource
import struct
import time
import zlib
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from connectors.dicomweb import images, parsing, pixels, reader
from connectors.dicomweb.codestream import shape_in
from connectors.dicomweb.patients import names_of
from connectors.dicomweb.pixels import read_series
from connectors.dicomweb.reader import read_folder
from connectors.errors import Malformed
from connectors.exchange import Patient
from tests.dicom import SPACING_MM, ct_image, ct_series, encoded, phantom, write

VOXELS = 1 << 20

NO_GREY = "its pixels are no grey values"
NOT_CT_OR_MR = "its modality is not one of CT, MR"
NO_PREFIX = "expected DICM at byte 128"
# What each real file of pydicom's collection must give: (slices, rows, columns), or words of the reason.
REAL_FILES: dict[str, tuple[int, int, int] | str] = {
    "CT_small.dcm": (1, 128, 128),
    "693_J2KI.dcm": (1, 512, 512),
    "J2K_pixelrep_mismatch.dcm": (1, 512, 512),
    "MR_small.dcm": (1, 64, 64),
    "MR_small_RLE.dcm": (1, 64, 64),
    "MR_small_bigendian.dcm": (1, 64, 64),
    "MR_small_expb.dcm": (1, 64, 64),
    "MR_small_implicit.dcm": (1, 64, 64),
    "MR_small_jp2klossless.dcm": (1, 64, 64),
    "MR_small_jpeg_ls_lossless.dcm": (1, 64, 64),
    "MR_small_padded.dcm": (1, 64, 64),
    "examples_overlay.dcm": (1, 300, 484),
    "MR_truncated.dcm": "its pixels cannot be decoded",
    "ExplVR_BigEnd.dcm": NOT_CT_OR_MR,
    "ExplVR_BigEndNoMeta.dcm": NO_PREFIX,
    "ExplVR_LitEndNoMeta.dcm": NO_PREFIX,
    "JPEG2000.dcm": NOT_CT_OR_MR,
    "JPEGLSNearLossless_08.dcm": NOT_CT_OR_MR,
    "JPGExtended.dcm": NOT_CT_OR_MR,
    "SC_rgb_rle_2frame.dcm": NOT_CT_OR_MR,
    "badVR.dcm": "it cannot be parsed",
    "examples_palette.dcm": NOT_CT_OR_MR,
    "image_dfl.dcm": NOT_CT_OR_MR,
    "liver_1frame.dcm": NOT_CT_OR_MR,
    "meta_missing_tsyntax.dcm": "no Transfer Syntax UID",
    "no_meta.dcm": NO_PREFIX,
    "reportsi.dcm": "it holds no image",
    "rtdose.dcm": NOT_CT_OR_MR,
    "rtstruct.dcm": NO_PREFIX,
    "test-SR.dcm": "it holds no image",
    "waveform_ecg.dcm": "it holds no image",
}


def real_file(name: str) -> bytes:
    """One of the files that come with pydicom; nothing is downloaded."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


@pytest.mark.parametrize("name", REAL_FILES)
def test_a_real_file_is_read_or_refused_with_its_reason(tmp_path: Path, name: str) -> None:
    """Files of many makers: each becomes a volume, or is refused for a reason that a person would give."""
    write(tmp_path, [real_file(name)])
    expected = REAL_FILES[name]
    if isinstance(expected, str):
        with pytest.raises(Malformed, match="file 1 of 1: ") as caught:
            read_folder(tmp_path, VOXELS)
        assert expected in str(caught.value)
    else:
        _, voxels = read_folder(tmp_path, VOXELS)
        assert voxels.shape == expected
        assert np.isfinite(voxels).all()


@pytest.mark.parametrize("name", ["RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "expb"])
def test_every_lossless_encoding_gives_the_same_voxels(tmp_path: Path, name: str) -> None:
    """The same MR slice in six encodings reads alike."""
    for folder, file in (("plain", "MR_small.dcm"), ("other", f"MR_small_{name}.dcm")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, [real_file(file)])
    (_, plain), (_, other) = (read_folder(tmp_path / folder, VOXELS) for folder in ("plain", "other"))
    assert np.array_equal(plain, other)


def test_a_series_comes_with_its_patient_and_its_place(tmp_path: Path) -> None:
    """The child's result crosses to the parent whole: voxels, spacing, patient, accession, dates."""
    volume = phantom()
    changes = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Zoë=ミュラー^ゾエ"}
    series = read_series(write(tmp_path, ct_series(volume, **changes)))
    assert type(series.voxels) is np.ndarray
    assert np.array_equal(series.voxels, volume)
    assert series.voxels.dtype == np.float32
    assert series.voxels.flags.c_contiguous
    series.voxels[:] = 0  # nobody else's memory, and no file any more: it may be written
    assert series.spacing_mm == pytest.approx(SPACING_MM)
    assert series.patient == Patient("TEST-1", "TESTS", "Müller", "Zoë", date(1970, 1, 2), "female")
    assert (series.modality, series.accession, series.description) == ("CT", "ACC-1", "axial")
    assert series.study_date == date(2026, 1, 2)


@pytest.mark.parametrize(
    ("name", "family"),
    [("chrRuss.dcm", "Люкceмбypг"), ("chrGreek.dcm", "Διονυσιος"), ("chrH31.dcm", "Yamada")],
)
def test_names_are_decoded_from_their_character_set(name: str, family: str) -> None:
    """Single-byte and multi-byte character sets of PS3.5 chapter 6 are read."""
    dataset = parsing.read_file(Path(get_charset_files(name)[0]), pixels=False)
    assert names_of(images.text(dataset, "PatientName"))[0] == family


def test_rescale_slope_and_intercept_make_hounsfield_units(tmp_path: Path) -> None:
    """Stored value times slope plus intercept (PS3.3 C.11.1)."""
    write(tmp_path, ct_series(phantom(), RescaleSlope=2, RescaleIntercept=-100))
    _, voxels = read_folder(tmp_path, VOXELS)
    assert np.array_equal(voxels, (phantom() + 1024) * 2 - 100)


@pytest.mark.parametrize(("slope", "fits"), [("1e9", True), ("1.1e9", False), ("-1.1e9", False)])
def test_a_scale_beyond_all_measure_is_refused(tmp_path: Path, slope: str, fits: bool) -> None:
    """Within the limit every voxel stays a finite number."""
    write(tmp_path, ct_series(phantom(), RescaleSlope=slope))
    if fits:
        assert np.isfinite(read_folder(tmp_path, VOXELS)[1]).all()
    else:
        with pytest.raises(Malformed, match="beyond"):
            read_folder(tmp_path, VOXELS)


def test_an_eight_bit_monochrome1_mr_is_turned_bright_side_up(tmp_path: Path) -> None:
    """MONOCHROME1 shows the lowest value white: outside CT the values are turned round."""
    series = ct_series(phantom((2, 2, 2)), Modality="MR", PhotometricInterpretation="MONOCHROME1")
    for image in series:
        image.BitsAllocated = image.BitsStored = 8
        image.HighBit, image.PixelRepresentation = 7, 0
        image.PixelData = bytes([0, 10, 20, 255])
        del image.RescaleSlope, image.RescaleIntercept
    _, voxels = read_folder(write(tmp_path, series), VOXELS)
    assert voxels[0].ravel().tolist() == [255, 245, 235, 0]


def test_monochrome1_changes_no_hounsfield_unit(tmp_path: Path) -> None:
    """CT values mean the same however they are shown."""
    write(tmp_path, ct_series(phantom(), PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(read_folder(tmp_path, VOXELS)[1], phantom())


def test_the_original_axial_series_with_most_slices_is_chosen(tmp_path: Path) -> None:
    """Axial before coronal, original before derived, localizers never, then the number of slices."""
    wanted = ct_series(phantom((4, 6, 8)))
    one = {"StudyInstanceUID": wanted[0].StudyInstanceUID}
    others = [
        ct_series(phantom((3, 6, 8)), **one),
        ct_series(phantom((9, 6, 8)), ImageType=["DERIVED", "SECONDARY", "AXIAL"], **one),
        ct_series(phantom((9, 6, 8)), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **one),
        ct_series(phantom((4, 20, 8)), along_row=(0, 1), along_column=(2, -1), **one),
        ct_series(phantom((9, 6, 8)), Modality="MR", **one),
    ]
    write(tmp_path, [image for series in (*others, wanted) for image in series])
    header, _ = read_folder(tmp_path, VOXELS)
    assert header["series_instance_uid"] == wanted[0].SeriesInstanceUID


def test_the_same_instance_sent_twice_counts_once(tmp_path: Path) -> None:
    """A repeated SOP Instance UID is the same slice."""
    series = ct_series(phantom())
    _, voxels = read_folder(write(tmp_path, [*series, series[0]]), VOXELS)
    assert voxels.shape == phantom().shape


def without(keyword: str) -> list[Dataset]:
    """A series in which one slice lacks an attribute."""
    series = ct_series(phantom())
    delattr(series[-1], keyword)
    return series


REFUSED: dict[str, tuple[Any, str]] = {
    "two patients": (lambda: changed(PatientID="TEST-2"), "more than one patient"),
    "two issuers": (lambda: changed(IssuerOfPatientID="OTHER"), "more than one patient"),
    "two studies": (lambda: changed(StudyInstanceUID="1.2.3"), "more than one study"),
    "two accessions": (lambda: changed(AccessionNumber="ACC-2"), "more than one accession"),
    "a missing slice": (lambda: gap(), "missing"),
    "no position": (lambda: without("ImagePositionPatient"), "left from right"),
    "no orientation": (lambda: without("ImageOrientationPatient"), "left from right"),
    "no units": (lambda: without("RescaleIntercept"), "no Hounsfield units"),
    "other units": (lambda: changed(RescaleType="US"), "Rescale Type"),
    "zero slope": (lambda: changed(RescaleSlope=0), "is zero"),
    "colour": (lambda: changed(SamplesPerPixel=3), NO_GREY),
    "no rows": (lambda: changed(Rows=0), "it holds no image"),
    "pixels cut short": (lambda: changed(PixelData=b"\0\0"), "cannot be decoded"),
    "no pixels": (lambda: without("PixelData"), "no Pixel Data"),
    "unfinite position": (lambda: changed(ImagePositionPatient=["1e999", "0", "0"]), "finite numbers"),
    "two modalities": (lambda: changed(Modality="MR"), "differ in modality"),
}


def changed(**values: Any) -> list[Dataset]:
    """A series in which one slice differs."""
    series = ct_series(phantom())
    for keyword, value in values.items():
        setattr(series[-1], keyword, value)
    return series


def gap() -> list[Dataset]:
    """A series without its second slice."""
    series = ct_series(phantom())
    return [series[0], *series[2:]]


@pytest.mark.parametrize("name", REFUSED)
def test_a_contradictory_series_is_refused_with_its_rule(tmp_path: Path, name: str) -> None:
    """Mixed or incomplete series become no volume, and the reason holds no patient data."""
    make, reason = REFUSED[name]
    with pytest.raises(Malformed, match=reason) as caught:
        read_folder(write(tmp_path, make()), VOXELS)
    assert not any(
        secret in str(caught.value) for secret in ("TEST-", "Patient^", "ACC-", "2.25.", str(tmp_path))
    )


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """No files, no volume."""
    with pytest.raises(Malformed, match="got 0"):
        read_folder(tmp_path, VOXELS)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link counts as no file."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").mkdir()
    target = write(tmp_path / "outside", ct_series(phantom())) / "0000.dcm"
    (tmp_path / "inside" / "link.dcm").symlink_to(target)
    with pytest.raises(Malformed, match="got 0"):
        read_folder(tmp_path / "inside", VOXELS)


def test_voxels_are_counted_before_they_are_decoded(tmp_path: Path) -> None:
    """A series of exactly the cap is read; one voxel less of a cap refuses it."""
    volume = phantom()
    write(tmp_path, ct_series(volume))
    assert read_folder(tmp_path, volume.size)[1].size == volume.size
    with pytest.raises(Malformed, match="claims more than"):
        read_folder(tmp_path, volume.size - 1)


def nested(levels: int, *, defined_length: bool = False) -> Dataset:
    """A CT slice that carries sequences inside sequences."""
    item = Dataset()
    item.CodeValue = "1"
    for _ in range(levels):
        outer = Dataset()
        outer.ConceptCodeSequence = [item]
        if not defined_length:
            outer["ConceptCodeSequence"].is_undefined_length = True
        item = outer
    image = ct_series(phantom())[0]
    image.ConceptCodeSequence = item.ConceptCodeSequence
    if not defined_length:
        image["ConceptCodeSequence"].is_undefined_length = True
    return image


@pytest.mark.parametrize(("levels", "fits"), [(parsing.DEEPEST, True), (parsing.DEEPEST + 1, False)])
def test_sequences_may_nest_to_the_limit_and_no_deeper(tmp_path: Path, levels: int, fits: bool) -> None:
    """The depth is capped where sequences of undefined length have to be read through."""
    write(tmp_path, [nested(levels)])
    if fits:
        read_folder(tmp_path, VOXELS)
    else:
        with pytest.raises(Malformed, match="levels deep"):
            read_folder(tmp_path, VOXELS)


def test_elements_are_counted_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of exactly the most elements is read, one of one more is refused."""
    image = ct_series(phantom())[0]
    # The last call of the stop condition meets the pixel data itself.
    monkeypatch.setattr(parsing, "MOST_ELEMENTS", len(image) + len(image.file_meta) + 8)
    path = write(tmp_path, [image]) / "0000.dcm"
    parsing.read_file(path, pixels=True)
    for extra in range(40):
        image.add_new(0x00091010 + extra, "LO", "x")
    write(tmp_path, [image])
    with pytest.raises(Malformed, match="elements in one file"):
        parsing.read_file(path, pixels=True)


def deflated(image: Dataset) -> bytes:
    """The image in the deflated transfer syntax."""
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return encoded(image)


def test_a_deflated_file_is_read_up_to_its_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deflated Explicit VR (PS3.5 A.5) reads like any other; over the cap it is refused while inflating."""
    image = ct_series(phantom())[0]
    plain = encoded(image)
    length = struct.unpack_from("<I", plain, 140)[0]
    inflated = len(plain) - 144 - length
    write(tmp_path, [deflated(image)])
    monkeypatch.setattr(parsing, "INFLATED_CAP_BYTES", inflated)
    assert np.array_equal(read_folder(tmp_path, VOXELS)[1][0], phantom()[0])
    monkeypatch.setattr(parsing, "INFLATED_CAP_BYTES", inflated - 1)
    with pytest.raises(Malformed, match="inflates to more than"):
        read_folder(tmp_path, VOXELS)


def with_dataset(image: Dataset, body: bytes) -> bytes:
    """The image's file meta information followed by other bytes."""
    whole = encoded(image)
    return whole[: 144 + struct.unpack_from("<I", whole, 140)[0]] + body


def deflate_bomb() -> list[bytes]:
    """About a megabyte that inflates to a gigabyte."""
    image = ct_series(phantom())[0]
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    body = b"".join(packer.compress(zeros) for _ in range(1024)) + packer.flush()
    return [with_dataset(image, body)]


def element_flood() -> list[bytes]:
    """Megabytes of empty elements within the inflation cap: cheap to send, dear to keep."""
    image = ct_series(phantom())[0]
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    elements = b"".join(struct.pack("<HH2sH", 9, number, b"LO", 0) for number in range(0x10, 0xFFFF))
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return [with_dataset(image, packer.compress(elements * 8) + packer.flush())]


def lying_rle() -> list[bytes]:
    """A file under a kilobyte that claims 65535 x 65535 pixels."""
    image = ct_series(phantom())[0]
    image.file_meta.TransferSyntaxUID = RLELossless
    image.Rows = image.Columns = 65535
    frame = struct.pack("<16I", 2, 64, 66, *[0] * 13) + b"\x00\x00\x00\x00"
    image.PixelData = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(frame)) + frame
    image["PixelData"].is_undefined_length = True
    image["PixelData"].VR = "OB"
    return [encoded(image)]


def lying_jpeg_ls() -> list[bytes]:
    """A header of 6 x 8 pixels around a compressed frame that claims 60000 x 60000."""
    image = ct_series(phantom())[0]
    image.file_meta.TransferSyntaxUID = JPEGLSLossless
    frame = b"\xff\xd8\xff\xf7" + struct.pack(">HBHHB", 11, 16, 60000, 60000, 1) + b"\x01\x11\x00\xff\xd9"
    frame += b"\0" * (len(frame) % 2)
    image.PixelData = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(frame)) + frame
    image["PixelData"].is_undefined_length = True
    image["PixelData"].VR = "OB"
    return [encoded(image)]


def undefined_nesting(levels: int) -> list[bytes]:
    """Sequences of undefined length inside each other, written by hand: pydicom could not."""
    opening = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    opening += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return [with_dataset(ct_series(phantom())[0], opening * levels)]


ATTACKS: dict[str, tuple[Any, str]] = {
    "deflate bomb": (deflate_bomb, "inflates to more than"),
    "element flood": (element_flood, "elements in one file"),
    "lying RLE": (lying_rle, "claims more than"),
    "lying JPEG-LS": (lying_jpeg_ls, "another size than the header"),
    "200 sequences": (lambda: undefined_nesting(200), "levels deep"),
    "20000 sequences": (lambda: undefined_nesting(20_000), "levels deep"),
    "truncated": (lambda: [encoded(ct_series(phantom())[0])[:-50]], "cannot be decoded"),
    "cut in the header": (lambda: [encoded(ct_series(phantom())[0])[:400]], "file 1 of 1"),
    "not DICOM": (lambda: [b"%PDF-1.7" + bytes(2000)], NO_PREFIX),
    "zero bytes": (lambda: [b""], "the file is empty"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_file_is_refused_and_costs_little(tmp_path: Path, name: str) -> None:
    """The reader refuses it in seconds and within its memory, and this process is none the worse."""
    make, reason = ATTACKS[name]
    write(tmp_path, make())
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(Malformed, match=reason):
        read_series(tmp_path, memory_bytes=1 << 30, deadline_seconds=30)
    assert time.monotonic() - began < 25
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # kilobytes


def test_a_file_that_needs_more_memory_than_the_limit_is_refused(tmp_path: Path) -> None:
    """The address space of the child is bounded: what fits in one limit fails in a smaller one."""
    image = ct_series(phantom())[0]
    image.add_new(0x00091010, "OB", bytes(150 << 20))
    write(tmp_path, [image])
    assert read_series(tmp_path, memory_bytes=1 << 30).voxels.size == phantom()[0].size
    with pytest.raises(Malformed, match="memory"):
        read_series(tmp_path, memory_bytes=400 << 20)


def test_a_reader_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """The child is killed at its deadline; with time enough the same files are read."""
    write(tmp_path, ct_series(phantom()))
    began = time.monotonic()
    with pytest.raises(Malformed, match=r"longer than 0\.1 seconds"):
        read_series(tmp_path, deadline_seconds=0.1)
    assert time.monotonic() - began < 10
    read_series(tmp_path, deadline_seconds=100)


def test_a_pipe_in_the_folder_is_no_file(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever; only regular files are opened."""
    os.mkfifo(tmp_path / "pipe.dcm")
    with pytest.raises(Malformed, match="got 0"):
        read_series(tmp_path, deadline_seconds=30)


def test_the_child_is_given_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the process that parses strangers' files holds nothing of ours."""
    seen: dict[str, Any] = {}

    def note(command: list[str], **options: Any) -> Any:
        seen.update(options)
        raise pixels.subprocess.TimeoutExpired(command, 1)

    monkeypatch.setenv("PRELIM_FHIR_TOKEN", "secret")
    monkeypatch.setattr(pixels.subprocess, "run", note)
    with pytest.raises(Malformed):
        read_series(tmp_path)
    assert "secret" not in json.dumps(seen["env"])


def test_the_sizes_in_codestreams_are_read() -> None:
    """JPEG 2000 states its size in SIZ, JPEG-LS in its frame header."""
    for name, shape in (
        ("693_J2KI.dcm", (512, 512)),
        ("MR_small_jp2klossless.dcm", (64, 64)),
        ("MR_small_jpeg_ls_lossless.dcm", (64, 64)),
        ("JPGExtended.dcm", (1024, 256)),
        ("SC_rgb_jpeg_dcmtk.dcm", (100, 100)),
    ):
        dataset = dcmread(get_testdata_file(name, download=False))
        assert shape_in(get_frame(dataset.PixelData, 0)) == shape
    siz = b"\xff\x4f\xff\x51" + struct.pack(">HHIIII", 41, 0, 300, 200, 20, 10)  # 20 and 10 are the offset
    assert shape_in(siz) == (190, 280)
    assert shape_in(b"no codestream") is None
    assert shape_in(b"") is None


def test_a_reader_that_cannot_run_is_no_verdict_on_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation must not be blamed on the sender: it is no Malformed."""
    monkeypatch.setattr(pixels, "_READER", "connectors.dicomweb.no_such_reader")
    with pytest.raises(RuntimeError, match="exit status"):
        read_series(tmp_path)


def test_one_image_alone_has_no_place_and_is_refused(tmp_path: Path) -> None:
    """An image without position is never guessed to be a slice."""
    write(tmp_path, [ct_image(phantom()[0], "1.2", "1.3")])
    with pytest.raises(Malformed, match="left from right"):
        read_folder(tmp_path, VOXELS)


def test_files_are_counted_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many files as the limit are read, one more is refused."""
    write(tmp_path, ct_series(phantom()))
    monkeypatch.setattr(reader, "MOST_FILES", 4)
    assert read_folder(tmp_path, VOXELS)[1].shape[0] == 4
    monkeypatch.setattr(reader, "MOST_FILES", 3)
    with pytest.raises(Malformed, match="got 4"):
        read_folder(tmp_path, VOXELS)
