"""A study is announced when it has stopped arriving, by a feed or by polling; and shown as pictures."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from connectors.dicomweb import notifications
from connectors.dicomweb.notifications import Sighting, changes, newest_change, settled
from connectors.dicomweb.pictures import CT_SOFT_TISSUE, default_window, evenly_spaced, render_png, slice_pngs
from connectors.errors import Malformed
from connectors.exchange import Patient, StudyRef
from connectors.sandbox.pacs import SandboxPacs
from tests.dicom import ct_series, encoded, phantom


def seen(count: int | None, uid: str = "1.2") -> StudyRef:
    """A study as a poll finds it."""
    return StudyRef(uid, Patient("P"), instance_count=count)


@pytest.mark.parametrize(("later", "ready"), [(29.9, False), (30.0, True)])
def test_a_study_is_ready_when_its_count_stayed_the_same_long_enough(later: float, ready: bool) -> None:
    """The two polls must be at least the quiet time apart."""
    found, sightings = settled([seen(3)], {}, now_seconds=0, quiet_seconds=30)
    assert found == ()
    found, _ = settled([seen(3)], sightings, now_seconds=later, quiet_seconds=30)
    assert (found == (seen(3),)) is ready


def test_a_growing_study_is_never_ready() -> None:
    """Each new instance starts the wait anew."""
    sightings: dict[str, Sighting] = {}
    for poll in range(10):
        found, sightings = settled([seen(poll + 1)], sightings, now_seconds=100.0 * poll, quiet_seconds=30)
        assert found == ()


@pytest.mark.parametrize("count", [0, None])
def test_an_empty_or_uncounted_study_is_never_ready(count: int | None) -> None:
    """Without instances there is nothing to read."""
    sightings: dict[str, Sighting] = {}
    for poll in range(3):
        found, sightings = settled([seen(count)], sightings, now_seconds=100.0 * poll, quiet_seconds=30)
        assert found == ()


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 40)), max_size=30))
def test_a_study_is_announced_once_for_each_count_it_settles_at(polls: list[tuple[int, float]]) -> None:
    """Whatever the counts and times: what is announced had settled, and was not announced since it did."""
    sightings: dict[str, Sighting] = {}
    now, history, announced_at = 0.0, [], None
    for count, wait in polls:
        now += wait
        history.append((count, now))
        found, sightings = settled([seen(count)], sightings, now_seconds=now, quiet_seconds=30)
        same = list(history)
        run = []
        while same and same[-1][0] == count:
            run.append(same.pop()[1])
        if found:
            assert count > 0
            assert now - run[-1] >= 30
            assert announced_at is None or announced_at < run[-1]
            announced_at = now
        elif count > 0 and now - run[-1] >= 30:
            assert announced_at is not None
            assert announced_at >= run[-1]


def test_a_study_missing_from_one_poll_keeps_its_place() -> None:
    """A page that was cut off does not start the wait anew."""
    _, sightings = settled([seen(3)], {}, now_seconds=0, quiet_seconds=30)
    _, sightings = settled([], sightings, now_seconds=20, quiet_seconds=30)
    found, _ = settled([seen(3)], sightings, now_seconds=30, quiet_seconds=30)
    assert found == (seen(3),)


def test_a_long_feed_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every study of the feed is named once, in order, over pages and over calls."""
    monkeypatch.setattr(notifications, "PAGE", 2)
    monkeypatch.setattr(notifications, "PAGES_AT_MOST", 2)
    with SandboxPacs() as pacs:
        uids = [pacs.hold_files([encoded(ct_series(phantom((1, 2, 2)))[0])])[0] for _ in range(5)]
        for uid in uids:
            pacs.announce(uid)
        since, found = 0, []
        while since < newest_change(pacs.root_url):
            refs, since = changes(pacs.root_url, since)
            found += [ref.study_instance_uid for ref in refs]
        assert found == uids
        assert changes(pacs.root_url, since) == ((), since)


