"""Imaging orders from ServiceRequest (FHIR R4 servicerequest.html, and R5's). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from connectors.errors import Malformed
from connectors.exchange import Coding, Order, OrderAction
from connectors.fhir.drafts.codes import CODE_SYSTEMS
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems, types_of
from connectors.fhir.readers.dossier import CONDITIONS, ENCOUNTERS, Dossier, references, resolve
from connectors.fhir.readers.keys import (
    ACCESSION,
    FILLER,
    PLACER,
    VISIT,
    identifiers_of,
    known_subject,
    study_uid,
    typed,
)
from connectors.fhir.readers.persons import person_of
from connectors.fhir.readers.words import (
    DICOM,
    SNOMED,
    codings,
    concept_words,
    concepts,
    exact,
    line,
    moment,
    paragraph,
)
from connectors.languages import language_code
from connectors.sides import BILATERAL, LEFT, RIGHT, side_words

Resource = dict[str, Any]

ACTIONS = {
    "active": OrderAction.PLACE,
    **dict.fromkeys(("revoked", "entered-in-error"), OrderAction.CANCEL),
    **dict.fromkeys(("draft", "on-hold", "completed", "unknown"), OrderAction.STATUS),
}
"""ServiceRequest.status. A resource shows its state and not what changed: an order and its change are both
PLACE. A hold asks for nothing, no report and no withdrawal either, as in HL7 v2."""
INTENTS = frozenset({"order", "original-order", "reflex-order", "filler-order", "instance-order"})
"""ServiceRequest.intent of what is authorised; a proposal, plan, directive or option is not."""
PRIORITIES = {"routine": "R", "urgent": "A", "asap": "A", "stat": "S"}
"""ServiceRequest.priority as HL7 table 0485."""
OTHER_CATEGORIES = {
    "108252007": "a laboratory procedure",
    "409063005": "counselling",
    "409073007": "education",
    "387713003": "a surgical procedure",
}
"""ServiceRequest.category in SNOMED CT (US Core) of what is no imaging."""
SIDES = {"7771000": LEFT, "24028007": RIGHT, "51440002": BILATERAL}
"""SNOMED CT qualifiers."""
MODIFIERS = {"LT": LEFT, "RT": RIGHT, "50": BILATERAL}
"""HCPCS and CPT modifiers, believed only under these systems."""
MODIFIER_SYSTEMS = frozenset(
    {"http://www.ama-assn.org/go/cpt", "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"}
)
SYSTEM_NAMES = {uri: name for name, uri in CODE_SYSTEMS.items()}
"""FHIR code system to the name that HL7 v2 orders use for it (table 0396), so that one order has one word."""

_MODALITY = re.compile(r"[A-Z]{2,16}")


def read_order(dossier: Dossier, *, systems: IdentifierSystems) -> Order:
    """The order as a ServiceRequest states it.

    1. See that it asks for imaging, and for what is meant to be done.
    2. Find what identifies it: accession number, patient, study.
    3. Read what is ordered, of which side, why, how soon and by whom.

    Raises Malformed, naming elements and no values, when it is no imaging order, lacks an accession number or
    a patient, contradicts itself, or says something that changes its meaning and is not known here.
    """
    order = dossier.focus
    # 1.
    if dossier.kind != "ServiceRequest":
        raise Malformed("Expected a ServiceRequest to read an order from, came another resource.")
    _check_meaning(order)
    action = ACTIONS.get(text(order, "status"))
    if action is None:
        raise Malformed(f"ServiceRequest.status: expected one of {', '.join(ACTIONS)}, came another.")
    # 2.
    accession = _accession(order, systems)
    patient = known_subject(dossier, systems)
    uid = study_uid(dossier)
    # 3.
    question, history = _clinical_words(dossier)
    return Order(
        action=action,
        accession=accession,
        patient=patient,
        procedure=_procedure(record(order, "code")),
        placer_order_number=next(iter(typed(order, PLACER, systems.placer)), ""),
        filler_order_number=next(iter(typed(order, FILLER, systems.filler)), ""),
        study_instance_uid=uid,
        modality=_modality(order),
        clinical_question=question,
        history=history,
        priority=PRIORITIES.get(text(order, "priority"), ""),
        ordering_provider=person_of(dossier, "requester", bare=True),
        ordered_at=moment(order.get("authoredOn")),
        laterality=_laterality(order),
        visit_number=_visit(dossier),
        service_request=dossier.reference,
        language=language_code(text(order, "language")),
    )


def _check_meaning(order: Resource) -> None:
    if order.get("modifierExtension"):
        # What a modifier extension says may turn the order into its opposite (FHIR R4 extensibility.html).
        raise Malformed(
            "ServiceRequest.modifierExtension: expected none, came one that is not known here; "
            "send the order without it, or by HL7."
        )
    if order.get("doNotPerform") not in {None, False}:
        raise Malformed("ServiceRequest.doNotPerform: expected an order, came that it must not be done.")
    if text(order, "intent") not in INTENTS:
        raise Malformed(
            f"ServiceRequest.intent: expected one of {', '.join(sorted(INTENTS))}, came another; "
            "only what is ordered is drafted."
        )
    other = another_department(order)
    if other:
        raise Malformed(
            f"ServiceRequest.category: expected imaging, came {other}; send only imaging orders here."
        )


def another_department(order: Resource) -> str:
    """What a ServiceRequest asks for, when its categories say that it is no imaging; else empty."""
    codes = {
        text(coding, "code")
        for category in concepts(order, "category")
        for coding in codings(category)
        if text(coding, "system") == SNOMED
    }
    others = codes & OTHER_CATEGORIES.keys()
    return OTHER_CATEGORIES[min(others)] if others and len(others) == len(codes) else ""


def _accession(order: Resource, systems: IdentifierSystems) -> str:
    found = typed(order, ACCESSION, systems.accession)
    # A requisition is shared by orders that were placed together: a number of one of them only if it says so.
    found = found or typed({"identifier": order.get("requisition")}, ACCESSION, systems.accession)
    if len(found) > 1:
        raise Malformed("ServiceRequest.identifier: expected one accession number, came several that differ.")
    if not found:
        raise Malformed(
            "ServiceRequest.identifier: names no accession number; expected one of type ACSN, or under the "
            "system that the setting for accession numbers names."
        )
    return found[0]


def _procedure(code: Resource) -> Coding:
    """The coding that the orderer chose, else the first; with what is read of the concept."""
    coded = [coding for coding in codings(code) if exact(coding, "code")]
    coded.sort(key=lambda coding: coding.get("userSelected") is not True)
    chosen = coded[0] if coded else {}
    system = exact(chosen, "system")
    return Coding(
        code=exact(chosen, "code"),
        text=line(record(code, "concept") or code, "text") or line(chosen, "display") or concept_words(code),
        system=SYSTEM_NAMES.get(system, system),
    )


def _details(order: Resource) -> Iterator[Resource]:
    """Concepts of orderDetail: R4's own, R5's parameter values."""
    for detail in concepts(order, "orderDetail"):
        yield detail
        for parameter in records(detail, "parameter"):
            yield record(parameter, "valueCodeableConcept")


def _modality(order: Resource) -> str:
    found = {
        text(coding, "code")
        for concept in (*_details(order), record(order, "code"))
        for coding in codings(concept)
        if text(coding, "system") == DICOM and _MODALITY.fullmatch(text(coding, "code"))
    }
    return found.pop() if len(found) == 1 else ""


def _laterality(order: Resource) -> str:
    """The side on which everything that names one agrees; empty when nothing does, or two disagree."""
    found: set[str] = set()
    for concept in (record(order, "code"), *concepts(order, "bodySite"), *_details(order)):
        found |= side_words(line(record(concept, "concept") or concept, "text"))
        for coding in codings(concept):
            found |= side_words(line(coding, "display"))
            code, system = text(coding, "code"), text(coding, "system")
            if system == SNOMED and code in SIDES:
                found.add(SIDES[code])
            elif system in MODIFIER_SYSTEMS and code in MODIFIERS:
                found.add(MODIFIERS[code])
    return found.pop() if len(found) == 1 else ""


def _clinical_words(dossier: Dossier) -> tuple[str, str]:
    """(clinical question, history): reasons ask; notes and supporting information tell what is known.

    Without a reason the first of notes and supporting information is the question, as in HL7 v2.
    """
    order = dossier.focus
    reasons = [concept_words(reason) for name in ("reasonCode", "reason") for reason in concepts(order, name)]
    reasons += [
        _named(dossier, one) for name in ("reasonReference", "reason") for one in references(order, name)
    ]
    notes = [paragraph(note, "text") for note in records(order, "note")]
    support = [concept_words(one) for one in concepts(order, "supportingInfo")]
    support += [_named(dossier, one) for one in references(order, "supportingInfo")]
    told = [_joined(reasons, "; "), _joined(notes, "\n"), _joined(support, "; ")]
    valued = list(dict.fromkeys(filter(None, told)))
    return (valued[0], "\n".join(valued[1:])) if valued else ("", "")


def _named(dossier: Dossier, reference: Resource) -> str:
    condition = resolve(dossier, dossier.focus, reference, kinds=CONDITIONS)
    return (concept_words(record(condition, "code")) if condition else "") or line(reference, "display")


def _joined(words: list[str], mark: str) -> str:
    return mark.join(dict.fromkeys(filter(None, words)))


def _visit(dossier: Dossier) -> str:
    """The visit number (VN) of the encounter, else its only identifier."""
    encounter = record(dossier.focus, "encounter")
    holder = resolve(dossier, dossier.focus, encounter, kinds=ENCOUNTERS) or encounter
    named = [one for one in identifiers_of(holder) if exact(one, "value")]
    chosen = [one for one in named if VISIT in types_of(one)] or (named if len(named) == 1 else [])
    return exact(chosen[0], "value") if chosen else ""
