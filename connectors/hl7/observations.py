"""What the OBX segments of a report say: text, sections and documents (v2.5.1 section 7.4.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connectors.exchange import ReportDocument
from connectors.fhir.attachment import plain
from connectors.hl7.attachments import (
    CDA,
    DEFAULT_LIMITS,
    HTML,
    Attachment,
    DocumentLimits,
    attachment,
    pointer,
)
from connectors.hl7.cda import cda_text
from connectors.hl7.encoding import without_controls
from connectors.hl7.identifiers import concept
from connectors.hl7.message import Message, Segment

TEXT_TYPES = frozenset({"TX", "FT", "ST"})
"""OBX-2 of a line of text."""
DICOM_STUDY = ("113014", "DCM")
"""IHE RAD-128 lists every study that a report covers under this concept."""
SECTION_CONCEPTS = {
    ("59776-5", "LN"): "Findings",
    ("18782-3", "LN"): "Findings",
    ("19005-8", "LN"): "Impression",
}
"""OBX-3 of lines that belong to a section."""
SECTION_SUFFIXES = {"GDT": "Findings", "IMP": "Impression"}
"""The subcomponent after the code in OBX-3.1, as North American senders write it (v2.5.1 section 7.2.4)."""
TAKEN_BACK = frozenset({"D", "W"})
"""OBX-11 of an observation that is deleted or wrong (HL7 table 0085): it is no part of the report."""

_UID = re.compile(r"[0-9]+(\.[0-9]+){5,}")
_HEADING = re.compile(r"[^\W\d_][^:]{0,40}:\s*")


@dataclass(frozen=True, slots=True)
class Contents:
    """What a report brings."""

    text: str
    documents: tuple[ReportDocument, ...]


def contents(
    observations: Sequence[Segment], message: Message, limits: DocumentLimits = DEFAULT_LIMITS
) -> Contents:
    """The text of a report and the documents that came with it.

    text: the TX, FT and ST observations; where there is none, the words of the first document that has
    some (CDA, HTML or plain text). PDF, RTF and images are recorded, never read.
    Raises NotHl7 for a document that cannot be decoded or is over the limits.
    """
    text = text_of(text_lines(observations))
    documents: list[ReportDocument] = []
    for obx in observations:
        kind = obx.value(2).upper()
        if kind not in {"ED", "RP"} or status_code(obx) in TAKEN_BACK:
            continue
        if kind == "RP":
            documents += [pointer(obx)] if obx.field(5) else []
            continue
        found = attachment(obx, message, limits, wanted=not text)
        if found is not None:
            documents.append(found.document)
            text = text or _words(found, message)
    return Contents(text, tuple(documents))


def text_lines(observations: Iterable[Segment]) -> list[Segment]:
    """The observations that hold text of the report: no UIDs, nothing coded or measured."""
    return [
        obx
        for obx in observations
        if obx.value(2).upper() in TEXT_TYPES
        and concept(obx.field(3)) != DICOM_STUDY
        and not _UID.fullmatch(obx.value(5))
    ]


def text_of(lines: Iterable[Segment]) -> str:
    """The words as they are read: repetitions and escaped line breaks are line breaks (section 7.4.2.5).

    Where OBX-3 begins another section and the text has no heading of its own there, one is written.
    """
    written: list[str] = []
    section = ""
    for obx in lines:
        if status_code(obx) in TAKEN_BACK:
            continue
        words = "\n".join(repetition.text for repetition in obx.field(5).repetitions)
        began = _section(obx)
        if began != section and words.strip():
            section = began
            if section and not _has_heading(words, section):
                written.append(f"{section}:")
        written.append(words)
    return _tidy("\n".join(written))


def status_code(obx: Segment) -> str:
    """OBX-11 in capitals."""
    return obx.value(11).upper()


def _section(obx: Segment) -> str:
    field = obx.field(3)
    return SECTION_CONCEPTS.get(concept(field)) or SECTION_SUFFIXES.get(
        field.component(1, 2).strip().upper(), ""
    )


def _has_heading(words: str, title: str) -> bool:
    """Whether text begins with this title, or with a line that is a heading in any language."""
    first = next((line.strip() for line in words.splitlines() if line.strip()), "")
    return first.upper().startswith(title.rstrip("s").upper()) or _HEADING.fullmatch(first) is not None


def _words(found: Attachment, message: Message) -> str:
    """The words of a document that can be read; empty for any other."""
    if not found.content:
        return ""
    if found.document.media_type == CDA:
        return cda_text(found.content, found.charset)
    for charset in ("utf-8-sig", message.encoding.charset):
        try:
            text = found.content.decode(charset)
            break
        except UnicodeDecodeError:
            continue
    else:
        text = found.content.decode("cp1252", errors="replace")
    return plain(text) if found.document.media_type == HTML else _tidy(without_controls(text))


def _tidy(text: str) -> str:
    whole = text.replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip() for line in whole.split("\n")).strip("\n")
