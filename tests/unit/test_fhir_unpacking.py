"""Answers packed with gzip: unpacked whole, capped while they are unpacked, and refused in another coding."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import unicodedata
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import ExchangeError, Malformed, Unreachable
from connectors.fhir.answers import Unreadable
from connectors.fhir.attachment import clean
from connectors.fhir.client import FhirClient
from connectors.fhir.retrying import ONE_ATTEMPT
from connectors.fhir.unpacking import Body

PATIENT = b'{"resourceType": "Patient", "id": "1"}'


class Pieces(httpx.SyncByteStream):
    """A body that comes in pieces of one size; told is how many were asked for."""

    def __init__(self, body: bytes, size: int = 7) -> None:
        self.body, self.size, self.told = body, size, 0

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self.body), self.size):
            self.told += 1
            yield self.body[start : start + self.size]


def body(coding: str, pieces: list[bytes], limit_bytes: int = 1000) -> bytes:
    """What a Body makes of these."""
    made = Body(coding, limit_bytes=limit_bytes, action="read")
    for piece in pieces:
        made.add(piece)
    return made.whole()


def client(stream: httpx.SyncByteStream, coding: str, status: int = 200, cap: int = 2**20) -> FhirClient:
    """A client whose server answers every request so."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"Content-Encoding": coding}, stream=stream)

    transport = httpx.MockTransport(answer)
    return FhirClient("https://fhir.test/r4", transport=transport, max_body_bytes=cap, patience=ONE_ATTEMPT)


@given(content=st.binary(max_size=2000), size=st.integers(1, 300))
def test_packed_body_is_read_whatever_its_pieces(content: bytes, size: int) -> None:
    """Where the pieces end does not matter."""
    packed = gzip.compress(content, mtime=0)
    pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
    assert body("gzip", pieces, 3000) == content
    assert body("", [content], 3000) == content


@given(cut=st.integers(1, len(gzip.compress(PATIENT, mtime=0)) - 1), size=st.integers(1, 60))
def test_packed_body_that_is_cut_off_is_unreadable(cut: int, size: int) -> None:
    """A part of a document never passes for the whole, not even without its checksum alone."""
    packed = gzip.compress(PATIENT, mtime=0)[:cut]
    with pytest.raises(Unreadable):
        body("gzip", [packed[start : start + size] for start in range(0, cut, size)])


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_under_the_name_of_gzip_are_read_or_refused(content: bytes) -> None:
    """Nothing but our own errors comes of what a peer sends."""
    try:
        body("gzip", [content])
    except ExchangeError:
        return


def test_wrong_checksum_is_unreadable() -> None:
    """What does not fit its checksum was changed on the way (RFC 1952 2.3.1)."""
    packed = bytearray(gzip.compress(PATIENT, mtime=0))
    packed[-6] ^= 1
    with pytest.raises(Unreadable):
        body("gzip", [bytes(packed)])


def test_second_document_after_the_first_is_unreadable() -> None:
    """One answer is one document: what follows it is not passed over in silence."""
    packed = gzip.compress(PATIENT, mtime=0)
    for pieces in ([packed + packed], [packed, packed], [packed, b"x"]):
        with pytest.raises(Unreadable):
            body("gzip", pieces)


@pytest.mark.parametrize("name", ["gzip", "GZIP", " x-gzip "])
def test_every_name_of_gzip_is_known(name: str) -> None:
    """Names of codings are compared without case, and x-gzip is gzip (RFC 9110 8.4.1)."""
    assert body(name, [gzip.compress(PATIENT)]) == PATIENT


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "compress", "gzip, gzip", "gzip, br", "none"])
def test_other_codings_are_refused_unopened(coding: str) -> None:
    """What was not asked for is not opened: not one piece is read, and no coding within a coding."""
    stream = Pieces(gzip.compress(PATIENT))
    with pytest.raises(Malformed):
        client(stream, coding).read("Patient/1")
    assert stream.told == 0


def test_packed_answer_at_the_cap_is_read_and_one_byte_more_is_not() -> None:
    """The cap counts what was unpacked, to the byte."""
    padded = PATIENT + b" " * 5000
    assert client(Pieces(gzip.compress(padded)), "gzip", cap=len(padded)).read("Patient/1")["id"] == "1"
    with pytest.raises(Malformed):
        client(Pieces(gzip.compress(padded)), "gzip", cap=len(padded) - 1).read("Patient/1")


def test_packing_that_makes_larger_is_capped_as_well() -> None:
    """Bytes that unpack to nothing count too."""
    empty = b"\x00\x00\x00\xff\xff"
    packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    assert body("gzip", []) == b""
    with pytest.raises(Malformed):
        body("gzip", [packed, *[empty] * 199], 1000)
    with pytest.raises(Unreadable):
        body("gzip", [packed, *[empty] * 198], 1000)


def test_bomb_is_not_unpacked_beyond_the_cap() -> None:
    """A small answer that unpacks to a thousand times its size is left at the cap, in memory too."""
    bomb = gzip.compress(bytes(64 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            body("gzip", [bomb], 2**20)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 6 * 2**20


def test_write_whose_packed_answer_was_cut_off_is_in_doubt() -> None:
    """It may have been carried out: nobody may take it for refused."""
    packed = gzip.compress(PATIENT)[:-4]
    with pytest.raises(Unreachable):
        client(Pieces(packed), "gzip", status=201).create({"resourceType": "Patient"})
    with pytest.raises(Unreadable):
        client(Pieces(packed), "gzip").read("Patient/1")


def test_error_in_gzip_is_told_as_any_other() -> None:
    """The status and the coded issues of a packed refusal are read."""
    outcome = b'{"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "required"}]}'
    with pytest.raises(ExchangeError, match=r"came 422 \(required"):
        client(Pieces(gzip.compress(outcome)), "gzip", status=422).create({"resourceType": "Patient"})


def test_what_fhir_cannot_hold_is_taken_out_of_text() -> None:
    """Of all characters only controls, surrogates and the two that are none go; tab and line feed stay."""
    gone = {chr(n) for n in range(sys.maxunicode + 1) if not clean(chr(n))}
    unfit = {chr(n) for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)) in {"Cc", "Cs"}}
    assert gone == (unfit | {"\ufffe", "\uffff"}) - {"\t", "\n", "\r"}
    assert clean("a\r\nb\rc") == "a\nb\nc"
