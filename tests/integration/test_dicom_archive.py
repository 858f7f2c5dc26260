"""What every image archive must do for us, asked of the sandbox and of Orthanc alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from connectors.dicomweb.client import DicomwebClient
from connectors.dicomweb.notifications import changes, newest_change
from connectors.dicomweb.pixels import read_series
from connectors.dicomweb.uids import new_uid
from connectors.errors import Malformed, Rejected, Unreachable
from connectors.exchange import StudyRef
from connectors.sandbox.pacs import SandboxPacs
from tests.dicom import ct_series, encoded, phantom


@dataclass(frozen=True)
class Archive:
    """One archive under test."""

    root_url: str
    client: DicomwebClient
    announce: Callable[[str], None]
    """Makes sure that a stored study will be announced as stable."""


@pytest.fixture(params=["sandbox", "orthanc"])
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """The sandbox, then Orthanc where it runs."""
    if request.param == "orthanc":
        root = str(request.getfixturevalue("orthanc_url"))
        with DicomwebClient(f"{root}/dicom-web", timeout_seconds=20) as client:
            yield Archive(root, client, lambda _: None)  # Orthanc announces by itself, after its StableAge
    else:
        with SandboxPacs() as pacs, DicomwebClient(pacs.dicomweb_url) as client:
            yield Archive(pacs.root_url, client, pacs.announce)


def study(shape: tuple[int, int, int] = (5, 6, 8), **changes_: object) -> list[Dataset]:
    """A CT series of a patient, accession and study of its own: Orthanc keeps what other tests stored."""
    mark = new_uid()[-12:]
    own = {"PatientID": f"P{mark}", "AccessionNumber": f"A{mark}", **changes_}
    return ct_series(phantom(shape), **own)


def stored(archive: Archive, images: list[Dataset]) -> str:
    """Store a study and return its UID."""
    assert archive.client.store([encoded(image) for image in images]) == len(images)
    return str(images[0].StudyInstanceUID)


def test_a_stored_study_is_found_by_accession_and_by_uid(archive: Archive) -> None:
    """QIDO-RS gives the same study for either key, with its patient, modality and instance count."""
    images = study()
    uid = stored(archive, images)
    by_accession = archive.client.find_studies(accession=images[0].AccessionNumber)
    assert by_accession == archive.client.find_studies(study_instance_uid=uid)
    (found,) = by_accession
    assert (found.study_instance_uid, found.instance_count, found.modalities) == (uid, 5, ("CT",))
    assert (found.patient.identifier, found.patient.assigning_authority) == (images[0].PatientID, "TESTS")
    assert (found.patient.family_name, found.patient.sex) == ("Test", "female")
    assert (found.description, found.accession) == ("CT of a phantom", images[0].AccessionNumber)


def test_names_survive_the_archive_in_any_script(archive: Archive) -> None:
    """A name outside ASCII is found as it was stored (PS3.18 section F.2: JSON is UTF-8)."""
    uid = stored(archive, study(SpecificCharacterSet="ISO_IR 192", PatientName="Ødegård^Zoë"))
    (found,) = archive.client.find_studies(study_instance_uid=uid)
    assert (found.patient.family_name, found.patient.given_name) == ("Ødegård", "Zoë")


def test_an_unknown_study_is_found_nowhere(archive: Archive) -> None:
    """No match is an empty answer, no error."""
    assert archive.client.find_studies(study_instance_uid=new_uid()) == ()
    assert archive.client.find_studies(accession="NONE-SUCH") == ()


def test_an_accession_that_is_part_of_another_finds_only_itself(archive: Archive) -> None:
    """Neither a prefix nor another case matches, whatever the archive's own habit is."""
    mark = new_uid()[-10:]
    stored(archive, study(AccessionNumber=f"x{mark}1"))
    assert archive.client.find_studies(accession=f"x{mark}") == ()
    assert archive.client.find_studies(accession=f"X{mark}1") == ()


