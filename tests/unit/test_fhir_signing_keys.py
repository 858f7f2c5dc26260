"""Which key signs, what is published of them, and how a folder of keys changes under a running service."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import KeySet, import_key

from connectors.fhir.signing_keys import KeyFileError, KeyFolder
from tests.certificates import Authority
from tests.key_files import p384, rsa_key, write_key

PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


@pytest.mark.parametrize(("kind", "algorithm"), [("ec", "ES384"), ("rsa", "RS384")])
def test_a_key_signs_with_its_algorithm(tmp_path: Path, kind: str, algorithm: str) -> None:
    """P-384 with ES384, RSA with RS384; header with kid and typ; the published half verifies."""
    write_key(tmp_path / "a.pem", p384() if kind == "ec" else rsa_key())
    folder = KeyFolder(tmp_path)
    text = folder.signing().signed({"sub": "prelim"})
    read = jwt.decode(text, KeySet.import_key_set(folder.published()), algorithms=[algorithm])
    assert read.header == {"typ": "JWT", "alg": algorithm, "kid": folder.signing().kid}
    assert read.claims == {"sub": "prelim"}


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_nothing_private_is_published(tmp_path: Path, kind: str) -> None:
    """Only the members of a public key, and what it is for; kid is the RFC 7638 thumbprint."""
    write_key(tmp_path / "a.pem", p384() if kind == "ec" else rsa_key())
    (key,) = KeyFolder(tmp_path).published()["keys"]
    assert not PRIVATE_MEMBERS & set(key)
    assert set(key) == {"use", "alg", "kid", "kty"} | ({"crv", "x", "y"} if kind == "ec" else {"n", "e"})
    assert key["use"] == "sig"
    assert key["kid"] == import_key({name: key[name] for name in key if name != "kid"}).thumbprint()


def test_a_key_is_not_shown_by_accident(tmp_path: Path) -> None:
    """Its repr, which a traceback may print, holds the public half only."""
    write_key(tmp_path / "a.pem", rsa_key())
    key = KeyFolder(tmp_path).signing()
    assert "_key" not in repr(key)
    assert str(rsa_key().private_numbers().d) not in repr(key)


def test_the_last_key_signs_and_the_next_one_is_only_published(tmp_path: Path) -> None:
    """Rotation, step by step, with no restart: published first, then signing, then the old one gone."""
    write_key(tmp_path / "2026-01.pem")
    folder = KeyFolder(tmp_path)
    old = folder.signing().kid
    write_key(tmp_path / "2026-07.next.pem")
    kids = [key["kid"] for key in folder.published()["keys"]]
    assert folder.signing().kid == old
    assert len(kids) == 2
    (tmp_path / "2026-07.next.pem").rename(tmp_path / "2026-07.pem")
    new = folder.signing().kid
    assert {old, new} == set(kids)
    (tmp_path / "2026-01.pem").unlink()
    assert [key["kid"] for key in folder.published()["keys"]] == [new]


def test_a_key_that_was_replaced_in_its_place_is_seen(tmp_path: Path) -> None:
    """A new time or size is enough."""
    path = write_key(tmp_path / "a.pem")
    folder = KeyFolder(tmp_path)
    old = folder.signing().kid
    write_key(path)
    os.utime(path, ns=(1, 1))
    assert folder.signing().kid != old


def test_a_file_that_is_half_copied_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The keys stay as they were, and the log names the file once; whole, it is taken."""
    write_key(tmp_path / "a.pem")
    folder = KeyFolder(tmp_path)
    old = folder.signing().kid
    whole = write_key(tmp_path / "b.tmp").read_bytes()
    (tmp_path / "b.pem").write_bytes(whole[:40])
    with caplog.at_level(logging.WARNING):
        assert [folder.signing().kid, folder.signing().kid] == [old, old]
    assert caplog.text.count("b.pem") == 1
    (tmp_path / "b.pem").write_bytes(whole)
    assert folder.signing().kid != old


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "found none"),
        ("missing", "found none"),
        ("next only", "only NAME.next.pem"),
        ("encrypted", "encrypted"),
        ("public certificate", "none that can be read"),
        ("rubbish", "none that can be read"),
        ("P-256", "P-384"),
        ("RSA 1024", "2048 bits"),
    ],
)
def test_a_folder_that_cannot_sign_says_why(tmp_path: Path, name: str, words: str) -> None:
    """Each in one sentence that names file or folder."""
    folder = tmp_path / "keys"
    if name != "missing":
        folder.mkdir()
    match name:
        case "next only":
            write_key(folder / "a.next.pem")
        case "encrypted":
            write_key(folder / "a.pem", passphrase=b"secret")
        case "public certificate":
            Authority(folder, "a")
        case "rubbish":
            (folder / "a.pem").write_bytes(b"\xff" * 10)
        case "P-256":
            write_key(folder / "a.pem", ec.generate_private_key(ec.SECP256R1()))
        case "RSA 1024":
            write_key(folder / "a.pem", rsa_key(1024))
    with pytest.raises(KeyFileError, match=words) as raised:
        KeyFolder(folder).signing()
    assert "keys" in str(raised.value)


def test_an_rsa_key_of_2048_bits_is_the_smallest(tmp_path: Path) -> None:
    """2048 signs; less is refused above."""
    write_key(tmp_path / "a.pem", rsa_key(2048))
    assert KeyFolder(tmp_path).signing().algorithm == "RS384"


def test_what_is_published_is_json(tmp_path: Path) -> None:
    """And a caller who changes it changes nothing of ours."""
    write_key(tmp_path / "a.pem")
    folder = KeyFolder(tmp_path)
    folder.published()["keys"][0]["kid"] = "other"
    assert json.loads(json.dumps(folder.published()))["keys"][0]["kid"] == folder.signing().kid
