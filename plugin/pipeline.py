"""The whole way of one report, and the one place where its parts are wired.

    MLLP message        connectors.hl7 reads it, plugin.intake applies, stores and acknowledges it
    study announced     plugin.watch hears of it, plugin.orders brings order and images together
    case is READY       plugin.drafting fetches, reads and compares, the model writes
    case is DRAFTED     plugin.publishing writes the preliminary report and reads it back
    case is PUBLISHED   plugin.offering puts the draft in the outbox, plugin.sending sends it to the RIS
    FHIR server         plugin.following fetches what changed there; plugin.intake takes it like a message
    a human's report    plugin.intake takes it from any channel, plugin.reports judges and compares it,
                        plugin.withdrawing retires our draft beside it, plugin.attesting says who verified it
    findings alone      plugin.concluding drafts the conclusion of a human's findings
    report opened       plugin.casting offers the draft there, and has a finished report looked at (FHIRcast)
    order cancelled     plugin.withdrawing takes the draft back, in the RIS and on the FHIR server

Every step ends in one transaction of plugin.db in which the case moves, the audit leaf is added and the next
job is enqueued.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import replace

from connectors.dicomweb.client import DicomwebClient
from connectors.fhir.drafts.codes import CodeMap, UnreadableCodes, read_codes
from connectors.fhir.identifiers import IdentifierSystems
from connectors.hl7.ack import AckMode
from connectors.hl7.identifiers import Places
from connectors.tls import TlsFileError, client_context
from model.load import load_drafter
from model.study import Drafter, WeightsError
from plugin.attesting import Attesting
from plugin.casting import Casting
from plugin.concluding import Concluding
from plugin.db import Database
from plugin.drafting import Drafting
from plugin.fetched import FHIR, FHIR_RULES
from plugin.following import Following
from plugin.incoming import Rules
from plugin.intake import Intake
from plugin.peers import fhir_client
from plugin.publishing import Publishing
from plugin.queue import WorkQueue
from plugin.sending import Sender, senders
from plugin.settings import SettingError, Settings
from plugin.subscribing import wanted
from plugin.watch import Watch
from plugin.withdrawing import Withdrawing


class Pipeline:
    """Prelim's parts, wired. Parts whose peer is not set refuse their work with the setting to mend."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        wanted(settings)  # refuses an endpoint that anybody could call, before anything is opened
        self.database = Database(settings.database_url)
        self.queue = WorkQueue(self.database)
        self._archive = _archive(settings)
        self._server = fhir_client(settings) if settings.fhir_url else None
        self.intake = Intake(self.database, self.queue.enqueue, rules(settings))
        self.watch = Watch(settings, self.database, self.queue.enqueue, self._archive)
        self.following = (
            Following(settings, self.database, self.intake, self._server, systems(settings))
            if self._server
            else None
        )

    def drafter(self) -> Drafter:
        """The model, loaded. Raises SettingError."""
        try:
            return load_drafter(self.settings.model)
        except WeightsError as error:
            raise SettingError(f"PRELIM_MODEL cannot be used: {error}.") from None

    def drafting(self, drafter: Drafter) -> Drafting:
        """What does draft jobs. Raises SettingError without an archive."""
        if self._archive is None:
            raise SettingError("PRELIM_DICOMWEB_URL must name the image archive: drafts need images.")
        return Drafting(self.settings, self.database, self.queue.enqueue, self._archive, drafter)

    def concluding(self, drafter: Drafter) -> Concluding:
        """What does conclude jobs."""
        return Concluding(self.settings, self.database, drafter)

    def publishing(self) -> Publishing:
        """What does publish jobs. Raises SettingError without a FHIR server, unless nothing is to be sent."""
        if self._server is None:
            raise SettingError("PRELIM_FHIR_URL must name the FHIR server (or set PRELIM_SHADOW=yes).")
        return Publishing(
            self.settings,
            self.database,
            self.queue.enqueue,
            self._server,
            systems(self.settings),
            codes(self.settings),
        )

    def withdrawing(self) -> Withdrawing:
        """What does withdraw and retire jobs."""
        return Withdrawing(
            self.settings, self.database, self.queue.enqueue, self._server, systems(self.settings)
        )

    def attesting(self) -> Attesting:
        """What does attest jobs."""
        return Attesting(
            self.settings, self.database, self.queue.enqueue, self._server, systems(self.settings)
        )

    def casting(self) -> Casting:
        """What follows the FHIRcast hub. Raises SettingError."""
        return Casting(self.settings, self.database, self._server, systems(self.settings))

    def senders(self) -> Sequence[Sender]:
        """What empties the outbox, one for each destination. Raises SettingError."""
        return senders(self.settings, self.database, ris_tls(self.settings))

    def close(self) -> None:
        """Close every connection."""
        self.queue.close()
        if self._archive:
            self._archive.close()
        if self._server:
            self._server.close()
        self.database.close()


def rules(settings: Settings) -> dict[str, Rules]:
    """How what comes by each channel is read and answered. Raises SettingError."""
    listeners = {
        listener.name: Rules(
            listener=listener.name,
            places=places(settings, listener.accession_places, f"PRELIM_LISTENERS, {listener.name}"),
            charset=listener.charset,
            ack_mode=AckMode(listener.ack_mode),
            application_acks=listener.application_acks,
        )
        for listener in settings.hl7_listeners
    }
    fetched = replace(FHIR_RULES, systems=systems(settings), release=settings.fhir_release)
    return {**listeners, FHIR: fetched}


def places(settings: Settings, accession: tuple[str, ...] = (), listener: str = "") -> Places:
    """Where this site's messages carry what identifies a case. Raises SettingError.

    accession: places of one listener that differ from the site's. listener: what an error about them names.
    """
    try:
        return Places(
            accession=accession or settings.accession_places,
            patient_identifier_type=settings.patient_identifier_type,
            patient_assigning_authority=settings.patient_authority,
            signer=settings.signer_places,
        )
    except ValueError as error:
        site = "PRELIM_ACCESSION_PLACES or PRELIM_SIGNER_PLACES"
        raise SettingError(f"{listener if accession else site}: {error}.") from None


def ris_tls(settings: Settings) -> ssl.SSLContext | None:
    """How the RIS is spoken to; None without TLS. Raises SettingError."""
    if not settings.ris_ca:
        if settings.ris_certificate or settings.ris_key:
            raise SettingError("PRELIM_RIS_CERTIFICATE needs PRELIM_RIS_CA, that of the RIS.")
        return None
    try:
        return client_context(settings.ris_ca, settings.ris_certificate, settings.ris_key)
    except TlsFileError as error:
        raise SettingError(f"PRELIM_RIS_CA, _CERTIFICATE and _KEY: {error}") from None


def systems(settings: Settings) -> IdentifierSystems:
    """The identifier systems of this site."""
    return IdentifierSystems(patient=settings.fhir_patient_system, accession=settings.fhir_accession_system)


def codes(settings: Settings) -> CodeMap:
    """The site's procedure codes in LOINC and RadLex; empty when none are set. Raises SettingError."""
    if settings.procedure_codes is None:
        return CodeMap()
    try:
        return read_codes(settings.procedure_codes)
    except UnreadableCodes as error:
        raise SettingError(f"PRELIM_PROCEDURE_CODES: {error} {error.next_step}") from None


def _archive(settings: Settings) -> DicomwebClient | None:
    if not settings.dicomweb_url:
        return None
    return DicomwebClient(settings.dicomweb_url, timeout_seconds=settings.peer_timeout_seconds)