def test_a_fetched_study_reads_as_what_was_stored(archive: Archive, tmp_path: Path) -> None:
    """STOW-RS, WADO-RS and the reader together keep every voxel in its place."""
    images = study()
    uid = stored(archive, images)
    assert archive.client.fetch_study(uid, tmp_path, byte_cap=10_000_000) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"001-{n:06}.dcm" for n in range(1, 6)]
    series = read_series(tmp_path)
    assert np.array_equal(series.voxels, phantom((5, 6, 8)))
    assert (series.study_instance_uid, series.accession) == (uid, images[0].AccessionNumber)
    assert series.patient.identifier == images[0].PatientID


def test_a_fetch_stops_at_its_byte_cap(archive: Archive, tmp_path: Path) -> None:
    """Exactly the cap fits; a byte less is refused while streaming, and leaves no file behind."""
    uid = stored(archive, study())
    archive.client.fetch_study(uid, tmp_path, byte_cap=10_000_000)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    under, exact = tmp_path / "under", tmp_path / "exact"
    under.mkdir()
    exact.mkdir()
    assert archive.client.fetch_study(uid, exact, byte_cap=size) == 5
    with pytest.raises(Malformed, match="byte cap"):
        archive.client.fetch_study(uid, under, byte_cap=size - 1)
    assert list(under.iterdir()) == []


def test_of_a_study_the_largest_ct_series_are_fetched(archive: Archive, tmp_path: Path) -> None:
    """CT before MR, and of several CT series the largest, up to the number asked for."""
    large = study()
    one = {k: large[0].get(k) for k in ("PatientID", "AccessionNumber", "StudyInstanceUID")}
    small = ct_series(phantom((2, 6, 8)), **one)
    magnetic = ct_series(phantom((7, 6, 8)), **{**one, "Modality": "MR"})
    uid = stored(archive, [*small, *magnetic, *large])
    assert archive.client.fetch_study(uid, tmp_path, byte_cap=10_000_000, series_cap=1) == 5
    assert read_series(tmp_path).series_instance_uid == large[0].SeriesInstanceUID


def test_a_study_without_slices_to_read_is_refused(archive: Archive, tmp_path: Path) -> None:
    """A study of another modality is named as such, not fetched in vain."""
    uid = stored(archive, study(Modality="US"))
    with pytest.raises(Malformed, match="CT or MR"):
        archive.client.fetch_study(uid, tmp_path, byte_cap=10_000_000)


def test_a_study_that_is_not_there_is_asked_for_again_later(archive: Archive, tmp_path: Path) -> None:
    """An announced study may still be arriving: Unreachable, so that it is tried again."""
    with pytest.raises(Unreachable, match="no series of this study yet"):
        archive.client.fetch_study(new_uid(), tmp_path, byte_cap=1000)


def test_what_is_no_dicom_is_not_stored(archive: Archive) -> None:
    """The archive's refusal is ours."""
    with pytest.raises(Rejected):
        archive.client.store([b"this is no DICOM file"])


def test_a_stored_study_is_announced_once_stable(archive: Archive) -> None:
    """The feed names the study after the change number we knew, and not again after the one it gives."""
    before = newest_change(archive.root_url)
    images = study()
    uid = stored(archive, images)
    archive.announce(uid)
    found, since = announced(archive, uid, before)
    assert found.accession == images[0].AccessionNumber
    assert (found.patient.identifier, found.patient.family_name) == (images[0].PatientID, "Test")
    again, _ = changes(archive.root_url, since)
    assert uid not in {ref.study_instance_uid for ref in again}


def announced(archive: Archive, uid: str, since: int) -> tuple[StudyRef, int]:
    """Poll the feed until it names the study, as a listener does."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        refs, since = changes(archive.root_url, since)
        for ref in refs:
            if ref.study_instance_uid == uid:
                return ref, since
        time.sleep(0.2)  # a feed has no event to wait for
    pytest.fail("the archive did not announce the study within a minute")


def test_a_feed_that_starts_again_is_read_from_its_beginning(archive: Archive) -> None:
    """An archive set up anew counts from one: a number beyond its feed hides no study."""
    uid = stored(archive, study())
    archive.announce(uid)
    announced(archive, uid, 0)
    refs, since = changes(archive.root_url, 10**9)
    assert uid in {ref.study_instance_uid for ref in refs}
    assert since < 10**9
