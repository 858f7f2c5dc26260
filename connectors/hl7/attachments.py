"""Documents in OBX-5: ED, encapsulated data, and RP, a pointer (v2.5.1 section 2.A.24). Pure.

A document is decoded once, piece by piece: of a PDF no more than one piece is held at a time.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from connectors.exchange import ReportDocument
from connectors.hl7.message import Field, Message, NotHl7, Segment

MIB = 2**20

PDF, RTF, CDA = "application/pdf", "application/rtf", "text/xml"
HTML, PLAIN = "text/html", "text/plain"
UNKNOWN = "application/octet-stream"
READABLE = frozenset({CDA, HTML, PLAIN})
"""Media types whose words are read where a report brings no other text."""

TYPES = {
    **dict.fromkeys(("AP", "APPLICATION"), "application"),
    **dict.fromkeys(("TEXT", "TX", "FT"), "text"),
    **dict.fromkeys(("IM", "IMAGE", "SI", "SD"), "image"),
    **dict.fromkeys(("AU", "AUDIO"), "audio"),
    "MULTIPART": "multipart",
}
"""ED-2 (HL7 table 0191) as MIME types."""
SUBTYPES = {
    **dict.fromkeys(("PDF", "APPLICATION/PDF"), PDF),
    **dict.fromkeys(("RTF", "TEXT/RTF", "APPLICATION/RTF"), RTF),
    **dict.fromkeys(("HTML", "TEXT/HTML", "XHTML"), HTML),
    **dict.fromkeys(("PLAIN", "TEXT/PLAIN", "TXT"), PLAIN),
    **dict.fromkeys(
        (
            "XML",
            "TEXT/XML",
            "APPLICATION/XML",
            "CDA",
            "HL7-CDA+XML",
            "X-HL7-CDA-LEVEL-ONE",
            "-HL7-CDA-LEVEL-ONE",
        ),
        CDA,
    ),
}
"""ED-3 (HL7 table 0291, and what senders write there) as media types."""
ENCODINGS = {"A": "text", "ASCII": "text", "": "text", "HEX": "hexadecimal", "BASE64": "base64"}
"""ED-4 (HL7 table 0299)."""

_HEADS = {b"%PDF": PDF, b"{\\rtf": RTF, b"<?xml": CDA, b"<ClinicalDocument": CDA, b"<!DOCTYPE html": HTML}
_PDF_IN_BASE64 = "JVBER"
_SLICE = MIB


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The most that one document may hold once it is decoded."""

    document_bytes: int = 64 * MIB
    text_bytes: int = 4 * MIB
    """Of a document whose words are read."""


DEFAULT_LIMITS = DocumentLimits()


@dataclass(frozen=True, slots=True)
class Attachment:
    """One document, and its bytes where its words are wanted."""

    document: ReportDocument
    content: bytes = field(default=b"", repr=False)
    charset: str | None = None
    """Of the content where the message decides it; None where the document itself does."""


def pointer(obx: Segment) -> ReportDocument:
    """The document that an RP points at. It is not fetched, and its address is not kept."""
    value = obx.field(5)
    return ReportDocument(_media_type(value.component(3), value.component(4)), "", 0)


def attachment(obx: Segment, message: Message, limits: DocumentLimits, *, wanted: bool) -> Attachment | None:
    """The document of an ED, with its bytes where its words are wanted and readable; None for an empty one.

    The first bytes decide over what ED-2 and ED-3 say: senders call every PDF an octet stream.
    Raises NotHl7 for a value that is no ED, cannot be decoded, or is over the limits.
    """
    raw, encoding = obx.field(5).raw, message.encoding
    parts = raw.split(encoding.component, 4)
    if len(parts) == 1 and raw.startswith(_PDF_IN_BASE64):
        parts = ["", "", "PDF", "Base64", raw]
    elif len(parts) == 1 and obx.field(5):
        raise _refused("expected source^type^subtype^encoding^data (ED), found one component")
    _, kind, subtype, how = (Field(part, encoding).text.strip() for part in (*parts, "", "", "", "")[:4])
    data = Field(parts[4], encoding).text if len(parts) > 4 else ""
    if how.upper() not in ENCODINGS:
        raise _refused("ED-4: expected A, Hex or Base64 (HL7 table 0299), found another encoding", 103)
    coded, media_type = ENCODINGS[how.upper()], _media_type(kind, subtype)
    digest, size, kept = hashlib.sha256(), 0, bytearray()
    for piece in _pieces(data, coded):
        if not size:
            head = piece.lstrip(b"\xef\xbb\xbf \t\r\n")
            media_type = next((found for mark, found in _HEADS.items() if head.startswith(mark)), media_type)
        digest.update(piece)
        size += len(piece)
        if size > limits.document_bytes:
            raise _refused(f"expected a document of at most {limits.document_bytes} bytes", 104)
        if wanted and media_type in READABLE:
            if size > limits.text_bytes:
                raise _refused(f"expected a text document of at most {limits.text_bytes} bytes", 104)
            kept += piece
    if not size:
        return None
    found = ReportDocument(media_type, digest.hexdigest(), size)
    return Attachment(found, bytes(kept), "utf-8" if coded == "text" else None)


def _media_type(kind: str, subtype: str) -> str:
    known = SUBTYPES.get(subtype.strip().upper())
    if known:
        return known
    plain = subtype.strip().lower()
    if "/" in plain and plain.isprintable():
        return plain
    top = TYPES.get(kind.strip().upper())
    if top is None or not plain or not plain.replace("-", "").replace("+", "").replace(".", "").isalnum():
        return PLAIN if top == "text" else UNKNOWN
    return UNKNOWN if plain == "octet-stream" else f"{top}/{plain}"


def _pieces(data: str, encoding: str) -> Iterator[bytes]:
    """The bytes of a document, a slice at a time. White space between digits is no data."""
    if encoding == "text":
        for start in range(0, len(data), _SLICE):
            yield data[start : start + _SLICE].encode("utf-8", errors="replace")
        return
    rest, width = "", 4 if encoding == "base64" else 2
    try:
        for start in range(0, len(data), _SLICE):
            digits = rest + "".join(data[start : start + _SLICE].split())
            # The last group waits: only it may be padded.
            cut = max(0, (len(digits) - 1) // width * width)
            if digits[:cut].endswith("="):
                raise ValueError("data after the padding")
            rest = digits[cut:]
            yield _decoded(digits[:cut], encoding)
        yield _decoded(rest + "=" * (-len(rest) % width if encoding == "base64" else 0), encoding)
    except ValueError:  # binascii.Error is one
        # `from None`: nothing of the document belongs into a traceback.
        raise _refused(f"ED-5: expected {encoding}, found other characters or a broken end") from None


def _decoded(digits: str, encoding: str) -> bytes:
    if encoding == "base64":
        return binascii.a2b_base64(digits.encode("ascii"), strict_mode=True) if digits else b""
    return binascii.unhexlify(digits.encode("ascii"))


def _refused(words: str, code: int = 102) -> NotHl7:
    return NotHl7(f"OBX-5: {words}", location="OBX-5", code=code)
