"""MLLP framing: messages out of a stream of bytes, within bounds."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.hl7.frames import Deframer, OverCap, framed

MESSAGES = st.lists(
    st.binary(max_size=40).filter(
        lambda data: b"\x0b" not in data and b"\x1c\r" not in data and data[-1:] != b"\x1c"
    ),
    max_size=6,
)


@given(MESSAGES, st.lists(st.integers(1, 9), min_size=1), st.sampled_from([b"", b"\r\n", b"\n"]))
def test_messages_survive_any_cutting_of_the_stream(
    messages: list[bytes], cuts: list[int], between: bytes
) -> None:
    """However the stream is cut, the same messages come out in order, line ends between them or not."""
    stream = between.join(framed(message) for message in messages)
    deframer, found, place = Deframer(), [], 0
    while place < len(stream):
        size = cuts[len(found) % len(cuts)]
        message = deframer.next(stream[place : place + size])
        place += size
        while message is not None:
            found.append(message)
            message = deframer.next()
    assert found == messages
    assert not deframer.inside


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_any_bytes_are_messages_or_malformed_and_never_pile_up(chunks: list[bytes]) -> None:
    """No bytes raise anything but Malformed, and no message is longer than the cap."""
    deframer = Deframer(20)
    try:
        for chunk in chunks:
            message = deframer.next(chunk)
            while message is not None:
                assert len(message) <= 20
                message = deframer.next()
    except Malformed:
        pass


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_message_of_exactly_the_cap_is_taken(cut: int) -> None:
    """A payload of the cap passes wherever the stream is cut, the end block included."""
    deframer, stream = Deframer(10), framed(b"x" * 10)
    found = [deframer.next(stream[:cut]), deframer.next(stream[cut:])]
    assert [message for message in found if message is not None] == [b"x" * 10]


@pytest.mark.parametrize("cut", range(1, 15))
def test_a_message_one_byte_over_the_cap_is_refused(cut: int) -> None:
    """A payload of the cap and one byte is refused wherever the stream is cut."""
    deframer, stream = Deframer(10), framed(b"x" * 11)
    pieces = iter([stream[:cut], stream[cut:]])
    with pytest.raises(OverCap, match="larger than 10 bytes") as caught:
        assert [deframer.next(piece) for piece in pieces] == "refused before this"
    assert caught.value.head.startswith(b"x" * 10)


def test_a_frame_without_end_is_refused_at_the_cap() -> None:
    """No end block is waited for beyond the cap and the end block itself."""
    deframer = Deframer(10)
    assert deframer.next(b"\x0b" + b"x" * 10 + b"\x1c") is None
    with pytest.raises(OverCap):
        deframer.next(b"x")


@pytest.mark.parametrize("junk", [b"x", b"\x1c\r", b" \x0b", b"\r\nGET / HTTP/1.1", b"\x16\x03\x01"])
def test_junk_before_the_start_block_is_refused(junk: bytes) -> None:
    """Only line ends may stand between frames."""
    with pytest.raises(Malformed, match="start block"):
        Deframer().next(junk)


@pytest.mark.parametrize("message", [b"a\x0bb", b"a\x1c\rb"])
def test_a_message_that_would_be_cut_is_not_framed(message: bytes) -> None:
    """A message may not hold the framing bytes."""
    with pytest.raises(ValueError, match="cut"):
        framed(message)


@pytest.mark.parametrize("piece_bytes", [64 * 1024, 256 * 1024])
def test_a_large_frame_is_held_hardly_more_than_once(piece_bytes: int) -> None:
    """A frame of 10 MiB that comes in pieces is never held twice on its way to a message."""
    size, piece = 10 * 1024 * 1024, b"x" * piece_bytes
    deframer = Deframer()
    tracemalloc.start()
    try:
        assert deframer.next(b"\x0b") is None
        for _ in range(size // piece_bytes):
            assert deframer.next(piece) is None
        message = deframer.next(b"\x1c\r")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message is not None
    assert len(message) == size
    assert peak < 1.5 * size


def test_what_is_held_of_a_frame_is_told() -> None:
    """Held bytes and the head are those of the frame that is under way, and nothing between frames."""
    deframer = Deframer()
    assert (deframer.held_bytes, deframer.head, deframer.inside) == (0, b"", False)
    assert deframer.next(b"\x0bMSH|") is None
    assert deframer.next(b"abc\x1c") is None
    assert (deframer.held_bytes, deframer.head, deframer.inside) == (8, b"MSH|abc\x1c", True)
    assert deframer.next(b"\r\x0bnext") == b"MSH|abc"
    assert deframer.inside
    assert deframer.next() is None
    assert (deframer.held_bytes, deframer.head) == (4, b"next")
