"""Private keys as files, for tests of what they sign."""

from __future__ import annotations

import functools
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def p384() -> ec.EllipticCurvePrivateKey:
    """A new key on P-384."""
    return ec.generate_private_key(ec.SECP384R1())


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key; making one is slow, so each size is made once."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def write_key(path: Path, key: Private | None = None, *, passphrase: bytes = b"") -> Path:
    """Write a key (default: a new one on P-384) as PEM. passphrase: given, it is encrypted."""
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    pem = (key or p384()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    path.write_bytes(pem)
    return path
