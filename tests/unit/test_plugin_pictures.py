"""The slices that the case page shows."""

from __future__ import annotations

import numpy as np
import pytest

from connectors.dicomweb.pixels import Series
from model.study import Draft, Evidence, Sentence
from model.readings import SEEN
from plugin.pictures import EVENLY_SPREAD, EVIDENCE_AT_MOST, pictures
from tests.case_samples import ADA, CARD


def a_series(slices: int, modality: str = "CT") -> Series:
    voxels = np.random.default_rng(7).normal(0, 300, (slices, 8, 8)).astype(np.float32)
    return Series(voxels, (1.0, 1.0, 1.0), modality, "1.2", "1.3", ADA, "ACC1", None, "Chest")


def pointing(*indices: int | None) -> Draft:
    evidence = tuple(Evidence("image", "pleural effusion", "left", 0.9, index) for index in indices)
    return Draft((Sentence("Findings", "Effusion.", evidence),), CARD)


def test_evidence_comes_first_in_both_windows() -> None:
    """A slice that the draft points at is named by finding and side, in soft tissue and lung windows."""
    shown = pictures(a_series(32), pointing(4))
    assert [picture.caption for picture in shown[:2]] == [
        "Pleural effusion, left: slice 5 of 32, soft tissue window",
        "Pleural effusion, left: slice 5 of 32, lung window",
    ]
    assert shown[0].png != shown[1].png
    assert len(shown) == 2 + EVENLY_SPREAD
    assert all(picture.png.startswith(b"\x89PNG") for picture in shown)


@pytest.mark.parametrize(
    ("pointed", "shown"), [(EVIDENCE_AT_MOST, EVIDENCE_AT_MOST), (EVIDENCE_AT_MOST + 1, EVIDENCE_AT_MOST)]
)
def test_evidence_has_a_bound(pointed: int, shown: int) -> None:
    """At most EVIDENCE_AT_MOST slices of evidence, however many the draft points at."""
    found = pictures(a_series(32, "MR"), pointing(*range(pointed)))
    assert len([picture for picture in found if picture.caption.startswith("Pleural")]) == shown


@pytest.mark.parametrize(("index", "shown"), [(-1, 0), (0, 1), (31, 1), (32, 0), (None, 0)])
def test_a_slice_that_is_not_there_is_not_shown(index: int | None, shown: int) -> None:
    """An index outside of the volume is left out, not taken from its end."""
    found = pictures(a_series(32, "MR"), pointing(index))
    assert len(found) == shown + EVENLY_SPREAD


def test_a_slice_is_shown_once_under_its_first_finding() -> None:
    """Two pieces of evidence on one slice are one picture."""
    assert len(pictures(a_series(32, "MR"), pointing(3, 3))) == 1 + EVENLY_SPREAD


@pytest.mark.parametrize(
    ("slices", "shown"), [(1, 1), (EVENLY_SPREAD, EVENLY_SPREAD), (EVENLY_SPREAD + 1, EVENLY_SPREAD)]
)
def test_a_small_study_is_shown_whole(slices: int, shown: int) -> None:
    """As many spread slices as there are, at most EVENLY_SPREAD, from feet to head."""
    captions = [picture.caption for picture in pictures(a_series(slices), pointing())]
    assert len(captions) == len(set(captions)) == shown
    assert captions == sorted(captions, key=lambda caption: int(caption.split()[1]))


def test_no_caption_names_the_patient() -> None:
    """Captions speak of slices and findings only."""
    told = " ".join(picture.caption for picture in pictures(a_series(8), pointing(1)))
    assert not [word for word in ("PAT-1", "Ada", "Example", "ACC1") if word in told]


@pytest.mark.parametrize(("probability", "shown"), [(SEEN, 1), (SEEN - 0.01, 0), (None, 0)])
def test_a_finding_that_was_not_seen_is_not_pointed_at(probability: float | None, shown: int) -> None:
    """A sentence that denies a finding has evidence too, but no slice shows what is not there."""
    evidence = (Evidence("image", "pneumothorax", "left", probability, 3),)
    draft = Draft((Sentence("Findings", "No pneumothorax.", evidence),), CARD)
    assert len(pictures(a_series(32, "MR"), draft)) == shown + EVENLY_SPREAD
