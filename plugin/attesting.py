"""From a signature seen on the FHIR server to a Provenance there that says who verified which version."""

from __future__ import annotations

import hashlib

from connectors.errors import ExchangeError, Rejected, Unreachable
from connectors.exchange import Practitioner, PublishedReport
from connectors.fhir.client import FhirClient
from connectors.fhir.drafts.verifier import attest
from connectors.fhir.identifiers import IdentifierSystems
from plugin.audit.log import canonical, moment, record
from plugin.casework import Enqueue, Job
from plugin.db import Database
from plugin.reports import FHIR
from plugin.retry import retry
from plugin.settings import Settings
from plugin.signoff import Verdict
from plugin.tables import Case, DraftRecord, SignOff

ACTOR = "prelim/worker"


class Attesting:
    """Attests signatures."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        enqueue: Enqueue,
        server: FhirClient | None,
        systems: IdentifierSystems,
    ) -> None:
        """server: None where no FHIR server is set; then no signature was seen there."""
        self._settings = settings
        self._database = database
        self._enqueue = enqueue
        self._server = None if settings.shadow else server
        self._systems = systems

    def attest(self, case_id: str, number: int, attempt: int) -> None:
        """Attest one signature. number: of the sign-off.

        1. Stop unless it is a signature of this case that was seen on the FHIR server.
        2. Write the Provenance, or find that of an earlier attempt (connectors.fhir.drafts.verifier). A
           server that does not answer is asked again later; the case waits for nothing.
        3. Record where it stands, or why there is none: the signature counts either way.
        """
        with self._database.read() as session:  # 1
            row = session.get(SignOff, number)
            if row is None or row.case_id != case_id or self._server is None or not _attestable(row):
                return
            draft = session.get(DraftRecord, row.draft_id) if row.draft_id else None
        sha256 = evidence_sha256(row)
        try:
            reference = attest(  # 2
                self._server,
                report=row.source,
                version=_version(row),
                signer=Practitioner(identifier=row.signer_identifier, family_name=row.signer_name),
                signed_at=row.signed_at,
                evidence_sha256=sha256,
                draft=_standing(draft) if draft else None,
                systems=self._systems,
            )
        except Unreachable as error:
            with self._database.write() as session:
                case = session.get_one(Case, case_id)
                kept = case.reason
                job = Job("attest", case_id, number, attempt)
                asked = error.retry_after_seconds
                retry(
                    session, case, job, str(error), self._settings, self._enqueue, ACTOR, asked_seconds=asked
                )
                case.reason = kept
            return
        except ExchangeError as error:
            self._say(row, "signature.not-attested", {"reason": f"{error} {error.next_step}"})
            return
        self._say(row, "signature.attested", {"reference": reference, "evidence_sha256": sha256})  # 3

    def _say(self, row: SignOff, action: str, details: dict[str, str]) -> None:
        with self._database.write() as session:
            told = {"signoff": row.id, "version": row.version, **details}
            record(session, ACTOR, action, case_id=row.case_id, details=told)


def evidence_sha256(row: SignOff) -> str:
    """SHA-256 of what is attested, in canonical JSON: the same however often the version was seen."""
    attested = {
        "source": row.source,
        "version": row.version,
        "status": row.status,
        "signer": row.signer_name,
        "signer_identifier": row.signer_identifier,
        "signed_at": moment(row.signed_at) if row.signed_at else None,
        "text_sha256": row.text_sha256,
    }
    return hashlib.sha256(canonical(attested).encode()).hexdigest()


def _attestable(row: SignOff) -> bool:
    return row.verdict == Verdict.SIGNED.value and row.channel == FHIR


def _version(row: SignOff) -> str:
    if not row.version:
        raise Rejected(
            "Expected the version of the report that was signed, came none: the server keeps none."
        )
    return row.version


def _standing(draft: DraftRecord) -> PublishedReport | None:
    """Where the draft that was signed stands; its version is known only while nothing was written over it."""
    if not draft.reference:
        return None
    return PublishedReport(draft.reference, "" if draft.withdrawn_at else draft.version, draft.url)
