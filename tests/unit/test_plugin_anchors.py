"""Which case an opened report belongs to: by place, study or accession, and never for another patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from connectors.exchange import Order
from connectors.fhir.cast.events import Anchor
from connectors.fhir.identifiers import IdentifierSystems
from plugin.anchors import case_of, case_of_draft
from plugin.cases import CaseState
from plugin.casework import find_case, move
from plugin.db import Database
from plugin.orders import take_order
from plugin.tables import PatientLink
from tests.case_samples import ADA, AT, BEN, OTHER_UID, UID, Jobs, an_order, fresh_database, store_draft

SYSTEMS = IdentifierSystems()
ADAS = (frozenset({ADA.identifier, "another-number"}),)
BENS = (frozenset({BEN.identifier}),)
PLACE = "DiagnosticReport/17"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with Ada's case, whose draft stands at PLACE, and Ben's."""
    with fresh_database(tmp_path) as opened:
        with opened.write() as session:
            place(session, an_order("ACC1"))
            place(session, an_order("ACC2", patient=BEN, study_instance_uid=OTHER_UID))
            case = find_case(session, "ACC1")
            assert case is not None
            case.draft_number = 1
            move(session, case, CaseState.READY, "test")
            store_draft(session, case).reference = PLACE
            other = find_case(session, "ACC2")
            assert other is not None
            other.draft_number = 1
            move(session, other, CaseState.READY, "test")
            store_draft(session, other)  # not written anywhere yet
        yield opened


def place(session: Session, order: Order) -> None:
    take_order(session, order, Jobs().enqueue, "ris")


def found(database: Database, anchor: Anchor) -> tuple[str, bool] | None:
    """The accession of the case, and whether that is certain."""
    with database.read() as session:
        opened = case_of(session, anchor, SYSTEMS)
        return (opened.case.accession, opened.certain) if opened else None


@pytest.mark.parametrize(
    "anchor",
    [
        Anchor(PLACE),
        Anchor(studies=frozenset({UID})),
        Anchor(accessions=frozenset({"ACC1"})),
        Anchor("DiagnosticReport/of-the-ris", accessions=frozenset({"ACC1"}), studies=frozenset({UID})),
        Anchor(accessions=frozenset({"ACC1", "ACC-of-another-system"})),
    ],
)
def test_an_opened_report_is_found_by_place_study_or_accession(database: Database, anchor: Anchor) -> None:
    """With the patient named it is certain; without, or with another one, it is not."""
    assert found(database, replace(anchor, patients=ADAS)) == ("ACC1", True)
    assert found(database, anchor) == ("ACC1", False)
    assert found(database, replace(anchor, patients=BENS)) == ("ACC1", False)
    # Each place that names somebody must name the same person.
    assert found(database, replace(anchor, patients=(*ADAS, *BENS))) == ("ACC1", False)


def test_our_own_identifier_needs_no_patient(database: Database) -> None:
    """Nobody else gives it; but a patient who is named must be the case's."""
    with database.read() as session:
        case = find_case(session, "ACC1")
        assert case is not None
    anchor = Anchor(identifiers=frozenset({(SYSTEMS.report, case.id)}))
    assert found(database, anchor) == ("ACC1", True)
    assert found(database, replace(anchor, patients=BENS)) == ("ACC1", False)
    assert found(database, Anchor(identifiers=frozenset({("urn:ris", case.id)}), patients=ADAS)) is None


@pytest.mark.parametrize(
    "anchor",
    [
        Anchor(PLACE, accessions=frozenset({"ACC2"}), patients=ADAS),
        Anchor(PLACE, studies=frozenset({OTHER_UID}), patients=ADAS),
        Anchor(accessions=frozenset({"ACC1"}), studies=frozenset({"1.2.3"}), patients=ADAS),
    ],
)
def test_what_contradicts_itself_is_not_certain(database: Database, anchor: Anchor) -> None:
    """The ids of another system's reports may be those of ours."""
    assert found(database, anchor) == ("ACC1", False)


@pytest.mark.parametrize(
    "anchor",
    [
        Anchor(),
        Anchor(patients=ADAS),
        Anchor("DiagnosticReport/18", patients=ADAS),
        Anchor(accessions=frozenset({""}), studies=frozenset({""}), patients=ADAS),
        Anchor(accessions=frozenset({"ACC1", "ACC2"}), patients=ADAS),
        Anchor(accessions=frozenset({"ACC1"}), studies=frozenset({OTHER_UID}), patients=ADAS),
    ],
)
def test_none_or_several_cases_are_none(database: Database, anchor: Anchor) -> None:
    """A patient alone names no report."""
    assert found(database, anchor) is None


def test_a_patient_who_was_merged_is_the_one_who_survived(database: Database) -> None:
    """A workstation may know the one number or the other."""
    with database.write() as session:
        session.add(
            PatientLink(
                identifier=ADA.identifier,
                assigning_authority=ADA.assigning_authority,
                surviving_identifier="PAT-9",
                surviving_authority=ADA.assigning_authority,
                message_id=1,
                linked_at=AT,
            )
        )
    for identifier in ("PAT-9", ADA.identifier):
        assert found(database, Anchor(PLACE, patients=(frozenset({identifier}),))) == ("ACC1", True)


def test_a_place_leads_to_the_case_whose_draft_stands_there(database: Database) -> None:
    """And no other place to any."""
    with database.read() as session:
        case = case_of_draft(session, PLACE)
        assert case is not None
        assert case.accession == "ACC1"
        assert case_of_draft(session, "DiagnosticReport/18") is None
        assert case_of_draft(session, "") is None
