"""The end of the log within one writing transaction: the tree so far, and leaves not yet written. Pure."""

from __future__ import annotations

from typing import Any

from plugin.audit.tree import Frontier


class Tail:
    """What a transaction appends to; the database writes the leaves at its end, all with one statement."""

    __slots__ = ("leaves", "tree")

    def __init__(self, tree: Frontier) -> None:
        self.tree = tree
        """The tree with every leaf that was appended here."""
        self.leaves: list[dict[str, Any]] = []
        """Rows of the table of leaves that are not written yet, in order."""

    def append(self, row: dict[str, Any], leaf: bytes) -> None:
        """Add one leaf. leaf: its 32-byte hash."""
        self.tree = self.tree.append(leaf)
        self.leaves.append(row)
