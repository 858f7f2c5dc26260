"""The DICOMweb client against peers that are slow, broken, hostile or elsewhere."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dicomweb import multipart
from connectors.dicomweb.client import LONGEST_ACCESSION, DicomwebClient
from connectors.dicomweb.multipart import HEADER_CAP_BYTES, Parts, boundary_of
from connectors.dicomweb.patients import date_of, names_of
from connectors.dicomweb.uids import LONGEST_UID, checked_uid, is_uid, new_uid
from connectors.errors import ExchangeError, Malformed, Rejected, Unreachable
from connectors.sandbox.pacs import SandboxPacs
from tests.dicom import ct_series, encoded, phantom

STUDY = "1.2.3"


def answer(
    body: bytes, *, status: str = "200 OK", kind: str = "application/dicom+json", more: str = ""
) -> bytes:
    """An HTTP answer as bytes."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}"
    return f"{head}Connection: close\r\n\r\n".encode() + body


@contextmanager
def peer(*answers: bytes | Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A peer on loopback that gives its answers one a connection; yields its URL and the requests it saw."""
    seen: list[bytes] = []
    waiting = list(answers)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = b""
            while b"\r\n\r\n" not in request:
                request += self.request.recv(65536) or b"\r\n\r\n"
            seen.append(request)
            reply = waiting.pop(0)
            if callable(reply):
                reply(self.request)
            else:
                self.request.sendall(reply)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web", seen
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def releasing(event: threading.Event) -> Iterator[None]:
    """Set the event in the end, so that a handler that waits for it goes home."""
    try:
        yield
    finally:
        event.set()


def series_list(count: int | None = None, uid: str = "1.2.3.4", modality: str = "CT") -> bytes:
    """An answer that lists one series."""
    entry: dict[str, Any] = {"0020000E": {"vr": "UI", "Value": [uid]}, "00080060": {"Value": [modality]}}
    if count is not None:
        entry["00201209"] = {"vr": "IS", "Value": [count]}
    return answer(json.dumps([entry]).encode())


def parts(*bodies: bytes, end: bytes = b"\r\n--b--\r\n") -> bytes:
    """A multipart answer."""
    body = b"".join(b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + part for part in bodies) + end
    return answer(body, kind='multipart/related; type="application/dicom"; boundary=b')


STATUSES: list[tuple[str, type[ExchangeError]]] = [
    ("500 Internal Server Error", Unreachable),
    ("503 Service Unavailable", Unreachable),
    ("429 Too Many Requests", Unreachable),
    ("408 Request Timeout", Unreachable),
    ("400 Bad Request", Rejected),
    ("401 Unauthorized", Rejected),
    ("404 Not Found", Rejected),
    ("206 Partial Content", Unreachable),
]


@pytest.mark.parametrize(("status", "error"), STATUSES)
def test_each_status_is_mapped_to_what_to_do_next(status: str, error: type[ExchangeError]) -> None:
    """What may pass later is Unreachable, what stays refused is Rejected."""
    with peer(answer(b"", status=status)) as (url, _), DicomwebClient(url) as client, pytest.raises(error):
        client.find_studies(study_instance_uid=STUDY)


def test_nobody_listening_is_unreachable() -> None:
    """A refused connection says nothing about what we sent."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with DicomwebClient(url) as client, pytest.raises(Unreachable, match="no connection"):
            client.find_studies(study_instance_uid=STUDY)


def test_a_silent_peer_is_unreachable_after_the_timeout() -> None:
    """No answer in time is tried again later."""
    done = threading.Event()
    with peer(lambda _: done.wait(20) and None) as (url, _), releasing(done):
        client = DicomwebClient(url, timeout_seconds=0.2)
        with client, pytest.raises(Unreachable, match="no answer in time"):
            client.find_studies(study_instance_uid=STUDY)


def test_a_trickle_ends_at_the_deadline() -> None:
    """A peer that always sends a little never trips the timeout: the deadline of the exchange does."""
    done = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not done.wait(0.02):
            try:
                connection.sendall(b" ")
            except OSError:
                return

    with peer(trickle) as (url, _), releasing(done):
        client = DicomwebClient(url, timeout_seconds=10, deadline_seconds=0.3)
        with client, pytest.raises(Unreachable, match=r"longer than 0\.3 seconds"):
            client.find_studies(study_instance_uid=STUDY)


def test_a_redirect_is_not_followed() -> None:
    """An archive cannot send us to another host, nor to another address of its own."""
    with peer(answer(b"")) as (elsewhere, visited):
        moved = answer(b"", status="302 Found", more=f"Location: {elsewhere}\r\n")
        with (
            peer(moved) as (url, _),
            DicomwebClient(url) as client,
            pytest.raises(Rejected, match="redirect"),
        ):
            client.find_studies(study_instance_uid=STUDY)
        assert visited == []


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only configured peers are talked to."""
    with peer(answer(b"[]")) as (proxy, visited), peer(answer(b"[]")) as (url, _):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        with DicomwebClient(url) as client:
            assert client.find_studies(study_instance_uid=STUDY) == ()
        assert visited == []


@pytest.mark.parametrize("url", ["ftp://archive/", "archive/dicom-web", "", "http://", "file:///etc/passwd"])
def test_only_http_addresses_are_peers(url: str) -> None:
    """The configured address must be http or https and name a host."""
    with pytest.raises(ValueError, match="must be http"):
        DicomwebClient(url)


@pytest.mark.parametrize("body", [b"{", b"<html>", b'{"a": 1}', b"[1]", b"[" * 100_000, b'"' + b"x" * 50])
def test_what_is_no_list_of_datasets_is_malformed(body: bytes) -> None:
    """An unreadable answer is no empty answer, and is not quoted."""
    with peer(answer(body)) as (url, _), DicomwebClient(url) as client, pytest.raises(Malformed) as caught:
        client.find_studies(study_instance_uid=STUDY)
    assert "html" not in str(caught.value)


def test_a_compressed_answer_is_refused() -> None:
    """Nothing is inflated that was not asked for: a few bytes could become gigabytes."""
    with (
        peer(answer(b"\x1f\x8b", more="Content-Encoding: gzip\r\n")) as (url, _),
        DicomwebClient(url) as client,
        pytest.raises(Malformed, match="compressed"),
    ):
        client.find_studies(study_instance_uid=STUDY)


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_json_is_read_up_to_its_cap(monkeypatch: pytest.MonkeyPatch, spare: int, fits: bool) -> None:
    """An answer of exactly the cap is read, one of a byte more is refused."""
    body = b"[" + b" " * 100 + b"]"
    monkeypatch.setattr("connectors.dicomweb.peer.JSON_CAP_BYTES", len(body) + spare)
    with peer(answer(body)) as (url, _), DicomwebClient(url) as client:
        if fits:
            assert client.find_studies(study_instance_uid=STUDY) == ()
        else:
            with pytest.raises(Malformed, match="more than"):
                client.find_studies(study_instance_uid=STUDY)


def test_a_study_uid_of_the_archive_is_checked_too() -> None:
    """What an archive sends as a UID is no path until it is one."""
    entry = [{"0020000D": {"vr": "UI", "Value": ["../../etc"]}}]
    with (
        peer(answer(json.dumps(entry).encode())) as (url, _),
        DicomwebClient(url) as client,
        pytest.raises(Malformed, match="unique identifier"),
    ):
        client.find_studies(accession="A1")


def test_fewer_instances_than_counted_are_fetched_again(tmp_path: Path) -> None:
    """A series that is still arriving must not be read as whole; what came is removed."""
    with peer(series_list(3), parts(b"a", b"b")) as (url, _):
        client = DicomwebClient(url)
        with client, pytest.raises(Unreachable, match="counts 3 instances in series 1 but sent 2"):
            client.fetch_study(STUDY, tmp_path, byte_cap=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [b"", b"\r\n--", b"\r\n--b"])
def test_a_body_cut_short_leaves_nothing(tmp_path: Path, end: bytes) -> None:
    """Without the closing boundary the last part may be half a file: nothing of it is kept."""
    with peer(series_list(), parts(b"abc", end=end)) as (url, _):
        client = DicomwebClient(url)
        with client, pytest.raises(Unreachable, match="closing boundary"):
            client.fetch_study(STUDY, tmp_path, byte_cap=100)
    assert list(tmp_path.iterdir()) == []


def test_a_whole_series_is_asked_for_in_one_request(tmp_path: Path) -> None:
    """One query and one retrieval a series, not one request an instance (PS3.18 section 10.4)."""
    with peer(series_list(3), parts(b"a", b"b", b"c")) as (url, seen), DicomwebClient(url) as client:
        assert client.fetch_study(STUDY, tmp_path, byte_cap=3) == 3
    assert [request.split()[1] for request in seen] == [
        b"/dicom-web/studies/1.2.3/series?includefield=00201209",
        b"/dicom-web/studies/1.2.3/series/1.2.3.4",
    ]
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"a", b"b", b"c"]


def test_a_byte_over_the_cap_is_refused(tmp_path: Path) -> None:
    """Three bytes into a cap of two: refused while they stream, and nothing is kept."""
    with peer(series_list(3), parts(b"a", b"b", b"c")) as (url, _):
        client = DicomwebClient(url)
        with client, pytest.raises(Malformed, match="byte cap"):
            client.fetch_study(STUDY, tmp_path, byte_cap=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("accession", ["*", "A?", "A\\B", "", " ", "A\nB", "A" * (LONGEST_ACCESSION + 1)])
def test_an_accession_that_could_match_others_is_not_sent(accession: str) -> None:
    """Wildcards (PS3.4 section C.2.2.2) would bring another patient's study."""
    with DicomwebClient("http://127.0.0.1:9") as client, pytest.raises(Malformed) as caught:
        client.find_studies(accession=accession)
    assert "A\\B" not in str(caught.value)


def test_an_accession_of_the_longest_length_is_sent() -> None:
    """The limit itself is allowed, and special characters are escaped."""
    accession = "A&b=c#/" + "9" * (LONGEST_ACCESSION - 7)
    with SandboxPacs() as pacs, DicomwebClient(pacs.dicomweb_url) as client:
        pacs.hold_files(encoded(image) for image in ct_series(phantom(), AccessionNumber=accession))
        assert client.find_studies(accession=accession)[0].accession == accession


def test_find_studies_needs_a_key() -> None:
    """Without a key the whole archive would match."""
    with DicomwebClient("http://127.0.0.1:9") as client, pytest.raises(ValueError, match="needs"):
        client.find_studies()


def test_part_of_a_store_refused_is_rejected() -> None:
    """An archive that takes some instances and refuses others has not taken the study (PS3.18 10.5)."""
    good = encoded(ct_series(phantom())[0])
    with SandboxPacs() as pacs, DicomwebClient(pacs.dicomweb_url) as client:
        assert client.store([good]) == 1
        with pytest.raises(Rejected, match="refused 1 of 2"):
            client.store([good, b"no DICOM"])


def test_no_log_line_and_no_message_names_a_study(caplog: pytest.LogCaptureFixture) -> None:
    """URLs carry accession numbers and UIDs: neither httpx nor we write them down."""
    caplog.set_level(logging.INFO)
    with peer(answer(b"", status="500 No")) as (url, _):
        client = DicomwebClient(url)
        with client, pytest.raises(Unreachable) as caught:
            client.find_studies(accession="SECRET-77")
    for text in (caplog.text, str(caught.value)):
        assert "SECRET" not in text


@pytest.mark.parametrize(
    ("uid", "valid"),
    [
        ("1.2", True),
        ("1.0.3", True),
        ("1." + "9" * (LONGEST_UID - 2), True),
        ("1." + "9" * (LONGEST_UID - 1), False),
        ("1.02", False),
        ("1", False),
        ("1.", False),
        (".1", False),
        ("1..2", False),
        ("1.2/../3", False),
        ("1.2\n", False),
        ("1.²", False),
        ("", False),
        ("1.2?x=1", False),
    ],
)
def test_a_uid_is_what_the_standard_says(uid: str, valid: bool) -> None:
    """PS3.5 section 9.1, to the character."""
    assert is_uid(uid) is valid
    if not valid:
        with pytest.raises(Malformed):
            checked_uid(uid, "study instance UID")


def test_new_uids_are_valid() -> None:
    """A UID of our own making passes our own check."""
    assert is_uid(new_uid())


@given(
    st.lists(st.binary(max_size=60).filter(lambda body: b"\r\n--bnd" not in b"\r\n" + body)),
    st.integers(1, 20),
    st.binary(max_size=10).filter(lambda preamble: b"--bnd" not in preamble),
)
def test_parts_are_split_alike_however_the_bytes_arrive(
    bodies: list[bytes], size: int, preamble: bytes
) -> None:
    """Splitting does not depend on where one chunk ends and the next begins."""
    whole = preamble
    for body in bodies:
        whole += b"\r\n--bnd\r\nContent-Type: application/dicom\r\n\r\n" + body
    whole += b"\r\n--bnd--\r\nepilogue"
    chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
    if not bodies:  # a multipart body has at least one part; only the closing boundary follows
        assert list(Parts(chunks, b"bnd")) == []
    else:
        assert [b"".join(part) for part in Parts(chunks, b"bnd")] == bodies


@given(st.binary(max_size=200))
def test_any_bytes_are_parts_or_an_error_of_ours(data: bytes) -> None:
    """No input raises anything but what the contract names."""
    try:
        for part in Parts([data], b"b"):
            for _ in part:
                pass
    except (Malformed, Unreachable):
        pass


def test_a_part_without_headers_and_a_body_without_leading_break_are_read() -> None:
    """RFC 2046 allows both."""
    assert [b"".join(p) for p in Parts([b"--b\r\n\r\nx\r\n--b--"], b"b")] == [b"x"]


def test_a_part_left_unread_is_skipped() -> None:
    """The next part begins where the unread one ends."""
    taken = [next(part) for part in Parts([b"--b\r\n\r\n", b"one", b"more\r\n--b\r\n\r\ntwo\r\n--b--"], b"b")]
    assert taken[1] == b"two"


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (1, False)])
def test_the_headers_of_a_part_are_read_up_to_their_cap(spare: int, fits: bool) -> None:
    """Headers of exactly the cap pass; one byte more is refused without keeping them."""
    line = b"\r\nX: ".ljust(HEADER_CAP_BYTES + spare, b"x")
    body = Parts([b"--b" + line + b"\r\n\r\nx\r\n--b--"], b"b")
    if fits:
        assert [b"".join(part) for part in body] == [b"x"]
    else:
        with pytest.raises(Malformed, match="headers"):
            list(body)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "multipart/related",
        'multipart/related; boundary=""',
        "",
        "multipart/mixed; boundary=b",
    ],
)
def test_only_multipart_related_with_a_boundary_is_split(kind: str) -> None:
    """PS3.18 section 8.7.1: parts come as multipart/related."""
    with pytest.raises(Malformed):
        boundary_of(kind)


def test_a_boundary_may_be_quoted() -> None:
    """RFC 2045 section 5.1: quotes are no part of the value."""
    assert boundary_of('multipart/related; type="application/dicom"; boundary="a b"') == b"a b"
    assert multipart.boundary_of("Multipart/Related; BOUNDARY=x") == b"x"


def test_names_and_dates_are_read_leniently() -> None:
    """PN groups and components, DA in both its forms; nonsense is nothing, not an error."""
    assert names_of("Yamada^Tarou=山田^太郎=やまだ^たろう") == ("Yamada", "Tarou")
    assert names_of("=山田^太郎") == ("山田", "太郎")
    assert names_of("^Only") == ("", "Only")
    assert names_of("") == ("", "")
    assert str(date_of("19991231")) == str(date_of("1999.12.31")) == "1999-12-31"
    assert date_of("19991331") is date_of("1999") is date_of("") is None
