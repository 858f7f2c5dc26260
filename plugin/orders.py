"""What an order or a study does to a case, inside the caller's transaction.

Nothing here talks to a peer: the work that a change causes is enqueued in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import Order, OrderAction, Patient, StudyRef
from plugin.audit.log import record
from plugin.cases import MOVES, OURS_TO_DRAFT, CaseState
from plugin.casework import Enqueue, Job, find_case, hold, move, open_case
from plugin.db import now
from plugin.identity import disagreements
from plugin.links import surviving
from plugin.tables import Case, SignOff, Study
from plugin.translate import order_from_json, order_to_json, study_patient, study_row

_ANNOUNCED = "announced studies"
UNKNOWN_SEX = "unknown"
"""What an order says that does not say it."""
_STUDIES = sa.select(Study).where(
    sa.or_(
        Study.accession.in_(sa.bindparam("accessions", expanding=True)),
        Study.study_instance_uid.in_(sa.bindparam("uids", expanding=True)),
    )
)


def take_order(
    session: Session, order: Order, enqueue: Enqueue, actor: str, message_id: int | None = None
) -> Case:
    """Apply one order to its case, opening the case when it is the first word of it."""
    patient = surviving(session, order.patient)
    if patient is not order.patient:
        order = replace(order, patient=patient)
    case = find_case(session, order.accession)
    if case is None:
        case = open_case(session, order.accession, actor, message_id, "order")
    state = CaseState(case.state)
    if order.action is OrderAction.STATUS:
        record(session, actor, "order.status", case_id=case.id, message_id=message_id)
        return case
    if case.order:
        known = order_from_json(case.order)
        differing = disagreements(
            "the first order",
            "the new message",
            patients=(surviving(session, known.patient), order.patient),
            studies=(known.study_instance_uid, order.study_instance_uid),
        )
        if differing:
            hold(session, case, actor, " ".join(differing), message_id)
            return case
    elif differing := _reported_otherwise(session, case, order):
        hold(session, case, actor, " ".join(differing), message_id)
        return case
    if order.action is OrderAction.CANCEL:
        if CaseState.CANCELLED in MOVES[state]:
            reason = "The order was cancelled."
            move(session, case, CaseState.CANCELLED, actor, reason=reason, message_id=message_id)
            if case.draft_number:
                enqueue(session, Job("withdraw", case.id, case.draft_number))
        else:
            record(session, actor, "order.cancelled-too-late", case_id=case.id, message_id=message_id)
        return case
    if order.action is OrderAction.REQUEST_CANCEL:
        if state is CaseState.CANCELLED:  # a request that comes late, or once more, was granted before
            record(session, actor, "order.cancelled-before", case_id=case.id, message_id=message_id)
            return case
        hold(session, case, actor, "The placer asks to cancel this order; a human decides.", message_id)
        return case
    if case.order:
        order = _filled(order, order_from_json(case.order))
    changed = bool(case.order) and _words(order) != _words(order_from_json(case.order))
    case.order = order_to_json(order)
    case.patient_identifier = order.patient.identifier
    case.assigning_authority = order.patient.assigning_authority
    case.study_instance_uid = order.study_instance_uid or case.study_instance_uid
    case.updated_at = now()
    record(
        session,
        actor,
        "order.taken" if not changed else "order.changed",
        case_id=case.id,
        message_id=message_id,
        details={"action": order.action.value},
    )
    if state is CaseState.CANCELLED and order.action is OrderAction.PLACE:
        move(
            session,
            case,
            CaseState.RECEIVED,
            actor,
            reason="The order was placed again.",
            message_id=message_id,
        )
        state = CaseState.RECEIVED
    if state is CaseState.RECEIVED or (changed and state in OURS_TO_DRAFT):
        match(session, case, enqueue, actor, message_id)
    return case


def _filled(order: Order, known: Order) -> Order:
    """The order with what it leaves out as it was known: an empty field says nothing, and an order
    that comes by two ways is not told in full by each."""
    left_out = {name: getattr(known, name) for name in _FILLED if not getattr(order, name)}
    return replace(order, patient=_filled_patient(order.patient, known.patient), **left_out)


def _filled_patient(patient: Patient, known: Patient) -> Patient:
    """The patient with what the order leaves out; whether they are one person was asked before."""
    if patient.identifier != known.identifier:
        return patient
    left_out = {name: getattr(known, name) for name in _FILLED_PATIENT if not getattr(patient, name)}
    if patient.sex == UNKNOWN_SEX:
        left_out["sex"] = known.sex
    return replace(patient, **left_out)


_FILLED = (
    *("placer_order_number", "filler_order_number", "requested_procedure_id", "study_instance_uid"),
    *("modality", "clinical_question", "history", "priority", "ordering_provider", "laterality"),
    *("prior_reports", "visit_number", "service_request", "language"),
)


_FILLED_PATIENT = ("assigning_authority", "family_name", "given_name", "birth_date")


def _words(order: Order) -> Order:
    """What an order says to the model, without what changes with every message about it."""
    return replace(order, action=OrderAction.PLACE, ordered_at=None, visit_number="", service_request="")


def _reported_otherwise(session: Session, case: Case, order: Order) -> tuple[str, ...]:
    """What disagrees between an order that comes late and a report that was there before it."""
    if sa.inspect(case).pending:
        return ()  # This very transaction opens it: most orders are spared the look.
    earlier = sa.select(SignOff).where(SignOff.case_id == case.id, SignOff.patient_identifier != "")
    for report in session.scalars(earlier):
        named = surviving(session, Patient(report.patient_identifier, report.assigning_authority))
        differing = disagreements("the order", "the earlier report", patients=(order.patient, named))
        if differing:
            return differing
    return ()


def take_study(session: Session, ref: StudyRef, enqueue: Enqueue, actor: str) -> Case | None:
    """Remember an announced study and bring it to its case, when there is one. A repeat changes nothing."""
    known = session.get(Study, ref.study_instance_uid)
    row = study_row(ref, now())
    if known is not None:
        _fill(row, known)
        if _same(known, row):
            return None
    session.merge(row)
    session.flush()
    session.info.pop(_ANNOUNCED, None)
    cases = _cases_of(session, row)
    record(
        session,
        actor,
        "study.announced" if known is None else "study.grew",
        case_id=cases[0].id if cases else None,
        details={"instances": ref.instance_count, "modalities": list(ref.modalities)},
    )
    for case in cases:
        if CaseState(case.state) not in OURS_TO_DRAFT or not case.order:
            continue
        # What was announced, not only what is matched: images of somebody else under an accession hold it.
        differing = _differing(session, order_from_json(case.order), row)
        if differing:
            hold(session, case, actor, " ".join(differing))
        else:
            match(session, case, enqueue, actor, None)
    return cases[0] if cases else None


def _fill(row: Study, known: Study) -> None:
    """Two sources announce one study, and neither says everything: what one leaves out is no change."""
    row.accession = row.accession or known.accession
    row.modalities = row.modalities or known.modalities
    row.description = row.description or known.description
    if row.instance_count is None:
        row.instance_count = known.instance_count
    if row.patient_identifier == known.patient_identifier:
        row.assigning_authority = row.assigning_authority or known.assigning_authority


def _same(known: Study, row: Study) -> bool:
    return (known.accession, known.patient_identifier, known.assigning_authority, known.instance_count) == (
        row.accession,
        row.patient_identifier,
        row.assigning_authority,
        row.instance_count,
    )


def _cases_of(session: Session, study: Study) -> Sequence[Case]:
    """The cases that a study concerns: that of its accession first, then any that names it."""
    concerned = sa.or_(
        sa.and_(Case.accession == study.accession, sa.literal(bool(study.accession))),
        Case.study_instance_uid == study.study_instance_uid,
    )
    first = sa.case((Case.accession == study.accession, 0), else_=1)
    return session.scalars(sa.select(Case).where(concerned).order_by(first, Case.created_at)).all()


def _study_of(session: Session, order: Order) -> Study | None:
    # The study that the order names comes before the latest one of its accession.
    known: _Announced | None = session.info.get(_ANNOUNCED)
    if known is not None and order.accession in known.accessions and order.study_instance_uid in known.uids:
        studies = known.studies
    else:
        studies = _studies_of(session, {order.accession}, {order.study_instance_uid})
    concerned = [
        study
        for study in studies
        if order.accession == study.accession or order.study_instance_uid == study.study_instance_uid
    ]
    named = [study for study in concerned if study.study_instance_uid == order.study_instance_uid]
    return max(named or concerned, key=lambda study: study.announced_at, default=None)


def _studies_of(session: Session, accessions: Collection[str], uids: Collection[str]) -> list[Study]:
    asked = {"accessions": sorted(accessions), "uids": sorted(uids)}
    return list(session.scalars(_STUDIES, asked))


@dataclass(frozen=True, slots=True)
class _Announced:
    """What the archive announced of some accessions and studies."""

    accessions: frozenset[str]
    uids: frozenset[str]
    studies: Sequence[Study]


def remember_studies(session: Session, orders: Sequence[Order]) -> None:
    """Look up the studies of many orders with one query; a study that is announced makes it forgotten."""
    if orders:
        accessions = frozenset(order.accession for order in orders)
        uids = frozenset(order.study_instance_uid for order in orders)
        session.info[_ANNOUNCED] = _Announced(accessions, uids, _studies_of(session, accessions, uids))


def _differing(session: Session, order: Order, study: Study) -> tuple[str, ...]:
    return disagreements(
        "the order",
        "the images",
        patients=(order.patient, surviving(session, study_patient(study))),
        accessions=(order.accession, study.accession),
        studies=(order.study_instance_uid, study.study_instance_uid),
    )


def match(session: Session, case: Case, enqueue: Enqueue, actor: str, message_id: int | None) -> None:
    """Bring order and images together: a draft is due, or the case is held, or it waits."""
    order = order_from_json(case.order)
    study = _study_of(session, order)
    if study is None:
        case.reason = "Waiting for the images."
        return
    differing = _differing(session, order, study)
    if differing:
        hold(session, case, actor, " ".join(differing), message_id)
        return
    case.study_instance_uid = study.study_instance_uid
    ask_for_draft(session, case, enqueue, actor, message_id)


def ask_for_draft(
    session: Session,
    case: Case,
    enqueue: Enqueue,
    actor: str,
    message_id: int | None = None,
) -> None:
    """Make the next draft of a case due. A draft that is already written is superseded by it."""
    case.draft_number += 1
    move(
        session,
        case,
        CaseState.READY,
        actor,
        message_id=message_id,
        details={"draft": case.draft_number},
    )
    enqueue(session, Job("draft", case.id, case.draft_number))
