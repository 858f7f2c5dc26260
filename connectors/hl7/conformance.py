"""The HL7 conformance statement, written from the tables that the readers and writers work by. Pure.

`python -m connectors.hl7.conformance` prints it; docs/hl7-conformance.md is its output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from connectors import sides
from connectors.exchange import OrderAction
from connectors.hl7 import (
    attachments,
    cda,
    documents,
    drafts,
    laterality,
    observations,
    orders,
    patients,
    results,
)
from connectors.hl7.ack import Verdict, codes_for
from connectors.hl7.charsets import codec_name
from connectors.hl7.frames import FRAME_CAP_BYTES
from connectors.hl7.identifiers import DEFAULT_PLACES, PATIENT_FIELDS, SIGNER_PLACES
from connectors.hl7.message import Limits, Value, build, parse
from connectors.hl7.refusals import REFUSED, refusal

VERSIONS = ("2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8")
HEADER_FIELDS = {
    "MSH-1": "field separator",
    "MSH-2": "encoding characters",
    "MSH-3": "sending application, part of the source of a message",
    "MSH-4": "sending facility, part of the source of a message",
    "MSH-7": "time of the message, and the offset of times that have none",
    "MSH-9": "type and trigger event",
    "MSH-10": "control id: the same from the same source is the same message",
    "MSH-12": "version, repeated in the acknowledgement",
    "MSH-15": "which accept acknowledgements are wanted",
    "MSH-16": "which application acknowledgements are wanted",
    "MSH-18": "character set",
    "MSH-19": "of an order: language of its draft (de, DE, deu, de-AT); PID-15 is the patient's",
}
_ASKED = {
    OrderAction.PLACE: "a report is wanted; a cancelled order is placed again",
    OrderAction.CHANGE: "the order has changed",
    OrderAction.REQUEST_CANCEL: "a cancellation is asked for: nothing more is drafted until a human decides",
    OrderAction.CANCEL: "no report is wanted any more",
    OrderAction.STATUS: "noted; nothing changes",
}
_TAKEN = {
    "ORM^O01": "general order",
    "OMG^O19": "general clinical order, with prior results",
    "OMI^O23": "imaging order, with prior results",
    "ORU^R01": "result, one report for each OBR",
    **{kind: f"document: {words}" for kind, words in documents.EVENTS.items()},
    **patients.UPDATES,
    **patients.MERGES,
}
SENT = {
    "MSH-3": drafts.APPLICATION,
    "MSH-9": "ORU^R01^ORU_R01",
    "MSH-10": "the same for every attempt to send the same draft",
    "MSH-12": "2.5.1",
    "MSH-18": "UNICODE UTF-8",
    "PID-3": "patient identifier and assigning authority",
    "PID-5": "name",
    "PID-7": "birth date",
    "PID-8": "sex",
    "OBR-2": "placer order number",
    "OBR-3": "filler order number",
    "OBR-4": "procedure",
    "OBR-7": "day of the images",
    "OBR-16": "ordering provider",
    "OBR-18": "accession number",
    "OBR-22": "when the draft was written",
    "OBR-25": "status",
    "OBX-2": "ST for the study, TX for a line, ED for the PDF",
    "OBX-3": "DCM 110180 for the study, LN 19005-8 for the impression, LN 18748-4 for all else",
    "OBX-5": "study instance UID; the notice that a machine wrote the draft, then its lines; the PDF",
    "OBX-11": "status, the same as OBR-25",
    "OBX-17": "^".join(drafts.METHOD),
}
_CHARACTER_SETS = (
    "", "ASCII", "8859/1", "8859/2", "8859/3", "8859/4", "8859/5", "8859/6", "8859/7", "8859/8", "8859/9",
    "8859/15", "ISO IR14", "ISO IR87", "ISO IR159", "GB 18030-2000", "KS X 1001", "BIG-5", "UNICODE",
    "UNICODE UTF-8", "UNICODE UTF-16", "UNICODE UTF-32", "CNS 11643-1992",
)  # fmt: skip
"""HL7 table 0211."""
_CONDITIONS = ("", "AL", "NE", "ER", "SU")


def statement() -> str:
    """The whole statement as Markdown."""
    parts = [_head(), _messages(), _transport(), _acknowledgements(), _fields(), _places(), _order_control()]
    parts += [_statuses(), _sides(), _contents(), _sending(), _refusals()]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head() -> list[str]:
    return [
        "# HL7 v2 conformance statement",
        "",
        "Written by `python -m connectors.hl7.conformance` from the tables that the code works by; do not",
        "edit. Positions are those of HL7 v2.5.1.",
    ]


def _messages() -> list[str]:
    return [
        "## Messages",
        "",
        f"Taken, in versions {', '.join(VERSIONS)} (MSH-12 is not checked: fields keep their places):",
        "",
        *_table(("MSH-9", "what it is"), _TAKEN.items()),
        "",
        "Any other type is rejected: AR or CR, code 200 in ERR-3.",
        "",
        "Sent: ORU^R01 (2.5.1), a draft or its withdrawal, and ACK.",
    ]


def _transport() -> list[str]:
    limits, of_documents = Limits(), attachments.DEFAULT_LIMITS
    sets = ((name or "(empty)", _codec(name)) for name in _CHARACTER_SETS)
    return [
        "## Limits and character sets",
        "",
        *_table(
            ("limit", "at most"),
            [
                ("MLLP frame", f"{FRAME_CAP_BYTES:,} bytes unless the settings say otherwise"),
                ("lines of a message", f"{limits.segments:,}"),
                ("fields of a segment", f"{limits.fields:,}"),
                ("document in OBX-5, decoded", f"{of_documents.document_bytes:,} bytes"),
                ("document whose words are read", f"{of_documents.text_bytes:,} bytes"),
                ("elements inside each other in a CDA", str(cda.DEPTH)),
            ],
        ),
        "",
        *_table(("MSH-18", "read as"), sets),
        "",
        "A byte-order mark, or a character set that the settings give for the sender, goes before MSH-18.",
    ]


def _codec(name: str) -> str:
    codec = codec_name(name)
    if codec is None:
        return "refused unless all of the message is ASCII"
    return codec or "UTF-8 where the bytes are UTF-8, else ISO 8859-1"


def _acknowledgements() -> list[str]:
    rows = []
    for accept in _CONDITIONS:
        for application in _CONDITIONS:
            header: dict[int, Value] = {9: ("ORM", "O01"), 10: "1", 15: accept, 16: application}
            message = parse(build([("MSH", header)]))
            given = (codes_for(message, verdict) for verdict in Verdict)
            told = (" then ".join(code.value for code in codes if code) or "none" for codes in given)
            rows.append((accept, application, *told))
    return [
        "## Acknowledgements",
        "",
        "An acknowledgement is sent after the message is committed to safe storage. Taken: AA or CA. Not",
        "taken for its content (mend it): AE or CE. Not taken now, or a type that is not taken: AR or CR.",
        "By MSH-15 and MSH-16:",
        "",
        *_table(("MSH-15", "MSH-16", "taken", "error", "reject"), rows),
    ]


def _fields() -> list[str]:
    return [
        "## Fields that are read",
        "",
        *_section("Every message", {**HEADER_FIELDS, **PATIENT_FIELDS}),
        *_section("Orders", orders.FIELDS),
        *_section("Results", results.FIELDS),
        *_section("Documents", documents.FIELDS),
        *_section("Patients", patients.FIELDS)[:-1],
    ]


def _section(title: str, fields: Mapping[str, str]) -> list[str]:
    return [f"### {title}", "", *_table(("field", "meaning"), fields.items()), ""]


def _places() -> list[str]:
    return [
        "## Places that a site can set",
        "",
        f"- Accession number: {', '.join(DEFAULT_PLACES.accession)}, the first that is valued. Any SEG-field",
        "  or SEG-field.component can be named instead, for example OBR-3, ORC-3 or TXA-15.",
        f"- Signer: {', '.join(DEFAULT_PLACES.signer)} of a result, TXA-22 of a document. Allowed are",
        f"  {', '.join(sorted(SIGNER_PLACES))}. An identifier without a name signs nothing.",
        "- Patient identifier: the first of PID-3, or the one of an identifier type (PID-3.5) or assigning",
        "  authority (PID-3.4); the same choice holds for MRG-1.",
    ]


def _order_control() -> list[str]:
    ended = ", ".join(sorted(orders.ENDED))
    rows = [
        (", ".join(code for code, found in orders.ACTIONS.items() if found is action), words)
        for action, words in _ASKED.items()
    ]
    refused = [
        (
            ", ".join(code for code, found in orders.OTHER_CONTROLS.items() if found == words),
            f"refused: {words}",
        )
        for words in dict.fromkeys(orders.OTHER_CONTROLS.values())
    ]
    return [
        "## Order control (ORC-1, HL7 table 0119)",
        "",
        *_table(("ORC-1", "means"), [*rows, (orders.PREVIOUS_RESULT, "a prior result, no order"), *refused]),
        "",
        f"A report of a state with ORC-5 {ended} means that no report is wanted any more, unless ORC-1",
        "says that something could not be done (U...).",
    ]


def _statuses() -> list[str]:
    changed = {kind.removeprefix("MDM^"): status.value for kind, status in documents.CHANGES.items()}
    return [
        "## Status of a report",
        "",
        "OBR-25 (HL7 table 0123, and words that senders write):",
        "",
        *_by_status(results.STATUSES),
        "",
        "OBX-11 (HL7 table 0085) where it differs:",
        "",
        *_by_status({k: v for k, v in results.LINE_STATUSES.items() if results.STATUSES.get(k) is not v}),
        "",
        "TXA-17 (HL7 table 0271):",
        "",
        *_by_status(documents.COMPLETION),
        "",
        f"TXA-19 (HL7 table 0273): {', '.join(f'{k} is {v.value}' for k, v in documents.WITHDRAWN.items())};",
        f"{documents.UNAVAILABLE} is at most preliminary. An authenticated document is "
        + ", ".join(f"{status} in {event}" for event, status in changed.items())
        + "; T11 is cancelled.",
        "",
        "Any other code or word is unknown and never final. Of a whole and its lines the weaker counts.",
    ]


def _by_status(table: Mapping[str, object]) -> list[str]:
    statuses = dict.fromkeys(table.values())
    rows = ((", ".join(k for k, v in table.items() if v is s), str(s)) for s in statuses)
    return _table(("sent", "read as"), rows)


def _sides() -> list[str]:
    def codes(table: Mapping[str, str], side: str) -> str:
        return ", ".join(code for code, found in table.items() if found == side)

    found = (sides.LEFT, sides.RIGHT, sides.BILATERAL)
    return [
        "## Side of an examination",
        "",
        f"Read from {'; '.join(laterality.PLACES)}. All that name one must agree, else there is none.",
        "",
        *_table(
            ("side", "modifiers and codes", "words"),
            [(side, codes(sides.MODIFIERS, side), codes(sides.WORDS, side)) for side in found],
        ),
    ]


def _contents() -> list[str]:
    concepts = [
        (f"{system} {code}", title) for (code, system), title in observations.SECTION_CONCEPTS.items()
    ]
    suffixes = [
        (f"any code with &{suffix}", title) for suffix, title in observations.SECTION_SUFFIXES.items()
    ]
    encodings = ", ".join(sorted(set(attachments.ENCODINGS.values())))
    readable = ", ".join(sorted(attachments.READABLE))
    return [
        "## Text, sections and documents",
        "",
        f"Text is OBX-2 {', '.join(sorted(observations.TEXT_TYPES))}; `~` and `\\.br\\` are line breaks.",
        "A section gets its heading where the text has none:",
        "",
        *_table(("OBX-3", "heading"), [*concepts, *suffixes]),
        "",
        f"Documents (ED, in {encodings}) are recorded with media type, SHA-256 and size.",
        f"Where there is no other text, the words of {readable} are read; CDA without",
        "document type and entities. PDF, RTF, pictures and MIME packages are never read, and pointers (RP)",
        "are never followed.",
    ]


def _sending() -> list[str]:
    codes = [(code, f"a draft ({status.value})") for status, code in drafts.STATUSES.items()]
    nobody = ", ".join(f"{name}-{number}" for name, numbers in drafts.NOBODY.items() for number in numbers)
    return [
        "## What is sent",
        "",
        *_table(("field", "holds"), SENT.items()),
        "",
        *_table(
            ("OBR-25 and OBX-11", "means"), [*codes, (drafts.WITHDRAWN, "the draft is withdrawn; everywhere")]
        ),
        "",
        f"No other status can leave, nobody is named in {nobody},",
        f"and no segment but {', '.join(drafts.SEGMENTS)} is written: bytes are checked before they leave.",
    ]


def _refusals() -> list[str]:
    rows = []
    for reason in REFUSED:
        error = refusal(reason)
        rows.append((reason, error.location, str(error.code), str(error)))
    return [
        "## What is refused, and why",
        "",
        "ERR-2 names the place, ERR-3 the code of HL7 table 0357, ERR-8 the words, which never quote the",
        "message.",
        "",
        *_table(("what came", "ERR-2", "ERR-3", "ERR-8"), rows),
    ]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


if __name__ == "__main__":
    print(statement(), end="")
