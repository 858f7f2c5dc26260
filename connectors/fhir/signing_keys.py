"""The private keys that sign our token requests, and the public halves that a server checks them by.

A key pair is changed without a restart and without a gap (SMART App Launch 2.2, client-confidential-
asymmetric, "Registering a client"):

1. Put the new key into the folder as NAME.next.pem, NAME sorting after the others. It is published now.
2. Wait until the authorisation server has fetched the key set again (a day is safe; some fetch at once).
3. Rename it to NAME.pem. It signs now, and the old one is still published.
4. When the last token of the old key has run out (an hour is safe), remove the old file.

The folder is read again whenever a name, a size or a time in it changes.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from connectors.errors import ExchangeError

MIN_RSA_BITS = 2048
PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "n", "e")
"""Of a JWK only these are ever published (RFC 7518 6.2.1, 6.3.1); private members are not among them."""

log = logging.getLogger(__name__)

Listing = tuple[tuple[str, int, int], ...]


class KeyFileError(ExchangeError):
    """A key file, or the folder, cannot be used; the message names it and says why."""

    next_step = "Mend the file, or take it away."


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key pair."""

    kid: str
    """RFC 7638 thumbprint of the public half."""
    algorithm: str
    """ES384 or RS384."""
    public: dict[str, str]
    """The public half as a JWK."""
    _key: ECKey | RSAKey = field(repr=False)

    def signed(self, claims: dict[str, object]) -> str:
        """A JWT of these claims in compact form, its header with alg, kid and typ."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}
        return jwt.encode(header, claims, self._key, algorithms=[self.algorithm])


class KeyFolder:
    """The keys of one folder: files NAME.pem, PEM without a passphrase; usable from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._listing: Listing | None = None
        self._keys: list[tuple[str, SigningKey]] = []

    def signing(self) -> SigningKey:
        """The key that signs: the last by name of those that are not NAME.next.pem. Raises KeyFileError."""
        inward = [key for name, key in self._present() if not name.endswith(".next.pem")]
        if not inward:
            raise KeyFileError(
                f"{self._folder}: expected a key that may sign, NAME.pem; found none, or only NAME.next.pem"
            )
        return inward[-1]

    def published(self) -> dict[str, list[dict[str, str]]]:
        """The public halves of all keys as a JWK Set (RFC 7517 5). Raises KeyFileError."""
        return {"keys": [dict(key.public) for _, key in self._present()]}

    def _present(self) -> list[tuple[str, SigningKey]]:
        with self._lock:
            listing = self._listed()
            if listing != self._listing:
                try:
                    self._keys = [(name, _read(self._folder / name)) for name, _, _ in listing]
                except KeyFileError as error:
                    # A file that is being copied must not stop what the others can still do.
                    if not self._keys:
                        raise
                    log.warning("The keys are used as they were before the last change: %s.", error)
                self._listing = listing
            return self._keys

    def _listed(self) -> Listing:
        try:
            found = [(path, path.stat()) for path in sorted(self._folder.glob("*.pem"))]
        except OSError as error:
            raise KeyFileError(f"{self._folder}: {error.strerror or type(error).__name__}") from None
        if not found:
            raise KeyFileError(f"{self._folder}: expected private keys in files NAME.pem, found none")
        return tuple((path.name, status.st_mtime_ns, status.st_size) for path, status in found)


def _read(path: Path) -> SigningKey:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or type(error).__name__}") from None
    try:
        private = load_pem_private_key(pem, password=None)
    except TypeError:
        raise KeyFileError(f"{path}: the key is encrypted; expected one without a passphrase") from None
    except Exception:  # the library has many ways to say so, and some would quote the key
        raise KeyFileError(f"{path}: expected a private key in PEM, found none that can be read") from None
    key: ECKey | RSAKey
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP384R1):
        key, algorithm = ECKey.import_key(private), "ES384"
    elif isinstance(private, RSAPrivateKey) and private.key_size >= MIN_RSA_BITS:
        key, algorithm = RSAKey.import_key(private), "RS384"
    else:
        raise KeyFileError(
            f"{path}: expected a key on curve P-384, or of RSA with {MIN_RSA_BITS} bits or more"
        )
    members = key.as_dict(private=False)
    public = {name: str(members[name]) for name in PUBLIC_MEMBERS if name in members}
    kid = key.thumbprint()
    return SigningKey(kid, algorithm, {**public, "use": "sig", "alg": algorithm, "kid": kid}, key)
