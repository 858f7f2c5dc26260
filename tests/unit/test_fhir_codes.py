"""The hospital's procedure codes: what its file may hold, and what a report's code becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import Coding
from connectors.fhir.drafts import codes
from connectors.fhir.drafts.codes import (
    COLUMNS,
    CodeMap,
    UnreadableCodes,
    code_of,
    is_loinc,
    is_radlex,
    read_codes,
)
from tests.fhir_findings import CODES, LOCAL

HEADER = ",".join(COLUMNS)
GOOD = "99SITE,CTCH,29252-4,CT Chest,RPID16,CT Chest"


def read(folder: Path, content: str | bytes) -> CodeMap:
    path = folder / "codes.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_codes(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_with_comments_and_empty_lines_is_read(tmp_path: Path, end: str, mark: str) -> None:
    """Whatever ends its lines, and with a byte order mark or without."""
    lines = ["# of the department", "", HEADER, GOOD, "  # more", 'L,"X,1",,,RID1301,"Lung, both"', ""]
    found = read(tmp_path, mark + end.join(lines))
    assert found.of(LOCAL) == (
        Coding("29252-4", "CT Chest", "http://loinc.org"),
        Coding("RPID16", "CT Chest", "http://www.radlex.org"),
    )
    assert found.of(Coding("X,1", system="L"))[0].text == "Lung, both"
    assert len(found.codes) == 2


def test_a_procedure_is_known_by_its_system_and_code() -> None:
    """Systems are compared without case and codes with it; another system's equal code is another."""
    assert CODES.knows(Coding("CTCH", "other words", "99site"))
    assert not CODES.knows(Coding("ctch", system="99SITE"))
    assert not CODES.knows(Coding("CTCH", system="L"))
    assert CODES.of(Coding("CTCH", system="L")) == ()


def test_a_system_is_the_same_by_name_and_by_uri(tmp_path: Path) -> None:
    """C4 in a message and CPT's URI in the file are one system."""
    found = read(tmp_path, f"{HEADER}\nhttp://www.ama-assn.org/go/cpt,71250,24627-2,CT,,")
    assert found.knows(Coding("71250", system="C4"))


@pytest.mark.parametrize(
    ("lines", "line", "expected"),
    [
        ("", 1, "header"),
        ("# only a comment", 1, "header"),
        ("system,code,loinc", 1, "header"),
        (f"#\n{GOOD}", 2, "header"),
        (f"{HEADER}\nL,1,24627-2,x,RPID16", 2, "6 cells"),
        (f"{HEADER}\nL,1,24627-2,x,RPID16,x,y", 2, "6 cells"),
        (f"{HEADER}\nL,,24627-2,x,,", 2, "the code of a procedure"),
        (f"{HEADER}\nL,1,24627-3,x,,", 2, "check digit"),
        (f"{HEADER}\nL,1,CT,x,,", 2, "LOINC"),
        (f"{HEADER}\nL,1,,,RAD16,x", 2, "RadLex"),
        (f"{HEADER}\nL,1,,,,", 2, "neither"),
        (f"{HEADER}\n\n# x\n{GOOD}\n{GOOD}", 5, "line 4 again"),
        (f"{HEADER}\n{GOOD}\n99site,CTCH,,,RPID16,", 3, "line 2 again"),
        (f'{HEADER}\nL,"1,24627-2,x,,', 2, "quote"),
        (f'{HEADER}\nL,"1"2,24627-2,x,,', 2, "quote"),
        (f"{HEADER}\nL,1\x00,24627-2,x,,", 2, "control characters"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(tmp_path: Path, lines: str, line: int, expected: str) -> None:
    """A person finds the line and reads what belongs there."""
    with pytest.raises(UnreadableCodes, match=f"Line {line}: .*{expected}"):
        read(tmp_path, lines)


def test_other_bytes_than_utf8_are_told_by_their_line(tmp_path: Path) -> None:
    """A file that Excel saved in another character set is not read wrongly."""
    with pytest.raises(UnreadableCodes, match="Line 2: expected UTF-8"):
        read(tmp_path, f"{HEADER}\nL,1,24627-2,Sch\u00e4del,,".encode("latin-1"))


def test_a_file_is_read_up_to_its_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file at the cap is read and one byte more is not."""
    content = f"{HEADER}\n{GOOD}\n"
    monkeypatch.setattr(codes, "MAX_FILE_BYTES", len(content))
    assert read(tmp_path, content).knows(LOCAL)
    with pytest.raises(UnreadableCodes, match="at most"):
        read(tmp_path, content + "\n")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """And so is a folder in its place."""
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UnreadableCodes, match="readable file"):
            read_codes(path)


@pytest.mark.parametrize("code", ["24627-2", "30746-2", "18748-4", "36643-5", "1-8"])
def test_a_loinc_number_has_its_check_digit(code: str) -> None:
    """Any other last digit is refused: a mistyped code is another examination."""
    assert is_loinc(code)
    stem, _, digit = code.partition("-")
    assert not any(is_loinc(f"{stem}-{other}") for other in range(10) if other != int(digit))


@pytest.mark.parametrize(
    "code", ["", "24627", "24627-", "-2", "24627-22", " 24627-2", "12345678-1", "24627-x"]
)
def test_what_is_no_loinc_number_is_refused(code: str) -> None:
    """Digits, a hyphen and one digit."""
    assert not is_loinc(code)


@pytest.mark.parametrize(
    ("code", "good"),
    [
        ("RID1301", True),
        ("RPID16", True),
        ("RID", False),
        ("rid1", False),
        ("RID123456789", False),
        ("X1", False),
    ],
)
def test_radlex_identifiers_are_told_by_their_form(code: str, good: bool) -> None:
    """RID of a term, RPID of the Playbook."""
    assert is_radlex(code) is good


def test_a_mapped_procedure_is_loinc_radlex_and_the_sites_own() -> None:
    """In this order, and with the words of the order."""
    concept = code_of(LOCAL, CODES)
    assert [coding["system"] for coding in concept["coding"]] == [
        "http://loinc.org",
        "http://www.radlex.org",
        "urn:prelim:codes:99SITE",
    ]
    assert [coding["code"] for coding in concept["coding"]] == ["29252-4", "RPID16", "CTCH"]
    assert concept["text"] == "CT chest"


def test_a_mapped_procedure_is_not_told_twice() -> None:
    """Where the site orders in LOINC, its own code is LOINC's."""
    same = Coding("29252-4", "CT Chest", "LN")
    mapped = CodeMap({("http://loinc.org", "29252-4"): CODES.of(LOCAL)})
    assert [coding["code"] for coding in code_of(same, mapped)["coding"]] == ["29252-4", "RPID16"]


def test_a_procedure_that_the_map_lacks_is_as_without_a_map() -> None:
    """LOINC 18748-4 beside the words of the order."""
    other = Coding("MRKN", "MR knee", "99SITE")
    assert code_of(other, CODES) == code_of(other)
    assert code_of(other)["coding"][0]["code"] == "18748-4"


@given(st.text(max_size=200))
def test_any_file_is_read_or_refused(content: str) -> None:
    """No content is an error of another kind."""
    try:
        dict(codes._entries(content))
    except UnreadableCodes:
        return
