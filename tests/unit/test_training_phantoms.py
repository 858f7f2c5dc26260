"""A seed makes one chest: the same every time, with its findings where its record says."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.facts import CATALOGUE, HEADS, MEASURED, SIZED, ZONED
from training.dataset import Phantoms, lesion_maps, true_measures
from training.dicom import StudyLabels, derived_uid, dicom_files, write_dicom
from training.facts import LARGEST_MM, SMALLEST_MM, Fact, FactRecord, draw, draw_fact
from training.phantoms import SHAPE, SPACING_MM, Phantom, phantom
from training.plan import IMAGE

SEEDS = range(40)


@pytest.fixture(scope="module")
def chests() -> list[Phantom]:
    return [phantom(seed) for seed in SEEDS]


def _only(finding: str, side: str, seed: int = 5) -> Phantom:
    fact = draw_fact(np.random.default_rng(seed), finding, (side,) if side else ())
    return phantom(seed, FactRecord((fact,)))


def test_a_seed_gives_the_same_chest_every_time(chests: list[Phantom]) -> None:
    """Voxels, record and masks are equal when made again."""
    again = phantom(3)
    np.testing.assert_array_equal(again.volume.voxels, chests[3].volume.voxels)
    assert again.record == chests[3].record
    assert all((again.masks[head] == mask).all() for head, mask in chests[3].masks.items())


def test_different_seeds_give_different_chests(chests: list[Phantom]) -> None:
    """No two of forty have the same voxels."""
    assert len({hashlib.sha256(c.volume.voxels.tobytes()).digest() for c in chests}) == len(chests)


def test_voxels_are_whole_hounsfield_units_of_a_chest(chests: list[Phantom]) -> None:
    """Rounded, within what twelve bits hold, and large enough to be a chest."""
    for chest in chests:
        voxels = chest.volume.voxels
        assert voxels.shape == SHAPE
        assert voxels.dtype == np.float32
        assert chest.volume.spacing_mm == SPACING_MM
        assert (voxels == np.rint(voxels)).all()
        assert voxels.min() >= -1024
        assert voxels.max() <= 3071


def test_masks_are_those_of_the_record(chests: list[Phantom]) -> None:
    """A true head has a mask that can be seen, a false one none; boxes hold the masks."""
    for chest in chests:
        assert set(chest.masks) == chest.record.heads
        for head, mask in chest.masks.items():
            assert mask.any(), head
            z0, y0, x0, z1, y1, x1 = chest.boxes[head]
            assert mask[z0:z1, y0:y1, x0:x1].sum() == mask.sum()


@pytest.mark.parametrize("finding", [f.name for f in CATALOGUE if f.lateral])
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_finding_lies_on_its_side(finding: str, side: str) -> None:
    """Columns run from the patient's right to the left: the middle of the mask is in the right half."""
    mask = _only(finding, side).masks[f"{finding}, {side}"]
    middle = np.nonzero(mask)[2].mean()
    assert bool(middle < SHAPE[2] / 2) is (side == "right")


@pytest.mark.parametrize(
    ("finding", "side", "low", "high"),
    [
        ("pleural effusion", "left", -30, 50),
        ("pneumothorax", "right", -1024, -900),
        ("consolidation", "left", -200, 60),
        ("pulmonary nodule", "right", -600, 100),
        ("cardiomegaly", "", 0, 90),
        ("emphysema", "", -1024, -860),
    ],
)
def test_a_finding_has_the_density_of_its_kind(finding: str, side: str, low: float, high: float) -> None:
    """The median in the mask is that of water, air, airless or overinflated lung."""
    made = _only(finding, side)
    (mask,) = made.masks.values()
    assert low < np.median(made.volume.voxels[mask]) < high


def test_what_fluid_hides_is_not_in_the_record() -> None:
    """Behind a large effusion some chests lose a nodule, and then both its mask and its record."""
    lost = 0
    for seed in range(40):
        facts = (
            Fact("pleural effusion", ("left",), size="large"),
            Fact("pulmonary nodule", ("left",), zone="lower"),
        )
        made = phantom(seed, FactRecord(facts))
        assert ("pulmonary nodule, left" in made.record.heads) is ("pulmonary nodule, left" in made.masks)
        lost += "pulmonary nodule, left" not in made.masks
    assert 0 < lost < 40


@given(st.integers(0, 2**32))
def test_a_record_is_well_formed(seed: int) -> None:
    """No finding twice; a side where there is one to have; size and zone where they belong."""
    record = draw(np.random.default_rng(seed))
    assert len({fact.finding for fact in record.facts}) == len(record.facts) <= 3
    for fact in record.facts:
        assert bool(fact.sides) is next(f.lateral for f in CATALOGUE if f.name == fact.finding)
        assert bool(fact.size) is (fact.finding in SIZED)
        assert bool(fact.zone) is (fact.finding in ZONED)
        assert (fact.millimetres is not None) is (fact.finding in MEASURED)
        assert fact.millimetres is None or SMALLEST_MM <= fact.millimetres <= LARGEST_MM


