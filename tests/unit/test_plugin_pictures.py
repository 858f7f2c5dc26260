"""The slices that the case page shows."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from connectors.dicomweb.pixels import Series
from model.readings import SEEN
from model.study import Draft, Evidence, Sentence
from plugin.pictures import EVENLY_SPREAD, EVIDENCE_AT_MOST, FRAME, pictures
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


def boxed(*found: tuple[str, int, tuple[int, int, int, int, int, int] | None]) -> Draft:
    evidence = tuple(Evidence("image", name, "left", 0.9, index, box) for name, index, box in found)
    return Draft((Sentence("Findings", "Effusion.", evidence),), CARD)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def test_the_box_of_a_finding_is_drawn_around_what_it_holds() -> None:
    """A line of one colour just outside of the box; all else is as it was."""
    series = a_series(4, "MR")
    bare, framed = (
        pixels(pictures(series, boxed(("pneumothorax", 1, box)))[0].png) for box in (None, (1, 3, 2, 2, 5, 6))
    )
    line = np.zeros((8, 8), bool)
    line[2:6, 1:7] = True
    line[3:5, 2:6] = False
    assert (framed[line] == FRAME).all()
    assert (framed[~line] == bare[~line]).all()


@pytest.mark.parametrize(
    ("box", "drawn"),
    [
        ((2, 3, 2, 3, 5, 6), False),
        ((0, 3, 2, 1, 5, 6), False),
        ((0, 3, 2, 2, 5, 6), True),
        ((1, 3, 3, 2, 3, 3), False),
        ((1, 8, 2, 2, 9, 6), False),
        ((1, 7, 7, 2, 8, 8), True),
        ((1, -5, -5, 2, 99, 99), True),
    ],
)
def test_a_box_that_holds_nothing_of_the_slice_is_not_drawn(
    box: tuple[int, int, int, int, int, int], drawn: bool
) -> None:
    """A box of other slices, without extent or outside of the picture leaves the slice as it is."""
    series = a_series(4, "MR")
    plain = pictures(series, boxed(("pneumothorax", 1, None)))[0].png
    assert (pictures(series, boxed(("pneumothorax", 1, box)))[0].png != plain) is drawn


def test_two_findings_on_one_slice_are_two_pictures() -> None:
    """Each picture has the box of one finding, and says whose."""
    found = boxed(("pneumothorax", 1, (1, 0, 0, 2, 2, 2)), ("atelectasis", 1, (1, 4, 4, 2, 6, 6)))
    shown = pictures(a_series(4, "MR"), found)
    assert [one.finding for one in shown[:3]] == ["pneumothorax, left", "atelectasis, left", ""]
    assert shown[0].png != shown[1].png


@pytest.mark.parametrize(("edge", "wide"), [(299, 1), (301, 2), (512, 3)])
def test_the_line_is_seen_on_a_picture_of_any_size(edge: int, wide: int) -> None:
    """Its width grows with the picture."""
    voxels = np.zeros((1, edge, edge), np.float32)
    series = Series(voxels, (1.0, 1.0, 1.0), "MR", "1.2", "1.3", ADA, "ACC1", None, "Chest")
    png = pictures(series, boxed(("pneumothorax", 0, (0, 100, 100, 1, 200, 200))))[0].png
    assert (pixels(png)[:150, 150] == FRAME).all(axis=1).sum() == wide
