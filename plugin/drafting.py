"""From a case that is ready to a stored draft: fetch, read, check, draft, keep."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sqlalchemy.orm import Session

from connectors.dicomweb.client import DicomwebClient
from connectors.dicomweb.pixels import Series, read_series
from connectors.errors import ExchangeError, Unreachable
from connectors.exchange import Order
from model.sections import FINDINGS, IMPRESSION
from model.study import Draft, Drafter, Unfit
from plugin import translate
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.casework import Enqueue, Job, hold, move
from plugin.db import Database, now
from plugin.identity import disagreements
from plugin.links import surviving
from plugin.pictures import pictures
from plugin.retry import retry
from plugin.settings import Settings
from plugin.tables import Case, Picture

ACTOR = "prelim/worker"
MAX_VOXELS = 2**28
"""About 1,000 slices of 512 x 512."""


class Drafting:
    """Writes the draft of a case."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        enqueue: Enqueue,
        archive: DicomwebClient,
        drafter: Drafter,
    ) -> None:
        self._settings = settings
        self._database = database
        self._enqueue = enqueue
        self._archive = archive
        self._drafter = drafter

    def draft(self, case_id: str, number: int, attempt: int) -> None:
        """Draft one case.

        1. Stop unless the case is READY and this is the draft that is due (a repeat finds the work done).
        2. Fetch the study; an archive that does not answer is asked again later.
        3. Read it in a child process; what cannot be read fails the case, with the reason.
        4. Compare the images themselves with the order; a disagreement holds the case.
        5. Draft; images that cannot be assessed, or a draft without findings or impression, fail the case.
        6. Store draft, pictures, move, leaf and the next job in one transaction, if 1 still holds.
        """
        with self._database.read() as session:  # 1
            case = session.get(Case, case_id)
            if case is None or not _due(case, number):
                return
            order = translate.order_from_json(case.order)
            study = case.study_instance_uid
        try:
            series = self._series(study)  # 2, 3
        except Unreachable as error:
            self._wait(case_id, number, attempt, str(error))
            return
        except ExchangeError as error:
            self._fail(case_id, number, f"The study could not be read: {error} {error.next_step}")
            return
        with self._database.read() as session:
            differing = _differing(session, order, study, series)  # 4
        if differing:
            with self._database.write() as session:
                case = session.get_one(Case, case_id)
                if _due(case, number):
                    hold(session, case, ACTOR, " ".join(differing))
            return
        try:
            context = translate.context(order, series, self._settings.language)
            draft = self._drafter.draft(translate.volume(series), context)  # 5
        except Unfit as error:
            self._fail(case_id, number, f"The images could not be assessed: {error}")
            return
        missing = [title for title in (FINDINGS, IMPRESSION) if not draft.body_of(title)]
        if missing:
            self._fail(case_id, number, f"The model wrote no {' and no '.join(missing)}; nothing was kept.")
            return
        self._store(case_id, number, draft, series)  # 6

    def _series(self, study: str) -> Series:
        settings = self._settings
        with tempfile.TemporaryDirectory(prefix="prelim-study-") as folder:
            self._archive.fetch_study(study, Path(folder), byte_cap=settings.study_bytes)
            return read_series(
                Path(folder),
                memory_bytes=settings.parse_bytes,
                deadline_seconds=settings.parse_seconds,
                max_voxels=MAX_VOXELS,
            )

    def _store(self, case_id: str, number: int, draft: Draft, series: Series) -> None:
        shown = pictures(series, draft)
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            if not _due(case, number):
                record(session, ACTOR, "draft.dropped", case_id=case_id, details={"draft": number})
                return
            row = translate.draft_row(case, draft, self._settings.draft_status, now(), series.study_date)
            session.add(row)
            session.flush()
            for ordinal, picture in enumerate(shown):
                session.add(
                    Picture(
                        draft_id=row.id,
                        ordinal=ordinal,
                        slice_index=picture.slice_index,
                        finding=picture.finding,
                        caption=picture.caption,
                        png=picture.png,
                    )
                )
            move(
                session,
                case,
                CaseState.DRAFTED,
                ACTOR,
                reason="Shadow mode: the draft is kept and not sent." if self._settings.shadow else "",
                details={
                    "draft": number,
                    "draft_sha256": row.text_sha256,
                    "model": row.model_name,
                    "weights_sha256": row.weights_sha256,
                    "prompt_version": row.prompt_version,
                },
            )
            if not self._settings.shadow:
                self._enqueue(session, Job("publish", case_id, number))

    def _fail(self, case_id: str, number: int, reason: str) -> None:
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            if _due(case, number):
                move(session, case, CaseState.FAILED, ACTOR, reason=reason, details={"draft": number})

    def _wait(self, case_id: str, number: int, attempt: int, reason: str) -> None:
        with self._database.write() as session:
            case = session.get_one(Case, case_id)
            if _due(case, number):
                job = Job("draft", case_id, number, attempt)
                retry(session, case, job, reason, self._settings, self._enqueue, ACTOR)


def _due(case: Case, number: int) -> bool:
    return case.state == CaseState.READY and case.draft_number == number


def _differing(session: Session, order: Order, study: str, series: Series) -> tuple[str, ...]:
    return disagreements(
        "the order",
        "the image files",
        patients=(surviving(session, order.patient), surviving(session, series.patient)),
        accessions=(order.accession, series.accession),
        studies=(study, series.study_instance_uid),
    )
