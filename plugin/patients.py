"""What a message about a patient does to their cases, and which identifiers name one person.

Everything here is a change, or a look, inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import Patient, PatientMerge, PatientUpdate
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.casework import Enqueue
from plugin.db import now
from plugin.links import authorities_of, link_of, remember_link, surviving
from plugin.orders import match
from plugin.tables import Case, PatientLink
from plugin.translate import order_from_json, order_to_json

WRITTEN = frozenset({CaseState.READY, CaseState.DRAFTED, CaseState.PUBLISHED})
"""States with a draft, or one under way, that knows the patient, and that is still ours to write again."""


class MergeRefused(Exception):
    """Two patients cannot be taken for one as the message asks; nothing was changed."""


class Ambiguous(Exception):
    """An identifier without an assigning authority is that of several patients; nothing was changed."""


def check_merge(session: Session, merge: PatientMerge) -> None:
    """Raise MergeRefused when the retired identifier was merged into another patient before, when it is that
    of several patients, or the surviving one."""
    try:
        check_one(session, merge.retired_identifier, merge.retired_assigning_authority)
        check_one(session, merge.surviving.identifier, merge.surviving.assigning_authority)
    except Ambiguous as error:
        raise MergeRefused(str(error)) from None
    merge = _with_authorities(session, merge)
    kept = (merge.surviving.identifier, merge.surviving.assigning_authority)
    if kept == (merge.retired_identifier, merge.retired_assigning_authority):
        raise MergeRefused("PID-3 and MRG-1 name one and the same patient; there is nothing to merge.")
    link = link_of(session, merge.retired_identifier, merge.retired_assigning_authority)
    target = surviving(session, merge.surviving)
    if link is None:
        return
    if (link.surviving_identifier, link.surviving_authority) == (
        target.identifier,
        target.assigning_authority,
    ):
        return
    raise MergeRefused(
        "The patient in MRG-1 was merged into another patient before; a person decides which it is."
    )


def check_one(session: Session, identifier: str, authority: str) -> None:
    """Raise Ambiguous when an identifier comes without an authority, and several have given it."""
    if not authority and len(authorities_of(session, identifier)) > 1:
        raise Ambiguous("A patient identifier names no assigning authority, and several have given it.")


def check_update(session: Session, update: PatientUpdate) -> Patient:
    """The patient that an update is about, under the surviving identifier. Raises Ambiguous."""
    patient = surviving(session, update.patient)
    check_one(session, patient.identifier, patient.assigning_authority)
    return patient


def _with_authorities(session: Session, merge: PatientMerge) -> PatientMerge:
    """The merge with the authorities that it leaves out: the one that is known to give an identifier, else
    that of the other identifier in the message."""
    retired = merge.retired_assigning_authority or _only_authority(session, merge.retired_identifier)
    kept = merge.surviving.assigning_authority or _only_authority(session, merge.surviving.identifier)
    return replace(
        merge,
        surviving=replace(merge.surviving, assigning_authority=kept or retired),
        retired_assigning_authority=retired or kept,
    )


def _only_authority(session: Session, identifier: str) -> str:
    known = authorities_of(session, identifier)
    return known.pop() if len(known) == 1 else ""


def take_merge(session: Session, merge: PatientMerge, enqueue: Enqueue, actor: str, message_id: int) -> None:
    """Two records are one person from now on.

    1. A merge that was taken before changes nothing.
    2. A merge into an identifier that was itself retired goes on to the one that survived; where that is the
       very one which is now retired (an inverse merge), the survivor of now wins.
    3. Every identifier that led to the retired one leads to the survivor: no chain and no circle can arise.
    4. Open cases of the retired identifier get the survivor's; a written draft of theirs is written again.
    """
    check_merge(session, merge)
    merge = _with_authorities(session, merge)
    retired = link_of(session, merge.retired_identifier, merge.retired_assigning_authority)
    target = surviving(session, merge.surviving)
    if retired is not None:  # 1
        record(session, actor, "patient.merge-repeated", message_id=message_id)
        return
    if _is_retired(target, merge):  # 2
        back = link_of(session, merge.surviving.identifier, merge.surviving.assigning_authority)
        if back is not None:
            session.delete(back)
        target = merge.surviving
    leading = sa.select(PatientLink).where(PatientLink.surviving_identifier == merge.retired_identifier)
    for link in session.scalars(leading).all():  # 3
        if link.surviving_authority == merge.retired_assigning_authority:
            link.surviving_identifier = target.identifier
            link.surviving_authority = target.assigning_authority
    session.add(
        PatientLink(
            identifier=merge.retired_identifier,
            assigning_authority=merge.retired_assigning_authority,
            surviving_identifier=target.identifier,
            surviving_authority=target.assigning_authority,
            message_id=message_id,
            linked_at=now(),
        )
    )
    remember_link(session)
    session.flush()
    cases = _cases_of(session, merge.retired_identifier, merge.retired_assigning_authority)
    record(session, actor, "patient.merged", message_id=message_id, details={"cases": len(cases)})
    for case in cases:  # 4
        order = order_from_json(case.order)
        known = _updated(order.patient, merge.surviving)
        patient = replace(known, identifier=target.identifier, assigning_authority=target.assigning_authority)
        _give(case, patient)
        record(session, actor, "case.patient-merged", case_id=case.id, message_id=message_id)
        if CaseState(case.state) in WRITTEN:
            match(session, case, enqueue, actor, message_id)


def _is_retired(patient: Patient, merge: PatientMerge) -> bool:
    return (patient.identifier, patient.assigning_authority) == (
        merge.retired_identifier,
        merge.retired_assigning_authority,
    )


def take_update(
    session: Session, update: PatientUpdate, enqueue: Enqueue, actor: str, message_id: int
) -> None:
    """Demographics follow the patient into every case. What a message leaves out is kept as it was.

    A draft that was written is written again only when sex or birth date changed: the model reads those.
    Raises Ambiguous.
    """
    patient = check_update(session, update)
    for case in _cases_of(session, patient.identifier, patient.assigning_authority):
        before = order_from_json(case.order).patient
        after = _updated(before, patient)
        changed = [
            name
            for name in ("family_name", "given_name", "birth_date", "sex")
            if getattr(before, name) != getattr(after, name)
        ]
        if not changed:
            continue
        _give(case, after)
        record(
            session,
            actor,
            "case.patient-updated",
            case_id=case.id,
            message_id=message_id,
            details={"changed": changed},
        )
        if CaseState(case.state) in WRITTEN and {"birth_date", "sex"} & set(changed):
            match(session, case, enqueue, actor, message_id)


def _updated(known: Patient, told: Patient) -> Patient:
    """The known patient with everything that a message says of them."""
    return replace(
        known,
        family_name=told.family_name or known.family_name,
        given_name=told.given_name or known.given_name,
        birth_date=told.birth_date or known.birth_date,
        sex=told.sex if told.sex != "unknown" else known.sex,
    )


def _give(case: Case, patient: Patient) -> None:
    case.order = order_to_json(replace(order_from_json(case.order), patient=patient))
    case.patient_identifier = patient.identifier
    case.assigning_authority = patient.assigning_authority
    case.updated_at = now()


def _cases_of(session: Session, identifier: str, authority: str) -> Sequence[Case]:
    """The cases of a patient; those without an authority too, where no other gives the identifier."""
    same = sa.select(Case).where(Case.patient_identifier == identifier).order_by(Case.created_at)
    alone = len(authorities_of(session, identifier) | {authority} - {""}) <= 1
    return [case for case in session.scalars(same).all() if alone or case.assigning_authority == authority]
