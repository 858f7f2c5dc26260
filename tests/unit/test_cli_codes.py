"""`prelim codes` and the doctor's look at them: what is mapped, what is ordered and lacking."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from connectors.exchange import Coding
from connectors.fhir.drafts.codes import COLUMNS, CodeMap
from connectors.sandbox.ris import order_message
from plugin.db import Database, now
from plugin.doctor import RECENT_DAYS, examine
from plugin.intake import Intake
from plugin.pipeline import codes
from plugin.procedures import unmapped
from plugin.settings import SettingError, Settings
from plugin.tables import Case
from tests.case_samples import Jobs, an_order, fresh_url
from tests.command_line import invoke, told

AT = datetime(2026, 1, 6, 9, 30).astimezone()
CT, KNEE, HEAD = (
    Coding("CTCH", "CT chest", "99SITE"),
    Coding("MRKN", "MR knee", "99SITE"),
    Coding("H", "", "L"),
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Three knees, one chest, one head; the file maps the chest."""
    monkeypatch.chdir(tmp_path)
    url = fresh_url(tmp_path)
    file = tmp_path / "codes.csv"
    file.write_text(f"{','.join(COLUMNS)}\n99site,CTCH,29252-4,CT Chest,RPID16,CT Chest\n", encoding="utf-8")
    monkeypatch.setenv("PRELIM_DATABASE_URL", url)
    monkeypatch.setenv("PRELIM_PROCEDURE_CODES", str(file))
    database = Database(url)
    intake = Intake(database, Jobs().enqueue)
    for number, procedure in enumerate([KNEE, CT, KNEE, HEAD, dataclasses.replace(KNEE, system="99Site")]):
        order = an_order(f"ACC{number}", procedure=procedure, study_instance_uid=f"1.2.{number}")
        intake.receive(order_message(order, f"M{number}", AT), "127.0.0.1:1")
    database.close()
    return Settings(database_url=url, procedure_codes=file)


def codes_finding(settings: Settings) -> tuple[bool, str]:
    return next((one.well, one.said) for one in examine(settings) if one.name == "procedure codes")


def test_list_prints_what_the_file_says(site: Settings) -> None:
    """A row a procedure, in the file's own columns."""
    assert told("codes", "list") == [
        {
            "system": "99SITE",
            "code": "CTCH",
            "loinc": "29252-4",
            "loinc_display": "CT Chest",
            "radlex": "RPID16",
            "radlex_display": "CT Chest",
        }
    ]
    assert "29252-4" in invoke("codes", "list").output


def test_unmapped_prints_what_the_map_lacks_the_most_frequent_first(site: Settings) -> None:
    """With how many cases and the newest day, and nothing of a patient."""
    rows = told("codes", "unmapped")
    assert [(row["code"], row["cases"]) for row in rows] == [("MRKN", 3), ("H", 1)]
    assert rows[0]["newest"] == now().date().isoformat()
    assert set(rows[0]) == {"system", "code", "text", "cases", "newest"}
    output = invoke("codes", "unmapped").output
    assert "MR knee" in output
    assert "CTCH" not in output
    assert not [word for word in ("PAT-1", "Example", "Ada", "ACC0") if word in output]


def test_only_what_was_ordered_since_a_moment_is_counted(site: Settings) -> None:
    """A case of that very moment counts, one a second older does not."""
    moment = now() - timedelta(days=10)
    database = Database(site.database_url)
    with database.write() as session:
        cases = session.query(Case).order_by(Case.accession).all()
        for case in cases:
            case.created_at = moment - timedelta(days=1)
        cases[0].created_at = moment
        cases[2].created_at = moment - timedelta(seconds=1)
    with database.read() as session:
        found = unmapped(session, CodeMap(), moment)
    database.close()
    assert [(one.procedure.code, one.cases) for one in found] == [("MRKN", 1)]


def test_the_doctor_counts_rows_and_what_is_lacking(site: Settings) -> None:
    """A file that can be read is well, and says what to do about the rest."""
    well, said = codes_finding(site)
    assert well
    assert said.startswith(f"1 procedures in the file; 2 that were ordered in the last {RECENT_DAYS} days")


def test_the_doctor_names_the_line_that_is_wrong(site: Settings) -> None:
    """And the setting that leads to it."""
    assert site.procedure_codes is not None
    with site.procedure_codes.open("a", encoding="utf-8") as file:
        file.write("L,1,24627-3,,,\n")
    well, said = codes_finding(site)
    assert not well
    assert said.startswith("PRELIM_PROCEDURE_CODES: Line 3:")
    with pytest.raises(SettingError):
        codes(site)


def test_without_a_file_nothing_is_mapped_and_nothing_is_wrong(site: Settings) -> None:
    """The map is the site's to give."""
    silent = dataclasses.replace(site, procedure_codes=None)
    assert codes(silent).codes == {}
    assert codes_finding(silent) == (
        True,
        "not set; procedures without a code of their own go out as LOINC 18748-4",
    )
