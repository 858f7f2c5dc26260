"""A FHIR server without a socket, and a database that follows it; every request is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from connectors.exchange import Order, Patient, ReportStatus
from connectors.fhir.client import FhirClient
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.retrying import ONE_ATTEMPT
from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.fhir_radiologist import signed_version
from connectors.sandbox.fhir_statement import Lack
from plugin.casework import find_case
from plugin.db import Database
from plugin.following import Following
from plugin.intake import Intake
from plugin.notices import notice
from plugin.orders import take_order, take_study
from plugin.pipeline import rules
from plugin.publishing import Publishing
from plugin.settings import Settings
from plugin.tables import AuditLeaf, Case, DraftRecord, FhirNotice, Message, SignOff
from tests.case_samples import Jobs, a_study, fresh_database, store_draft
from tests.site import new_order

Resource = dict[str, Any]

SYSTEMS = IdentifierSystems()
DICOM = "http://dicom.nema.org/resources/ontology/DCM"
PATIENT_SYSTEM = "urn:prelim:patient:TESTHOSP"
ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}


def patient_resource(patient: Patient) -> Resource:
    """A patient as other programs write one."""
    return {
        "resourceType": "Patient",
        "identifier": [{"system": PATIENT_SYSTEM, "value": patient.identifier}],
        "name": [{"family": patient.family_name, "given": [patient.given_name]}],
        "gender": patient.sex,
    }


def request_resource(order: Order, patient: str) -> Resource:
    """An order as a ServiceRequest; patient: reference of its Patient."""
    return {
        "resourceType": "ServiceRequest",
        "identifier": [
            {"type": ACSN, "system": SYSTEMS.accession, "value": order.accession},
            {"type": {"coding": [{"code": "PLAC"}]}, "value": order.placer_order_number},
            {"type": {"coding": [{"code": "FILL"}]}, "value": order.filler_order_number},
            {"system": "urn:dicom:uid", "value": f"urn:oid:{order.study_instance_uid}"},
        ],
        "status": "active",
        "intent": "order",
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "363679005"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}]},
        "orderDetail": [{"coding": [{"system": DICOM, "code": order.modality}]}],
        "subject": {"reference": patient},
        "reasonCode": [{"text": order.clinical_question}],
    }


def study_resource(order: Order, patient: str) -> Resource:
    """The study of an order as an ImagingStudy; patient: reference of its Patient."""
    return {
        "resourceType": "ImagingStudy",
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{order.study_instance_uid}"},
            {"type": ACSN, "system": SYSTEMS.accession, "value": order.accession},
        ],
        "status": "available",
        "subject": {"reference": patient},
        "modality": [{"system": DICOM, "code": order.modality}],
        "numberOfInstances": 32,
    }


class Wire(httpx.WSGITransport):
    """Counts requests; answers 500 where `fails` says so; a server that holds `page` matches a page."""

    def __init__(self, server: FhirServer, page: int = 0) -> None:
        super().__init__(app=server.application)
        self.asked: list[str] = []
        """Method and path of each request, the newest last."""
        self.fails: Callable[[str], bool] = lambda path: False
        self._page = str(page) if page else ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        told = f"{request.method} {request.url.path.removeprefix('/fhir')}"
        self.asked.append(told)
        if self.fails(told):
            return httpx.Response(500, request=request)
        if self._page and request.url.path.endswith("/_search"):
            form = dict(httpx.QueryParams(request.read().decode()))
            request = httpx.Request(
                "POST",
                request.url,
                headers={"Accept": "application/fhir+json"},
                data={**form, "_count": self._page},
            )
        elif self._page and "_count" in request.url.params:
            request = httpx.Request(
                request.method, request.url.copy_set_param("_count", self._page), headers=request.headers
            )
        return super().handle_request(request)


class Followed:
    """One installation on one FHIR server."""

    def __init__(
        self, database: Database, server: FhirServer | None = None, page: int = 0, **settings: Any
    ) -> None:
        self.database = database
        self.fhir = server or FhirServer(port=8099, lacks=settings.pop("lacks", frozenset[Lack]()))
        self.store = self.fhir.store
        self.wire = Wire(self.fhir, page)
        self.client = FhirClient(self.fhir.base_url, transport=self.wire, patience=ONE_ATTEMPT)
        self.settings = Settings(database_url=database.url, fhir_url=self.fhir.base_url, **settings)
        self.jobs = Jobs()
        self.intake = Intake(database, self.jobs.enqueue, rules(self.settings))
        self.following = self.another()

    def another(self) -> Following:
        """What another process of this installation follows with."""
        return Following(self.settings, self.database, self.intake, self.client, SYSTEMS)

    # --- what stands on the server ------------------------------------------------------------------

    def put(self, kind: str, identity: str, **elements: Any) -> str:
        """Write a resource as another program would; its reference."""
        return self.write({"resourceType": kind, "id": identity, **elements})

    def write(self, resource: Resource) -> str:
        """Write a resource as it is; its reference."""
        self.store.update(resource["resourceType"], resource["id"], resource)
        return f"{resource['resourceType']}/{resource['id']}"

    def patient(self, patient: Patient) -> str:
        """The resource of a patient."""
        return self.write({**patient_resource(patient), "id": f"pat-{patient.identifier}"})

    def request(self, order: Order, **changes: Any) -> str:
        """The order as a ServiceRequest."""
        request = request_resource(order, self.patient(order.patient))
        return self.write({**request, "id": f"req-{order.accession}", **changes})

    def study(self, order: Order, **changes: Any) -> str:
        """The study of the order as an ImagingStudy."""
        study = study_resource(order, self.patient(order.patient))
        return self.write({**study, "id": f"img-{order.accession}", **changes})

    def published(self, order: Order | None = None) -> tuple[Order, str]:
        """A case whose draft stands on the server; the order, and where the draft stands."""
        order = order or new_order()
        with self.database.write() as session:
            uid, patient = order.study_instance_uid, order.patient
            study = a_study(order.accession, patient=patient, study_instance_uid=uid)
            take_study(session, study, self.jobs.enqueue, "archive")
            case = take_order(session, order, self.jobs.enqueue, "hl7:RIS")
            store_draft(session, case)
            case_id = case.id
        Publishing(self.settings, self.database, self.jobs.enqueue, self.client, SYSTEMS).publish(
            case_id, 1, 0
        )
        with self.database.read() as session:
            (reference,) = session.scalars(
                sa.select(DraftRecord.reference).where(DraftRecord.case_id == case_id)
            )
        self.jobs.asked.clear()
        return order, reference

    def sign(
        self, reference: str, text: str = "Impression: Normal.", name: str = "Rosa", **changes: Any
    ) -> None:
        """A person's next version of a report; an element that is None is taken away."""
        kind, _, identity = reference.partition("/")
        draft = self.store.read(kind, identity).resource
        assert draft is not None
        report = signed_version(draft, text, status=changes.pop("status", ReportStatus.FINAL))
        report["resultsInterpreter"] = [{"reference": self.doctor(name)}]
        report |= changes
        self.write({name: value for name, value in report.items() if value is not None})

    def doctor(self, name: str = "Rosa") -> str:
        """A radiologist."""
        return self.put("Practitioner", f"doc-{name}", name=[{"family": name}], identifier=[{"value": name}])

    def report(self, order: Order, identity: str, **changes: Any) -> str:
        """A person's own final report of an order, beside ours."""
        elements: Resource = {
            "identifier": [{"type": ACSN, "system": SYSTEMS.accession, "value": order.accession}],
            "status": "final",
            "category": [
                {"coding": [{"code": "RAD", "system": "http://terminology.hl7.org/CodeSystem/v2-0074"}]}
            ],
            "code": {"text": "CT Chest"},
            "subject": {"reference": self.patient(order.patient)},
            "resultsInterpreter": [{"reference": self.doctor()}],
            "conclusion": "Normal.",
        }
        whole = {**elements, **changes}
        kept = {name: value for name, value in whole.items() if value is not None}
        return self.put("DiagnosticReport", identity, **kept)

    # --- what came of it ----------------------------------------------------------------------------

    def tell(self, reference: str) -> None:
        """A notice of it, as a notification leaves one."""
        with self.database.write() as session:
            notice(session, reference, "test")

    @property
    def waiting(self) -> list[str]:
        """The notices that wait."""
        with self.database.read() as session:
            return list(session.scalars(sa.select(FhirNotice.reference).order_by(FhirNotice.noticed_at)))

    @property
    def messages(self) -> list[Message]:
        """The resources that were taken, oldest first."""
        with self.database.read() as session:
            return list(
                session.scalars(sa.select(Message).where(Message.channel == "fhir").order_by(Message.id))
            )

    @property
    def names(self) -> list[str]:
        """The versions that were taken, oldest first."""
        return [message.control_id for message in self.messages]

    def case(self, order: Order) -> Case:
        """The case of an order."""
        with self.database.read() as session:
            case = find_case(session, order.accession)
            assert case is not None, "there is no such case"
            return case

    def signoffs(self, order: Order) -> list[SignOff]:
        """What persons wrote of a case, oldest first."""
        chosen = sa.select(SignOff).where(SignOff.case_id == self.case(order).id).order_by(SignOff.id)
        with self.database.read() as session:
            return list(session.scalars(chosen))

    def actions(self, action: str) -> int:
        """How often the log says it."""
        with self.database.read() as session:
            chosen = sa.select(sa.func.count()).select_from(AuditLeaf).where(AuditLeaf.action == action)
            return session.scalar(chosen) or 0


@contextmanager
def followed(folder: Path, **settings: Any) -> Iterator[Followed]:
    """One installation over a fresh database."""
    with fresh_database(folder) as database:
        yield Followed(database, **settings)
