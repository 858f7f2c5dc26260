"""What one language needs so that findings can be read and written in it. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BOTH = "both"
"""Stands beside right and left where a word means both sides."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How sentences are read. Every pattern is a regular expression over lower-case text."""

    findings: Mapping[str, tuple[str, ...]]
    """Finding -> patterns of the words that mean it; the longest match is taken."""
    denials: str
    """What denies a finding of the same clause."""
    denies_before: bool
    """Whether a denial stands before what it denies (No effusion) or after it."""
    sides: Mapping[str, str]
    """right, left and both -> pattern."""
    sizes: Mapping[str, str]
    """small, moderate and large -> pattern."""
    zones: Mapping[str, str]
    """upper and lower -> pattern."""
    normal: tuple[tuple[str, tuple[str, ...]], ...]
    """(pattern, findings that it denies): "the lungs are clear"."""
    clause: str
    """Where a clause ends and the next begins."""
    prior: str
    """What speaks of an earlier examination."""
    abbreviations: tuple[str, ...]
    """Patterns of abbreviations whose full stop ends no sentence, as they stand in a text."""
    no_prior: str = r"(?!)"
    """What says that there is no earlier examination: it speaks of none."""
    denied_after: str = r"(?!)"
    """What denies the findings that stand before it, where a denial else stands first: "is not seen"."""
    boundary: str = r"\b"
    """What stands around a word; empty where endings are joined to it."""


@dataclass(frozen=True, slots=True)
class Phrases:
    """How the guard writes: one phrase for everything, with {size}, {side}, {zone} and {mm} to fill.

    Of "[a|b]" stands the first alternative all of whose fields are known, or nothing.
    """

    sides: Mapping[str, str]
    """right, left and both, as they stand in these phrases."""
    sizes: Mapping[str, str]
    zones: Mapping[str, str]
    present: Mapping[str, str]
    """Finding -> a sentence that states it."""
    concluded: Mapping[str, str]
    """Finding -> a sentence of the Impression."""
    both: Mapping[str, tuple[str, str]]
    """Finding -> (present, concluded) where both sides need other words; the others take the side's word."""
    names: Mapping[str, str]
    """Finding -> its name where it is denied."""
    absent: str
    """With {names}."""
    joined: tuple[str, str]
    """Between the names of a denial: before all but the last, before the last."""
    normal: Mapping[str, str]
    """Organ -> a sentence that denies all its findings."""
    nothing: str
    """The Impression where nothing is found."""


@dataclass(frozen=True, slots=True)
class Wording:
    """One language."""

    code: str
    """ISO 639-1."""
    titles: Mapping[str, str]
    """Canonical section title -> title."""
    organs: Mapping[str, str]
    """Canonical organ -> label."""
    no_prior: str
    prior_available: str
    """The sentence of the Comparison when there is a prior: no word of what has changed."""
    uncertain: str
    """Stands behind a marked sentence."""
    reading: Reading
    phrases: Phrases
