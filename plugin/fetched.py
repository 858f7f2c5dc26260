"""What a resource fetched from the FHIR server turns out to be, and what it concerns. Pure.

It is kept like an HL7 message: as the bytes of its dossier, from which it can be read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from connectors.errors import Malformed
from connectors.fhir.identifiers import values_of
from connectors.fhir.readers.dossier import Dossier
from connectors.fhir.readers.orders import read_order
from connectors.fhir.readers.signoff import read_reports
from connectors.fhir.readers.studies import read_study
from connectors.fhir.readers.validation import check
from plugin.incoming import Arrival, Form, Incoming, Rules, storable
from plugin.listeners import FETCHED
from plugin.messages import LONGEST

FHIR = FETCHED
FHIR_RULES = Rules(listener=FHIR, form=Form.FHIR)
ACTOR = "fhir-server"


def _order(found: Incoming, dossier: Dossier) -> None:
    found.orders = (read_order(dossier, systems=found.arrival.rules.systems),)


def _study(found: Incoming, dossier: Dossier) -> None:
    study = read_study(dossier, systems=found.arrival.rules.systems)
    found.studies = (study,) if study else ()


def _report(found: Incoming, dossier: Dossier) -> None:
    arrival = found.arrival
    found.reports = read_reports(dossier, systems=arrival.rules.systems, expected=arrival.expected)


READERS: Mapping[str, Callable[[Incoming, Dossier], None]] = {
    "ServiceRequest": _order,
    "ImagingStudy": _study,
    "DiagnosticReport": _report,
}
"""By type, what reads a resource."""


def read_fetched(arrival: Arrival) -> Incoming:
    """Read one resource. What is wrong with it is its refusal; nothing is raised."""
    found = Incoming(arrival, hashlib.sha256(arrival.body).hexdigest(), actor=ACTOR)
    dossier: Dossier | None = None
    try:
        dossier = Dossier.from_body(arrival.body)
        found.sender, found.control_id = storable(dossier.base_url), storable(dossier.name)
        found.type = storable(dossier.kind)
        reader = READERS.get(dossier.kind)
        if reader is None:
            raise Malformed(f"Expected one of {', '.join(READERS)}, came another type of resource.")
        check(dossier.focus, release=arrival.rules.release)
        reader(found, dossier)
        _check_lengths(found)
    except Malformed as refusal:
        found.refusal = refusal
        # Whatever of it can still be read says whose case it would have been.
        found.concerned = [value for _, value in values_of(dossier.focus)] if dossier else []
    return found


def _check_lengths(found: Incoming) -> None:
    patients = [
        *(order.patient for order in found.orders),
        *(study.patient for study in found.studies),
        *(report.patient for report in found.reports),
    ]
    identifying = [
        *(order.accession for order in found.orders),
        *(study.accession for study in found.studies),
        *(report.accession for report in found.reports),
        *(text for one in patients for text in (one.identifier, one.assigning_authority)),
    ]
    if any(len(value) > LONGEST or "\x00" in value for value in identifying):
        raise Malformed(f"Expected identifiers of at most {LONGEST} characters, came a longer one.")
