"""The one file that knows the words of both sides: clinical exchange and model, tables and dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, datetime
from typing import Any

from connectors.dicomweb.pixels import Series
from connectors.exchange import (
    Coding,
    DraftAuthor,
    DraftFinding,
    DraftReport,
    DraftStatus,
    Order,
    OrderAction,
    Patient,
    Practitioner,
    PriorReport,
    PublishedReport,
    StudyRef,
)
from model import terminology
from model.claims import claims_of
from model.sections import IMPRESSION
from model.study import ClinicalContext, Draft, Evidence, Sentence, Volume
from model.wording import LANGUAGES
from plugin.tables import REPORT, Case, DraftRecord, Study


def order_to_json(order: Order) -> dict[str, Any]:
    """An order as the case keeps it."""
    kept = _values(order)
    kept["patient"] = {**_values(order.patient), "birth_date": _iso(order.patient.birth_date)}
    kept["procedure"] = _values(order.procedure)
    kept["ordering_provider"] = _values(order.ordering_provider) if order.ordering_provider else None
    kept["ordered_at"] = _iso(order.ordered_at)
    kept["prior_reports"] = [
        {
            **_values(prior),
            "procedure": _values(prior.procedure),
            "performed_on": _iso(prior.performed_on),
        }
        for prior in order.prior_reports
    ]
    return kept


def _values(words: object) -> dict[str, Any]:
    """The fields of a flat dataclass; `asdict` would copy them deeply, which takes ten times as long."""
    return {name: getattr(words, name) for name in type(words).__slots__}  # type: ignore[attr-defined]


def _iso(at: date | None) -> str | None:
    return at.isoformat() if at else None


def order_from_json(kept: Mapping[str, Any]) -> Order:
    """The order back from its case."""
    patient = dict(kept["patient"])
    if patient["birth_date"]:
        patient["birth_date"] = date.fromisoformat(patient["birth_date"])
    provider = kept["ordering_provider"]
    return Order(
        **{
            **kept,
            "action": OrderAction(kept["action"]),
            "patient": Patient(**patient),
            "procedure": Coding(**kept["procedure"]),
            "ordering_provider": Practitioner(**provider) if provider else None,
            "ordered_at": datetime.fromisoformat(kept["ordered_at"]) if kept["ordered_at"] else None,
            # Orders that were stored before priors were read have no such key.
            "prior_reports": tuple(_prior(prior) for prior in kept.get("prior_reports", ())),
        }
    )


def _prior(kept: Mapping[str, Any]) -> PriorReport:
    performed = kept["performed_on"]
    return PriorReport(
        performed_on=date.fromisoformat(performed) if performed else None,
        procedure=Coding(**kept["procedure"]),
        text=kept["text"],
    )


def study_patient(study: Study) -> Patient:
    """The patient as the archive names them."""
    return Patient(study.patient_identifier, study.assigning_authority)


def study_row(ref: StudyRef, at: datetime) -> Study:
    """An announced study as the table keeps it."""
    return Study(
        study_instance_uid=ref.study_instance_uid,
        accession=ref.accession,
        patient_identifier=ref.patient.identifier,
        assigning_authority=ref.patient.assigning_authority,
        modalities=",".join(ref.modalities),
        description=ref.description,
        instance_count=ref.instance_count,
        announced_at=at,
    )


def volume(series: Series) -> Volume:
    """The pixels as the model takes them."""
    return Volume(
        voxels=series.voxels,
        spacing_mm=series.spacing_mm,
        modality=series.modality,
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
    )


def order_context(order: Order, language: str = "en") -> ClinicalContext:
    """What the order alone says, for a draft without images.

    language: of the site. The order's own wins where a draft can be written in it.
    """
    return ClinicalContext(
        procedure=order.procedure.text or order.procedure.code,
        clinical_question=order.clinical_question,
        history=order.history,
        modality=order.modality,
        sex=order.patient.sex,
        language=order.language if order.language in LANGUAGES else language,
        prior=_newest_prior(order),
    )


def _newest_prior(order: Order) -> str:
    """Text of the latest prior report, one without a day being the oldest; empty when there is none."""
    told = [prior for prior in order.prior_reports if prior.text.strip()]
    return max(told, key=lambda prior: prior.performed_on or date.min).text if told else ""


def context(order: Order, series: Series, language: str = "en") -> ClinicalContext:
    """What the order says, for the prompt. language: of the site, where the order says none."""
    born = order.patient.birth_date or series.patient.birth_date
    taken = series.study_date
    age = None
    if born and taken:
        age = taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day))
    sex = order.patient.sex if order.patient.sex != "unknown" else series.patient.sex
    return replace(
        order_context(order, language),
        modality=series.modality,
        sex=sex,
        age_years=age if age is None or age >= 0 else None,
    )


def _sentence(sentence: Sentence) -> dict[str, Any]:
    return asdict(sentence)


def draft_row(
    case: Case,
    draft: Draft,
    status: DraftStatus,
    at: datetime,
    studied_on: date | None = None,
    task: str = REPORT,
) -> DraftRecord:
    """A draft as the table keeps it."""
    return DraftRecord(
        case_id=case.id,
        number=case.draft_number,
        task=task,
        status=status.value,
        language=draft.language,
        sections=[list(section) for section in draft.sections],
        sentences=[_sentence(sentence) for sentence in draft.sentences],
        findings=dict(draft.findings),
        confidence=draft.confidence,
        conclusion=draft.body_of(IMPRESSION),
        notice=draft.card.notice,
        text=draft.text,
        text_sha256=draft.sha256,
        model_name=draft.card.name,
        model_version=draft.card.version,
        weights_sha256=draft.card.weights_sha256,
        prompt_version=draft.card.prompt_version,
        tokens=draft.tokens,
        seconds=draft.seconds,
        studied_on=studied_on,
        written_at=at,
        reference="",
        version="",
        url="",
        published_at=None,
        delivered_at=None,
        withdrawn_at=None,
    )


def draft_report(case: Case, row: DraftRecord) -> DraftReport:
    """A stored draft as the FHIR connector sends it."""
    order = order_from_json(case.order)
    return DraftReport(
        case_id=case.id,
        number=row.number,
        accession=case.accession,
        patient=order.patient,
        study_instance_uid=case.study_instance_uid,
        procedure=order.procedure,
        status=DraftStatus(row.status),
        sections=tuple((str(title), str(text)) for title, text in row.sections),
        conclusion=row.conclusion,
        notice=row.notice,
        issued_at=row.written_at,
        author=DraftAuthor(row.model_name, row.model_version, row.weights_sha256, row.prompt_version),
        placer_order_number=order.placer_order_number,
        filler_order_number=order.filler_order_number,
        ordering_provider=order.ordering_provider,
        studied_on=row.studied_on,
        findings=draft_findings(row),
        visit_number=order.visit_number,
        service_request=order.service_request,
        language=row.language,
    )


def draft_findings(row: DraftRecord) -> tuple[DraftFinding, ...]:
    """What the sentences of a stored draft say is there or is not, in codes where the model has them."""
    found = []
    for claim in claims_of((_stored_sentence(kept) for kept in row.sentences), row.language):
        code, name = terminology.FINDINGS.get(claim.finding, ("", ""))
        site, place = terminology.body_site(claim.finding, claim.side)
        found.append(
            DraftFinding(
                name=claim.finding,
                present=claim.present,
                side=claim.side,
                code=Coding(code, name, terminology.SNOMED) if code else Coding(),
                body_site=Coding(site, place, terminology.SNOMED) if site else Coding(),
                probability=claim.probability,
            )
        )
    return tuple(found)


def _stored_sentence(kept: Mapping[str, Any]) -> Sentence:
    evidence = tuple(Evidence(**one) for one in kept["evidence"])
    return Sentence(kept["section"], kept["text"], evidence)


def published(row: DraftRecord) -> PublishedReport | None:
    """Where a stored draft stands on the FHIR server; None before it is there."""
    return PublishedReport(row.reference, row.version, row.url) if row.reference else None
