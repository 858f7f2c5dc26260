"""What a human's report means for a case, and how it differs from the draft. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from connectors.exchange import ReportStatus, SignedReport
from connectors.hl7.drafts import APPLICATION
from model.headings import UNCERTAIN, titles_of
from model.sections import CLINICAL_INFORMATION, COMPARISON, FINDINGS, IMPRESSION, PROCEDURE

OUR_NAME = APPLICATION
"""MSH-3 of what we send, and the name of our Device: a report from there is no human's."""

DEVICE = "device"
"""Role of a signer that is no person, in whatever case the source writes it (FHIR R4 Device)."""

DIFF_WORDS = 20_000
"""Longer texts are compared as a whole: the alignment would take minutes."""


class Verdict(StrEnum):
    """What a report that was seen counts as."""

    SIGNED = "signed"
    """Final, from a named human, not from ourselves."""
    UNATTRIBUTED = "final-unattributed"
    """Final, but no person or no source is named: no signature."""
    SUPERSEDED = "superseded"
    """A human's own report, not final yet."""
    OURS = "ours"
    """Our own draft, come back."""
    NOTED = "noted"
    """Anything else: kept as it came."""


def judge(report: SignedReport) -> Verdict:
    """What a report counts as.

    Its arrival is no signature (decision 0007): only a final status, a named person and a named source that
    is not ourselves make one together. Software is no person, whoever made it.
    """
    application = re.split(r"[|^]", report.source, maxsplit=1)[0]
    signer = report.signer
    if _is_our_name(application, exactly=True) or (signer and _is_our_name(signer.printed_name)):
        return Verdict.OURS
    software = signer is not None and signer.role.strip().casefold() == DEVICE
    # A title alone ("Dr.") names nobody.
    named = signer is not None and bool(signer.family_name.strip() or signer.given_name.strip())
    if report.status.is_final:
        sourced = any(character.isalnum() for character in report.source)
        return Verdict.SIGNED if named and sourced and not software else Verdict.UNATTRIBUTED
    if report.status in {ReportStatus.PRELIMINARY, ReportStatus.PARTIAL} and not software:
        return Verdict.SUPERSEDED
    return Verdict.NOTED


def _is_our_name(name: str, *, exactly: bool = False) -> bool:
    """Whether a name is ours; a signer's also where a version or a model follows it (Prelim 0.1)."""
    words = [name.strip()] if exactly else re.split(r"[^A-Za-z]+", name.strip(), maxsplit=1)
    return words[0].upper() == OUR_NAME


def sections_of(text: str, titles: Sequence[str]) -> list[tuple[str, str]]:
    """Cut a report at the titles of the draft.

    A title counts where it begins a line, alone or before a colon, in any case. What stands before the
    first title, or all of it when no title is found, is a section without a title.
    """
    longest_first = sorted(titles, key=len, reverse=True)
    # One group a title: which one matched is not looked up by its letters, for not all of them fold alike.
    pattern = "|".join(f"({re.escape(title)})" for title in longest_first)
    heading = re.compile(rf"^[ \t]*(?:{pattern})[ \t]*(?::|$)", re.IGNORECASE) if titles else None
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in text.splitlines():
        match = heading.match(line) if heading else None
        if match:
            found.append((longest_first[(match.lastindex or 1) - 1], [line[match.end() :]]))
        else:
            found[-1][1].append(line)
    joined = [(title, " ".join(" ".join(lines).split())) for title, lines in found]
    return [(title, body) for title, body in joined if title or body]


_FINDINGS = (*titles_of(FINDINGS), "Befunde", "Descriere", "판독소견", "판독 소견")
_CONCLUSIONS = (
    *titles_of(IMPRESSION),
    *("Conclusion", "Opinion", "Summary", "Zusammenfassung", "Concluzie", "Concluzia", "판독 결론"),
)
"""Titles under which reports tell and conclude, in the languages of drafts; the canonical one first."""
_KNOWN = (
    _FINDINGS,
    _CONCLUSIONS,
    *(titles_of(title) for title in (PROCEDURE, CLINICAL_INFORMATION, COMPARISON)),
)
_CANONICAL = {title.casefold(): titles[0] for titles in _KNOWN for title in titles}
_MARKS = re.compile("|".join(rf"\s*{re.escape(mark)}" for mark in UNCERTAIN.values()))


