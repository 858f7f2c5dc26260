"""The Merkle tree hash of RFC 6962 section 2.1, appended to in logarithmic space. Pure.

A `Frontier` keeps the roots of the perfect subtrees that make up the tree so far, largest first; that
is all that an append or the root needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry: SHA-256 of 0x00 and the entry (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees: SHA-256 of 0x01 and both hashes (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree of `size` leaves, known by the roots of its perfect subtrees."""

    size: int = 0
    roots: tuple[bytes, ...] = ()
    """One 32-byte root for every set bit of `size`, largest subtree first."""

    def __post_init__(self) -> None:
        if len(self.roots) != self.size.bit_count():
            raise ValueError(
                f"A tree of {self.size} leaves has {self.size.bit_count()} perfect subtrees; "
                f"{len(self.roots)} came."
            )

    def append(self, leaf: bytes) -> Frontier:
        """The tree with one more leaf hash."""
        roots = [*self.roots, leaf]
        # Each trailing one bit of the old size is a full subtree as large as the new one: merge them.
        for _ in range((self.size ^ (self.size + 1)).bit_length() - 1):
            right = roots.pop()
            roots.append(node_hash(roots.pop(), right))
        return Frontier(self.size + 1, tuple(roots))

    @property
    def root(self) -> bytes:
        """The Merkle tree hash of all leaves."""
        if not self.roots:
            return EMPTY_ROOT
        root = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            root = node_hash(left, root)
        return root


def grow(leaves: Iterable[bytes]) -> Frontier:
    """The tree over leaf hashes in order."""
    tree = Frontier()
    for leaf in leaves:
        tree = tree.append(leaf)
    return tree
