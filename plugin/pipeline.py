"""The whole way of one report, and the one place where its parts are wired.

    MLLP message        connectors.hl7 reads it, plugin.intake applies, stores and acknowledges it
    study announced     plugin.watch hears of it, plugin.orders brings order and images together
    case is READY       plugin.drafting fetches, reads and compares, the model writes
    case is DRAFTED     plugin.publishing writes the preliminary report and reads it back
    case is PUBLISHED   plugin.delivering sends the draft to the RIS, where one is set
    a human's report    plugin.intake or plugin.watch sees it, plugin.reports judges and compares it

Every step ends in one transaction of plugin.db in which the case moves, the audit leaf is added and the next
job is enqueued.
"""

from __future__ import annotations

from connectors.dicomweb.client import DicomwebClient
from connectors.fhir.client import FhirClient
from connectors.fhir.identifiers import IdentifierSystems
from connectors.hl7.identifiers import Places
from model.load import load_drafter
from model.study import WeightsError
from plugin.db import Database
from plugin.delivering import Delivering
from plugin.drafting import Drafting
from plugin.intake import Intake
from plugin.publishing import Publishing
from plugin.queue import WorkQueue
from plugin.settings import SettingError, Settings
from plugin.watch import Watch


class Pipeline:
    """Prelim's parts, wired. Parts whose peer is not set refuse their work with the setting to mend."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database_url)
        self.queue = WorkQueue(self.database)
        self._archive = _archive(settings)
        self._server = _server(settings)
        self.intake = Intake(self.database, self.queue.enqueue, places(settings))
        self.watch = Watch(
            settings, self.database, self.queue.enqueue, self._archive, self._server, systems(settings)
        )

    def drafting(self) -> Drafting:
        """What does draft jobs, with its model loaded. Raises SettingError without an archive or a model."""
        if self._archive is None:
            raise SettingError("PRELIM_DICOMWEB_URL must name the image archive: drafts need images.")
        try:
            drafter = load_drafter(self.settings.model)
        except WeightsError as error:
            raise SettingError(f"PRELIM_MODEL cannot be used: {error}.") from None
        return Drafting(self.settings, self.database, self.queue.enqueue, self._archive, drafter)

    def publishing(self) -> Publishing:
        """What does publish jobs. Raises SettingError without a FHIR server, unless nothing is to be sent."""
        if self._server is None:
            raise SettingError("PRELIM_FHIR_URL must name the FHIR server (or set PRELIM_SHADOW=yes).")
        return Publishing(
            self.settings, self.database, self.queue.enqueue, self._server, systems(self.settings)
        )

    def delivering(self) -> Delivering:
        """What does deliver jobs, where PRELIM_RIS names a RIS."""
        return Delivering(self.settings, self.database, self.queue.enqueue)

    def close(self) -> None:
        """Close every connection."""
        self.queue.close()
        if self._archive:
            self._archive.close()
        if self._server:
            self._server.close()
        self.database.close()


def places(settings: Settings) -> Places:
    """Where this site's messages carry what identifies a case. Raises SettingError."""
    try:
        return Places(
            accession=settings.accession_places,
            patient_identifier_type=settings.patient_identifier_type,
            patient_assigning_authority=settings.patient_authority,
            signer=settings.signer_places,
        )
    except ValueError as error:
        raise SettingError(f"PRELIM_ACCESSION_PLACES or PRELIM_SIGNER_PLACES: {error}.") from None


def systems(settings: Settings) -> IdentifierSystems:
    """The identifier systems of this site."""
    return IdentifierSystems(patient=settings.fhir_patient_system, accession=settings.fhir_accession_system)


def _archive(settings: Settings) -> DicomwebClient | None:
    if not settings.dicomweb_url:
        return None
    return DicomwebClient(settings.dicomweb_url, timeout_seconds=settings.peer_timeout_seconds)


def _server(settings: Settings) -> FhirClient | None:
    if not settings.fhir_url:
        return None
    return FhirClient(
        settings.fhir_url,
        timeout_seconds=settings.peer_timeout_seconds,
        token=settings.fhir_token or None,
    )