def asks_for_conclusion(text: str) -> bool:
    """Whether a report that is not final tells its findings and has no conclusion yet.

    Only titles say so: text without any may well conclude in its last sentence.
    """
    told = dict(sections_of(text, [*_FINDINGS, *_CONCLUSIONS]))
    return any(told.get(title) for title in _FINDINGS) and not any(told.get(t) for t in _CONCLUSIONS)


def findings_of(text: str) -> str:
    """The findings that a report tells under their title; empty when it has no such title."""
    told = dict(sections_of(text, [*_FINDINGS, *_CONCLUSIONS]))
    return next((told[title] for title in _FINDINGS if told.get(title)), "")


@dataclass(frozen=True, slots=True)
class SectionChange:
    """One section before and after the human."""

    title: str
    parts: tuple[tuple[str, str], ...]
    """(same | drafted | signed, words): what stayed, what the human took out, what the human put in."""

    @property
    def words_changed(self) -> int:
        """Words taken out or put in; a word replaced by a word counts once."""
        count = 0
        removed = 0
        for kind, words in self.parts:
            number = len(words.split())
            if kind == "drafted":
                removed = number
            elif kind == "signed":
                count += max(removed, number)
                removed = 0
            else:
                count += removed
                removed = 0
        return count + removed


def _compare(drafted: str, signed: str) -> tuple[tuple[str, str], ...]:
    before, after = drafted.split(), signed.split()
    if before == after:
        return (("same", drafted),) if before else ()
    if len(before) + len(after) > DIFF_WORDS:
        return tuple((kind, text) for kind, text in (("drafted", drafted), ("signed", signed)) if text)
    parts: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(("same", " ".join(before[a:b])))
            continue
        if b > a:
            parts.append(("drafted", " ".join(before[a:b])))
        if d > c:
            parts.append(("signed", " ".join(after[c:d])))
    return tuple(parts)


def _bare(text: str, notice: str) -> str:
    """A report without the draft's notice and marks of doubt, which a signed one must not carry."""
    return _MARKS.sub("", text.replace(notice, " ") if notice else text)


def _told(draft: Sequence[tuple[str, str]], text: str) -> list[tuple[str, str]]:
    """The sections of a report, each under the title that the draft has for it in whatever language it is."""
    own = {_CANONICAL.get(title.casefold(), title): title for title, _ in draft}
    known = [title for titles in _KNOWN if titles[0] in own for title in titles]
    found = sections_of(text, [*dict.fromkeys([*own.values(), *known])])
    return [(own.get(_CANONICAL.get(title.casefold(), title), title), body) for title, body in found]


def changes(draft: Sequence[tuple[str, str]], notice: str, signed: str) -> tuple[SectionChange, ...]:
    """What the human changed, section by section, in the draft's order and then the human's own.

    A section counts under its title in any of the languages, and under the words that mean the same. The
    draft's notice and its marks of doubt are no part of the comparison.
    """
    titles = [title for title, _ in draft]
    after: dict[str, str] = {}
    for title, body in _told(draft, _bare(signed, notice)):
        after[title] = f"{after[title]} {body}".strip() if title in after else body
    before = {title: _bare(text, "") for title, text in draft}
    order = [*titles, *(title for title in after if title not in before)]
    found = (SectionChange(title, _compare(before.get(title, ""), after.get(title, ""))) for title in order)
    return tuple(change for change in found if change.parts)


def untouched(draft: Sequence[tuple[str, str]], notice: str, signed: str) -> bool:
    """Whether the signed words are the draft's, each in its section and all in their order; notice and marks
    of doubt aside.

    Only white space and the wording of titles may differ.
    """
    written = "\n".join(f"{title}\n{text}" for title, text in draft)
    return _told(draft, _bare(signed, notice)) == _told(draft, _bare(written, ""))


def words_between(one: str, other: str) -> int:
    """Words that differ between two reports, whatever their sections."""
    return SectionChange("", _compare(one, other)).words_changed


def seconds_to_sign(readable_at: datetime | None, signed_at: datetime | None) -> float | None:
    """From when a draft could be read until it was signed.

    None without either moment, and where the signature is earlier than the draft: a clock runs behind. A time
    that is told in whole minutes or seconds may be earlier by less than one of them.
    """
    if readable_at is None or signed_at is None:
        return None
    seconds = (signed_at - readable_at).total_seconds()
    precision = timedelta(0)
    if not signed_at.microsecond:
        precision = timedelta(seconds=1) if signed_at.second else timedelta(minutes=1)
    return max(seconds, 0.0) if seconds >= 0 or -seconds < precision.total_seconds() else None
