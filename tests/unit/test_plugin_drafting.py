"""What becomes of a case whose images cannot be drafted from, and what the drafter is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, SecondaryCaptureImageStorage

from connectors.dicomweb.client import DicomwebClient
from connectors.sandbox.pacs import SandboxPacs
from model.load import SCRIPTED_WEIGHTS
from model.manifest import read_manifest
from model.scripted import ScriptedDrafter
from model.study import ClinicalContext, Draft, Drafter, Unfit, Unsure, Volume
from plugin.casework import find_case
from plugin.db import Database
from plugin.drafting import Drafting
from plugin.orders import take_order, take_study
from plugin.settings import Settings
from plugin.tables import AuditLeaf, DraftRecord
from tests.case_samples import (
    ADA,
    UID,
    Jobs,
    a_study,
    an_order,
    fresh_database,
    holds,
    state_of,
)
from tests.dicom import ct_image, ct_series, encoded, phantom


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


class Says(ScriptedDrafter):
    """A drafter that refuses, or drafts as the scripted one does; it keeps what it was told."""

    def __init__(self, refusal: Unfit | None = None) -> None:
        super().__init__(read_manifest(SCRIPTED_WEIGHTS))
        self.refusal = refusal
        self.told: list[ClinicalContext] = []

    def draft(self, volume: Volume, context: ClinicalContext) -> Draft:
        """As the protocol says."""
        self.told.append(context)
        if self.refusal:
            raise self.refusal
        return super().draft(volume, context)


def ours(image: Dataset) -> bytes:
    """An image of the study and patient of the order."""
    image.StudyInstanceUID, image.AccessionNumber = UID, "ACC1"
    image.PatientID, image.IssuerOfPatientID = ADA.identifier, ADA.assigning_authority
    return encoded(image)


def chest() -> list[bytes]:
    """A small series that can be read."""
    return [ours(image) for image in ct_series(phantom())]


def drafted(
    database: Database, files: list[bytes], drafter: Drafter, ordered: str = "", site: str = "en"
) -> tuple[str, Jobs]:
    """Order and images come, and a draft is due. Returns the case's reason and what was asked for.

    ordered, site: language of the order and of the site.
    """
    jobs = Jobs()
    with database.write() as session:
        take_study(session, a_study(), jobs.enqueue, "archive")
        case = take_order(session, an_order(language=ordered), jobs.enqueue, "hl7:RIS")
    with SandboxPacs() as pacs:
        pacs.hold_files(files)
        with DicomwebClient(pacs.dicomweb_url, timeout_seconds=10) as client:
            settings = Settings(ris="127.0.0.1:9", language=site)
            Drafting(settings, database, jobs.enqueue, client, drafter).draft(case.id, 1, 0)
    with database.read() as session:
        found = find_case(session, "ACC1")
        assert found is not None
        return found.reason, jobs


def assert_nothing_left(database: Database, jobs: Jobs, reason: str) -> None:
    """The case failed with the reason, the log says so, and no draft was kept or is to be sent."""
    assert state_of(database) == "FAILED"
    assert {job.kind for job in jobs.asked} == {"draft"}
    with database.read() as session:
        assert session.scalars(sa.select(DraftRecord)).all() == []
        leaf = session.scalars(sa.select(AuditLeaf).where(AuditLeaf.action == "case.failed")).one()
    assert json.loads(leaf.entry)["details"]["reason"] == reason
    assert holds(database)


@pytest.mark.parametrize(
    "refusal", [Unsure("No finding is clear enough."), Unfit("No finding is clear enough.")]
)
def test_images_that_the_drafter_does_not_understand_are_not_drafted(
    database: Database, refusal: Unfit
) -> None:
    """A drafter that abstains fails the case with its reason; nothing is kept or sent, the log says why."""
    reason, jobs = drafted(database, chest(), Says(refusal))
    assert reason == "The images could not be assessed: No finding is clear enough."
    assert_nothing_left(database, jobs, reason)


def pdf() -> list[bytes]:
    """A study that holds a document alone."""
    image = ct_image(phantom()[0], "1.2", "1.3")
    image.SOPClassUID, image.Modality = EncapsulatedPDFStorage, "DOC"
    for name in ("Rows", "Columns", "PixelData"):
        delattr(image, name)
    return [ours(image)]


def screenshot(modality: str, samples: int) -> list[bytes]:
    """A picture of a screen: eight bits, without a place in the patient."""
    image = ct_image(np.zeros((6, 8), np.float32), "1.2", "1.3")
    image.SOPClassUID, image.Modality = SecondaryCaptureImageStorage, modality
    image.ImageType = ["DERIVED", "SECONDARY"]
    del image.RescaleSlope, image.RescaleIntercept
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 7, 0, samples
    image.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    image.PixelData = bytes(6 * 8 * samples)
    return [ours(image)]


def one_slice() -> list[bytes]:
    """One slice that says neither where it lies nor how thick it is."""
    return [ours(ct_image(phantom()[0], "1.2", "1.3"))]


def two_at_one_place() -> list[bytes]:
    """Slices of which none lies above another."""
    return [ours(image) for image in ct_series(phantom(), ImagePositionPatient=[0, 0, 0])]


@pytest.mark.parametrize(
    ("study", "why"),
    [
        (pdf, "expected a series of modality"),
        (lambda: screenshot("OT", 3), "expected a series of modality"),
        (lambda: screenshot("CT", 3), "its pixels are no grey values"),
        (lambda: screenshot("CT", 1), "left from right"),
        (one_slice, "left from right"),
        (two_at_one_place, "same place"),
    ],
    ids=["document", "screenshot", "coloured CT", "grey CT screenshot", "one slice", "two at one place"],
)
def test_a_study_without_a_usable_series_is_not_drafted(
    database: Database, study: Callable[[], list[bytes]], why: str
) -> None:
    """Documents, screenshots and single images fail the case with what is wrong with them."""
    drafter = Says()
    reason, jobs = drafted(database, study(), drafter)
    assert reason.startswith("The study could not be read: ")
    assert why in reason
    assert drafter.told == []
    assert not [word for word in (ADA.identifier, ADA.family_name, UID) if word in reason]
    assert_nothing_left(database, jobs, reason)


@pytest.mark.parametrize(("ordered", "site", "asked"), [("de", "ko", "de"), ("", "ko", "ko")])
def test_the_drafter_is_asked_for_the_language_of_order_or_site(
    database: Database, ordered: str, site: str, asked: str
) -> None:
    """The order's language, kept with the case, wins over PRELIM_LANGUAGE."""
    drafter = Says()
    drafted(database, chest(), drafter, ordered, site)
    assert [context.language for context in drafter.told] == [asked]
    assert state_of(database) == "DRAFTED"