def test_every_head_is_drawn() -> None:
    """Two hundred records hold every finding on every side, and normal chests."""
    records = [draw(np.random.default_rng(seed)) for seed in range(200)]
    assert {head for record in records for head in record.heads} == set(HEADS)
    assert any(not record.facts for record in records)


@pytest.mark.parametrize("side", ["right", "left"])
def test_lesion_maps_keep_side_and_plane(side: str) -> None:
    """A nodule marks places of its own planes, in its own half, and few of them."""
    made = _only("pulmonary nodule", side)
    head = f"pulmonary nodule, {side}"
    maps = lesion_maps(made.masks, IMAGE, HEADS)
    places = np.argwhere(maps[HEADS.index(head)])
    slices = np.nonzero(made.masks[head].any(axis=(1, 2)))[0]
    assert maps.sum() == len(places)
    assert 1 <= len(places) <= 18
    assert {int(plane) for plane, _, _ in places} <= {int(s) // 4 for s in slices}
    assert all(bool(column < 7) is (side == "right") for _, _, column in places)


@pytest.mark.parametrize("diameter", [SMALLEST_MM, 17, LARGEST_MM])
def test_a_nodule_is_as_large_as_its_record_says(diameter: int) -> None:
    """The volume of lung that it fills is that of a ball of this diameter, finer than the voxels are."""
    fact = Fact("pulmonary nodule", ("right",), zone="upper", millimetres=diameter)
    made, empty = phantom(11, FactRecord((fact,))), phantom(11, FactRecord())
    # Blur and noise keep the sum; each voxel adds by how much it is nodule and not lung.
    added = (made.volume.voxels - empty.volume.voxels).sum(dtype=np.float64)
    share = added / (60 - np.median(empty.volume.voxels[made.masks["pulmonary nodule, right"]]))
    filled = (6 * share * np.prod(SPACING_MM) / np.pi) ** (1 / 3)
    assert filled == pytest.approx(diameter, abs=1.5)
    assert made.millimetres == {"pulmonary nodule, right": diameter}


def test_measures_are_those_of_box_and_record() -> None:
    """In planes and pixels, as the heads learn them: a nodule's diameter, else the depth front to back."""
    made = _only("pleural effusion", "left")
    (head,) = made.masks
    measures = true_measures(made, IMAGE, HEADS)[HEADS.index(head)]
    z0, y0, x0, z1, y1, x1 = made.boxes[head]
    depth = made.masks[head].sum(axis=1).max()
    np.testing.assert_allclose(np.exp(measures), [(z1 - z0) / 4, y1 - y0, x1 - x0, depth], rtol=1e-5)


def test_a_step_sees_the_same_phantoms_however_they_are_made() -> None:
    """In another process, after a restart, and in this one: the step alone says which."""
    phantoms = Phantoms(500, 6, IMAGE, HEADS)
    here = list(phantoms.batches(2, 3, workers=0))
    there = list(phantoms.batches(2, 3, first=1, workers=1))
    assert [step for step, _ in there] == [1, 2]
    for (_, one), (_, other) in zip(here[1:], there, strict=True):
        assert (one.images == other.images).all()
        assert (one.maps == other.maps).all()
        assert (one.measures == other.measures).all()


def test_dicom_files_give_the_volume_again(tmp_path: Path) -> None:
    """Read by position along the patient's axis, the files hold the same Hounsfield units."""
    volume = phantom(1).volume
    paths = write_dicom(volume, tmp_path / "series", StudyLabels(accession="A1"))
    files = sorted((pydicom.dcmread(path) for path in paths), key=lambda f: float(f.ImagePositionPatient[2]))
    read = np.stack([f.pixel_array * float(f.RescaleSlope) + float(f.RescaleIntercept) for f in files])
    np.testing.assert_array_equal(read, volume.voxels)
    assert [int(f.InstanceNumber) for f in files] == list(range(1, SHAPE[0] + 1))
    assert files[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert {f.AccessionNumber for f in files} == {"A1"}


def test_dicom_bytes_are_the_same_every_time() -> None:
    """No clock, no random UID, no library version is in the files."""
    labels = StudyLabels(patient_name="A^B", study_instance_uid="2.25.7")
    first, second = (dicom_files(phantom(1).volume, labels) for _ in range(2))
    assert first == second
    assert b"PYDICOM" not in first["slice-001.dcm"]
    assert pydicom.dcmread(io.BytesIO(first["slice-001.dcm"])).StudyInstanceUID == "2.25.7"


@settings(max_examples=50)
@given(st.lists(st.text(max_size=20), max_size=4), st.lists(st.text(max_size=20), max_size=4))
def test_derived_uids_are_valid_and_told_apart(first: list[str], second: list[str]) -> None:
    """At most 64 characters of digits and dots (PS3.5 9.1); other parts give another UID."""
    assert pydicom.uid.UID(derived_uid(*first)).is_valid
    joined = ["\x1f".join(parts) for parts in (first, second)]
    assert (derived_uid(*first) == derived_uid(*second)) is (joined[0] == joined[1])
