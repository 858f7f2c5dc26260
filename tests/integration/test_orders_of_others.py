"""The main job on orders and images that nobody here wrote, against HAPI FHIR and Orthanc."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from connectors.dicomweb.uids import new_uid
from connectors.exchange import Order
from connectors.hl7.message import parse
from connectors.hl7.orders import orders
from model.load import SCRIPTED_WEIGHTS, SHIPPED_WEIGHTS
from plugin.pipeline import places
from tests.site import Peers, Site, running, sqlite

ACCESSION_PLACES = ("IPC-1", "OBR-18", "ORC-3")
ORDERS = (
    "dcm4che/OMI_O23-ImagingOrder.hl7",
    "dcm4che/ORM_O01-GeneralOrder.hl7",
    "fhir-converter/ORM-O01-01.hl7",
    "fhir-converter/ORM-O01-02.hl7",
    "fhir-converter/ORM-O01-03.hl7",
)
IMAGES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")


@pytest.fixture
def peers(hapi_url: str, dicomweb_url: str, orthanc_url: str) -> Peers:
    """The real ones."""
    return Peers(hapi_url, dicomweb_url, orthanc_url)


def _site(peers: Peers, folder: Path, model: Path, **settings: Any) -> Any:
    return running(peers, sqlite(folder), model=model, accession_places=ACCESSION_PLACES, **settings)


@pytest.fixture
def site(peers: Peers, tmp_path: Path) -> Iterator[Site]:
    """Prelim with a drafter that takes every modality, among the real peers."""
    with _site(peers, tmp_path, SCRIPTED_WEIGHTS) as site:
        yield site


def _image_of(order: Order, name: str, study: str) -> bytes:
    """A file of the pydicom wheel, made this order's."""
    file = get_testdata_file(name)
    assert file is not None
    image = dcmread(file)
    image.PatientID = order.patient.identifier
    image.IssuerOfPatientID = order.patient.assigning_authority
    image.AccessionNumber = order.accession
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = study, new_uid(), new_uid()
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    out = BytesIO()
    image.save_as(out)
    return out.getvalue()


def _own(body: bytes, mark: str) -> bytes:
    """The order as it came, except for the study and accession, which a shared archive must not have yet."""
    for word in (b"1.2.392.200036.9125.0.198811291108.7", b"AccessionNumber", b"1201^GHH", b"2301^GHH"):
        fresh = new_uid().encode() if word.startswith(b"1.2.") else mark.encode() + word
        body = body.replace(word, fresh)
    return body


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_of_others_becomes_a_preliminary_report(site: Site, corpora: Path, name: str) -> None:
    """A radiology order from another project's samples leads to one preliminary report for each accession."""
    body = _own((corpora / "hl7" / name).read_bytes(), new_uid()[-8:])
    placed = orders(parse(body), places(site.settings))
    for order in placed:
        image = "MR_small.dcm" if "MR" in order.procedure.text else "CT_small.dcm"
        site.store([_image_of(order, image, order.study_instance_uid or new_uid())])
    assert site.ris.send(body).code == "AA"
    for order in placed:
        case = site.comes_to(order, "PUBLISHED")
        (report,) = site.reports(case)
        assert report["status"] == "preliminary"
    assert len(placed) == (2 if name.endswith("03.hl7") else 1)


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_the_weights_cannot_assess_are_never_drafted(
    peers: Peers, corpora: Path, tmp_path: Path, name: str
) -> None:
    """One slice, or a modality that the shipped weights do not know, fails the case instead of guessing."""
    with _site(peers, tmp_path, SHIPPED_WEIGHTS) as site:
        body = _own((corpora / "hl7" / ORDERS[0]).read_bytes(), new_uid()[-8:])
        (order,) = orders(parse(body), places(site.settings))
        site.store([_image_of(order, name, order.study_instance_uid)])
        assert site.ris.send(body).code == "AA"
        case = site.comes_to(order, "FAILED", seconds=120)
        assert case.reason.startswith(("The images could not be assessed:", "The study could not be read:"))
        assert site.reports(case) == []
