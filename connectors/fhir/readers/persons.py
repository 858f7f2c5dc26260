"""Who is named in a dossier: the signer of a report, who ordered. Pure."""

from __future__ import annotations

from typing import Any

from connectors.exchange import Practitioner
from connectors.fhir.attachment import clean
from connectors.fhir.elements import record, records, text, texts
from connectors.fhir.readers.dossier import PERSONS, Dossier, references, resolve
from connectors.fhir.readers.words import concept_words, exact

Resource = dict[str, Any]

PRACTITIONERS = frozenset({"Practitioner"})


def signer_of(dossier: Dossier) -> Practitioner | None:
    """The named person responsible for the report; None when there is none. A Device is never a signer.

    resultsInterpreter says who is responsible for the conclusions, performer may also be an
    organization (FHIR R4 DiagnosticReport): a bare display is believed only of the first. The role says
    which of the two it was, and what the PractitionerRole calls the person.
    """
    for element, bare in (("resultsInterpreter", True), ("performer", False)):
        person = person_of(dossier, element, bare=bare)
        if person is not None:
            return person
    return None


def person_of(dossier: Dossier, element: str, *, bare: bool) -> Practitioner | None:
    """The first named person of an element of the focus; bare: whether a display alone is believed."""
    for reference in references(dossier.focus, element):
        person = _person(dossier, element, reference, bare=bare)
        if person is not None and person.printed_name:
            return person
    return None


def _person(dossier: Dossier, element: str, reference: Resource, *, bare: bool) -> Practitioner | None:
    resource = resolve(dossier, dossier.focus, reference, kinds=PERSONS)
    role = element
    if resource is not None and text(resource, "resourceType") == "PractitionerRole":
        named = next(filter(None, map(concept_words, records(resource, "code"))), "")
        role = f"{element}, {named}" if named else element
        practitioner = record(resource, "practitioner")
        resource = resolve(dossier, resource, practitioner, kinds=PRACTITIONERS)
        reference = {**reference, **practitioner}
    if resource is not None:
        named_person = _named(resource, role)
        if named_person.printed_name:
            return named_person
    display = text(reference, "display")
    kind = _kind(reference)
    if display and (kind in PERSONS or (bare and not kind)):
        return Practitioner(family_name=" ".join(clean(display).split()), role=role)
    return None


def _kind(reference: Resource) -> str:
    """Type that a reference claims to lead to; empty when it does not say."""
    target = text(reference, "reference")
    steps = target.partition("/_history/")[0].split("/")
    if target.startswith("#"):
        return "contained"
    return steps[-2] if len(steps) > 1 else text(reference, "type")


def _named(resource: Resource, role: str) -> Practitioner:
    names = records(resource, "name")
    names.sort(key=lambda name: text(name, "use") not in {"official", "usual", ""})
    name = names[0] if names else {}
    identifiers = (exact(one, "value") for one in records(resource, "identifier"))
    family = clean(text(name, "family")).strip()
    given = clean(" ".join(texts(name, "given"))).strip()
    return Practitioner(
        identifier=next(filter(None, identifiers), ""),
        family_name=family if family or given else clean(text(name, "text")).strip(),
        given_name=given,
        prefix=clean(" ".join(texts(name, "prefix"))).strip() if family or given else "",
        role=role,
    )