def test_a_study_announced_twice_in_one_reading_is_named_once() -> None:
    """More images make a study stable again; one look at it is enough."""
    with SandboxPacs() as pacs:
        (uid,) = pacs.hold_files([encoded(ct_series(phantom())[0])])
        pacs.announce(uid)
        pacs.announce(uid)
        assert len(changes(pacs.root_url, 0)[0]) == 1


def test_a_server_that_is_no_orthanc_is_named_as_such() -> None:
    """A wrong root URL is told from an empty feed."""
    with SandboxPacs() as pacs, pytest.raises(Malformed, match="root of an Orthanc"):
        changes(f"{pacs.dicomweb_url}/studies?x=", 0)


def picture(png: bytes) -> np.ndarray:
    """The grey values of a PNG."""
    return np.asarray(Image.open(BytesIO(png)))


def test_a_window_maps_its_ends_to_black_and_white() -> None:
    """PS3.3 C.11.2.1.2.1: at and below centre - width/2 black, above centre + width/2 - 1 white."""
    center, width = CT_SOFT_TISSUE
    row = np.array(
        [[-3000, center - width / 2, center - 0.5, center + width / 2 - 1, 3000]], dtype=np.float32
    )
    assert picture(render_png(row, center, width)).tolist() == [[0, 0, 128, 255, 255]]


def test_a_picture_keeps_the_size_and_sides_of_its_slice() -> None:
    """A bright first column, the patient's right, stays the first column."""
    plane = np.zeros((3, 5), dtype=np.float32)
    plane[:, 0] = 1000
    shown = picture(render_png(plane, 40, 400))
    assert shown.shape == (3, 5)
    assert (shown[:, 0] == 255).all()
    assert (shown[:, 1:] < 255).all()


@pytest.mark.parametrize(("width", "fits"), [(1, True), (0.99, False), (float("nan"), False)])
def test_a_window_is_at_least_one_wide(width: float, fits: bool) -> None:
    """Narrower windows are not defined (PS3.3 C.11.2.1.2)."""
    plane = np.zeros((2, 2), dtype=np.float32)
    if fits:
        render_png(plane, 0, width)
    else:
        with pytest.raises(ValueError, match="wide"):
            render_png(plane, 0, width)


def test_only_a_slice_becomes_a_picture() -> None:
    """A volume or an empty array is refused."""
    for shape in ((2, 2, 2), (0, 3), (4,)):
        with pytest.raises(ValueError, match="one slice"):
            render_png(np.zeros(shape, dtype=np.float32), 0, 1)


@given(st.integers(1, 500), st.integers(1, 40))
def test_pictures_are_spread_evenly_over_different_slices(slices: int, pictures: int) -> None:
    """As many as asked for or as there are, ascending, inside, and no two gaps far apart."""
    chosen = evenly_spaced(slices, pictures)
    assert len(chosen) == min(slices, pictures)
    assert list(chosen) == sorted(set(chosen))
    assert chosen[0] >= 0
    assert chosen[-1] < slices
    gaps = np.diff(chosen)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_each_picture_says_which_slice_it_is() -> None:
    """The case page links a picture to the slice that a sentence names."""
    volume = phantom((4, 2, 2))
    pngs = slice_pngs(volume, 2, -1000, 40)
    assert [index for index, _ in pngs] == [1, 3]
    assert np.array_equal(picture(pngs[1][1]), picture(render_png(volume[3], -1000, 40)))


def test_ct_has_a_default_window_and_others_take_theirs_from_the_values() -> None:
    """Hounsfield units are absolute; MR values are not."""
    volume = np.linspace(0, 1000, 1000, dtype=np.float32).reshape(10, 10, 10)
    assert default_window(volume, "CT") == CT_SOFT_TISSUE
    center, width = default_window(volume, "MR")
    assert (center, width) == pytest.approx((500, 980), abs=2)
    assert default_window(np.zeros((1, 1, 1), dtype=np.float32), "MR") == (0, 1)
