"""What was examined, in codes that others know: the site's procedure codes in LOINC and RadLex.

The hospital owns the map: a CSV file in UTF-8 with the columns of `COLUMNS`; lines that begin with # and
empty lines are passed over.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from connectors.errors import Malformed
from connectors.exchange import Coding
from connectors.fhir.attachment import clean
from connectors.fhir.drafts.resources import filled

Resource = dict[str, Any]

LOINC = "http://loinc.org"
RADLEX = "http://www.radlex.org"
CODE_SYSTEMS = {
    "LN": LOINC,
    "SCT": "http://snomed.info/sct",
    "RADLEX": RADLEX,
    "C4": "http://www.ama-assn.org/go/cpt",
}
"""HL7 table 0396 name to FHIR code system."""
DIAGNOSTIC_IMAGING_STUDY = {"system": LOINC, "code": "18748-4", "display": "Diagnostic imaging study"}
SITE_CODES = "urn:prelim:codes"
"""Of a code whose system the order names by no URI; the sender's name for it is appended."""

COLUMNS = ("system", "code", "loinc", "loinc_display", "radlex", "radlex_display")
MAX_FILE_BYTES = 4 * 2**20
"""Of the CSV file: some twenty thousand procedures."""

_LOINC = re.compile(r"[0-9]{1,7}-[0-9]")
_RADLEX = re.compile(r"(?:RID|RPID)[0-9]{1,8}")


class UnreadableCodes(Malformed):
    """The file of procedure codes is not what it should be."""

    next_step = "Mend the file, then start again."


@dataclass(frozen=True, slots=True)
class CodeMap:
    """The site's procedure codes in LOINC and RadLex."""

    codes: Mapping[tuple[str, str], tuple[Coding, ...]] = field(default_factory=dict)
    """(system, code) as `key_of` gives it -> LOINC first, RadLex after it."""

    def knows(self, procedure: Coding) -> bool:
        """Whether the map has this procedure."""
        return key_of(procedure) in self.codes

    def of(self, procedure: Coding) -> tuple[Coding, ...]:
        """The procedure in LOINC and RadLex, systems as URIs; empty when the map lacks it."""
        return self.codes.get(key_of(procedure), ())


def key_of(procedure: Coding) -> tuple[str, str]:
    """(system, code) by which a procedure is looked up; names of systems are compared without case."""
    return uri_of(procedure.system) or procedure.system.strip().upper(), procedure.code.strip()


def uri_of(system: str) -> str:
    """The URI of a code system that a message names; empty when it is none that FHIR knows."""
    name = system.strip()
    return CODE_SYSTEMS.get(name.upper()) or (
        name if name.startswith(("http://", "https://", "urn:")) else ""
    )


def is_loinc(code: str) -> bool:
    """Whether this is a LOINC number with the right check digit (LOINC Users' Guide, Mod 10)."""
    if not _LOINC.fullmatch(code):
        return False
    digits = [int(digit) for digit in reversed(code.replace("-", ""))]
    return sum(d if place % 2 == 0 else sum(divmod(2 * d, 10)) for place, d in enumerate(digits)) % 10 == 0


def is_radlex(code: str) -> bool:
    """Whether this is a RadLex term or Playbook identifier (RID..., RPID...)."""
    return _RADLEX.fullmatch(code) is not None


def code_of(procedure: Coding, codes: CodeMap | None = None) -> Resource:
    """The examination as DiagnosticReport.code.

    Mapped by the site: LOINC, RadLex beside it, then the site's own code. Else the ordered code where its
    system is one that FHIR knows, or LOINC 18748-4 beside the words of the order.
    """
    words = clean(procedure.text).strip() or clean(procedure.code).strip()
    code, system = clean(procedure.code).strip(), uri_of(procedure.system)
    known = bool(code and system and (system != LOINC or is_loinc(code)))
    own = filled({"system": system, "code": code, "display": clean(procedure.text).strip()})
    mapped = codes.of(procedure) if codes else ()
    if not mapped:
        return filled({"coding": [own if known else dict(DIAGNOSTIC_IMAGING_STUDY)], "text": words})
    coding = [filled({"system": m.system, "code": m.code, "display": m.text}) for m in mapped]
    if not known:
        name = quote(procedure.system.strip(), safe="")
        own["system"] = ":".join(part for part in (SITE_CODES, name) if part)
    if (own["system"], code) not in {(m.system, m.code) for m in mapped}:
        coding.append(own)
    return filled({"coding": coding, "text": words})


def read_codes(path: Path) -> CodeMap:
    """The map that a CSV file holds. Raises UnreadableCodes, which names the line and what was expected."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnreadableCodes(f"Expected a readable file of codes, came: {error.strerror}.") from None
    if len(content) > MAX_FILE_BYTES:
        raise UnreadableCodes(
            f"Expected a file of codes of at most {MAX_FILE_BYTES} bytes, came a larger one."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableCodes(f"Line {line}: expected UTF-8, came other bytes.") from None
    return CodeMap(dict(_entries(text)))


def _entries(text: str) -> Iterator[tuple[tuple[str, str], tuple[Coding, ...]]]:
    rows = _rows(text)
    number, header = next(rows, (1, []))
    if tuple(name.lower() for name in header) != COLUMNS:
        raise UnreadableCodes(f"Line {number}: expected the header {','.join(COLUMNS)}, came another line.")
    first: dict[tuple[str, str], int] = {}
    for number, cells in rows:
        if len(cells) != len(COLUMNS):
            raise UnreadableCodes(f"Line {number}: expected {len(COLUMNS)} cells, came {len(cells)}.")
        row = dict(zip(COLUMNS, cells, strict=True))
        if not row["code"]:
            raise UnreadableCodes(f"Line {number}: expected the code of a procedure, came none.")
        key = key_of(Coding(row["code"], system=row["system"]))
        if key in first:
            raise UnreadableCodes(
                f"Line {number}: expected each code once, came the one of line {first[key]} again."
            )
        first[key] = number
        yield key, _codings(row, number)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each line that says something."""
    # Only what ends a line in a file: str.splitlines would cut at a form feed or U+2028 inside of a cell.
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            cells = next(csv.reader([line], strict=True))
        except (csv.Error, StopIteration):
            raise UnreadableCodes(
                f"Line {number}: expected cells between commas, each quote closed on its line, came another."
            ) from None
        if any(clean(cell) != cell for cell in cells):
            raise UnreadableCodes(f"Line {number}: expected readable characters, came control characters.")
        yield number, [cell.strip() for cell in cells]


def _codings(row: Mapping[str, str], number: int) -> tuple[Coding, ...]:
    if row["loinc"] and not is_loinc(row["loinc"]):
        raise UnreadableCodes(
            f"Line {number}: expected a LOINC number with its check digit, as 24627-2, came another."
        )
    if row["radlex"] and not is_radlex(row["radlex"]):
        raise UnreadableCodes(
            f"Line {number}: expected a RadLex identifier, RID or RPID and digits, came another."
        )
    if not (row["loinc"] or row["radlex"]):
        raise UnreadableCodes(f"Line {number}: expected a LOINC number or a RadLex identifier, came neither.")
    found = (
        Coding(row["loinc"], row["loinc_display"], LOINC),
        Coding(row["radlex"], row["radlex_display"], RADLEX),
    )
    return tuple(coding for coding in found if coding.code)
