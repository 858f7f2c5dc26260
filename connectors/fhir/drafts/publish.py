"""Puts a draft on a FHIR server: never twice, never over a human, and believed only once read back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connectors.errors import Conflict, Rejected
from connectors.exchange import DraftReport, DraftStatus, PublishedReport, ReportStatus
from connectors.fhir.capabilities import Capabilities
from connectors.fhir.client import FhirClient, reference_of, version_of
from connectors.fhir.drafts.codes import CodeMap
from connectors.fhir.drafts.findings import findings_of
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.drafts.standing import Standing, look, published_at
from connectors.fhir.drafts.traces import once
from connectors.fhir.drafts.twins import retire
from connectors.fhir.drafts.writing import Doubtful, Written, goes_at_once, in_doubt, write
from connectors.fhir.egress import labelled
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems, query, values_of
from connectors.fhir.ours import draft_numbers, step_of, withdrawn_numbers
from connectors.fhir.outcome import Absent
from connectors.fhir.readers.reports import CaseKeys, same_patient, status_of

Resource = dict[str, Any]

_STATED = ("code", "bodySite", "valueCodeableConcept")
"""Elements of an Observation that say what was found and where."""


class HumanVersion(Conflict):
    """Somebody else's version of this report exists: the draft must be withheld."""

    next_step = "Withhold the draft; the other version stands."


class NotKept(Rejected):
    """The server accepted the draft but keeps something else than what was sent."""

    next_step = "Have the server's administrator see what rewrites incoming reports, then replay."


@dataclass(frozen=True, slots=True)
class _Publication:
    """One draft on its way to one server."""

    client: FhirClient
    draft: DraftReport
    systems: IdentifierSystems
    known: PublishedReport | None
    codes: CodeMap | None
    pdf: bytes | None
    capabilities: Capabilities | None

    def bundle(self, base: PublishedReport | None, current: Resource | None = None) -> Resource:
        """The Bundle that creates the report, or replaces the version that base names.

        current: that version; the Observations of its draft are retired with it.
        """
        made = draft_bundle(
            self.draft,
            systems=self.systems,
            known=base,
            codes=self.codes,
            pdf=self.pdf,
            superseded=findings_of(self.client, current) if current is not None else (),
        )
        return once(made, f"{self.draft.case_id}.{self.draft.number}", self.systems, self.capabilities)


def publish(
    client: FhirClient,
    draft: DraftReport,
    *,
    systems: IdentifierSystems | None = None,
    known: PublishedReport | None = None,
    codes: CodeMap | None = None,
    pdf: bytes | None = None,
    capabilities: Capabilities | None = None,
) -> PublishedReport:
    """Write the draft, read it back, and say where it stands. Safe to repeat after any failure.

    known: what the last publish of this case returned; None when there was none.
    codes, pdf: the hospital's map of procedure codes and the draft as a PDF, for draft_bundle.
    capabilities: what the server says it can do; None takes it for one that can do everything.

    1. Build the Bundle, so that a draft that may not leave asks the server nothing.
    2. Look, in one search: for our report by our own identifier, and for other reports of the accession.
       A report that holds this very draft is an earlier attempt whose answer was lost.
    3. Stop if a person's version exists: of our report, or as another final report of the accession. Our
       own withdrawal as cancelled gives way to a later draft (the order was placed again); one as entered
       in error never does.
    4. Write and read back, in one request: create unless it exists, or replace exactly the version that was
       looked at. Where the answer is lost, or the search was behind, go back to 2, once.
    5. Compare what was read back with what was written.

    Raises HumanVersion or another Conflict, ForbiddenStatus, NotKept, Rejected, Unreachable, Malformed.
    """
    this = _Publication(client, draft, systems or IdentifierSystems(), known, codes, pdf, capabilities)
    # 1.
    bundle = this.bundle(known)
    try:
        return _attempt(this, bundle, certain=False)
    except Doubtful as earlier:
        try:
            return _attempt(this, bundle, certain=True)
        except Doubtful as doubt:
            raise doubt.after(earlier) from None


def _attempt(this: _Publication, bundle: Resource, *, certain: bool) -> PublishedReport:
    """Steps 2 to 5. certain: read the report itself where the search shows one. Raises Doubtful."""
    draft, systems, client = this.draft, this.systems, this.client
    # 2.
    standing = look(client, systems, draft.case_id, draft.accession)
    current = _current(this, standing)
    if current is not None and (certain or draft.number in draft_numbers(current, systems)):
        # A search index may lag behind: what counts is the resource itself.
        current = client.read(reference_of(current))
    if current is not None and draft.number in draft_numbers(current, systems):
        _complete(this)
        return _checked(this, current, patient=None)
    # 3.
    base = None if current is None else _replaceable(this, current)
    if standing.final(client, CaseKeys(draft.accession, draft.patient, draft.study_instance_uid)):
        raise HumanVersion(
            f"Expected no final report of this accession yet, came one. {HumanVersion.next_step}"
        )
    # 4.
    if base is not None or base != this.known:
        bundle = this.bundle(base, current)
    found_by = f"DiagnosticReport?{query(systems.report, draft.case_id)}"
    with in_doubt():
        written = write(client, bundle, this.capabilities, read_back=base.reference if base else found_by)
        _alone(this)
    # 5.
    return _read_back(this, written, base)


def _current(this: _Publication, standing: Standing) -> Resource | None:
    """Our report as far as the look shows it."""
    known, ours = this.known, standing.ours
    if len(ours) > 1:
        ours = [retire(this.client, this.systems, ours, this.capabilities)]
    if known is None or (ours and reference_of(ours[0]) == known.reference):
        return ours[0] if ours else None
    if ours:
        raise Conflict("Expected our report where it was last written, came another one with its identifier.")
    try:
        current = this.client.read(known.reference)
    except Absent:
        raise HumanVersion(
            f"Expected our earlier draft to be there, came none: it was deleted. {HumanVersion.next_step}"
        ) from None
    if (this.systems.report, this.draft.case_id) not in values_of(current):
        raise HumanVersion(
            f"Expected our earlier draft with our identifier, came one without. {HumanVersion.next_step}"
        )
    return current


def _replaceable(this: _Publication, current: Resource) -> PublishedReport:
    """The version that may be replaced. Raises Conflict for one that is not ours to replace."""
    draft, systems = this.draft, this.systems
    withdrawn = withdrawn_numbers(current, systems)
    if not withdrawn and status_of(current) not in {member.value for member in DraftStatus}:
        raise HumanVersion(
            f"Expected our report to be a draft still, came another status. {HumanVersion.next_step}"
        )
    if not follows(this.client, systems, current, this.known):
        raise HumanVersion(
            f"Expected the version that Prelim wrote, came another one. {HumanVersion.next_step}"
        )
    if withdrawn and status_of(current) is ReportStatus.ENTERED_IN_ERROR:
        raise Conflict(
            "Expected a report that may be drafted again, came one that was withdrawn as entered in error. "
            "Withhold the draft; a report of this order must be written under another case."
        )
    if withdrawn and max(withdrawn) == draft.number:
        raise Conflict("Expected a later draft than the one withdrawn, came that one again. Drop it.")
    if max(withdrawn or draft_numbers(current, systems)) > draft.number:
        raise Conflict("Expected the latest draft of the case, came an earlier one than stands. Drop it.")
    if this.capabilities is not None and not this.capabilities.may_replace:
        raise Conflict(
            "Expected a server that honours If-Match, came one that says it does not: a later draft could go "
            "over a person's version, so it was not written. The earlier draft stands."
        )
    return published_at(this.client, current)


def follows(
    client: FhirClient, systems: IdentifierSystems, current: Resource, known: PublishedReport | None
) -> bool:
    """Whether the current version is ours: the known one, or a later one of ours whose answer was lost."""
    step = step_of(current, systems)
    if step is None or known is None or known.version == version_of(current):
        return step is not None
    # Somebody who saves our version unchanged repeats its step; only we go on to a later one.
    before = step_of(client.vread(known.reference, known.version), systems)
    return before is not None and step > before


def _complete(this: _Publication) -> None:
    """Write what an attempt an entry at a time left out of this draft; the report itself is there."""
    if goes_at_once(this.bundle(None), this.capabilities):
        return
    write(this.client, this.bundle(None, _before(this)), this.capabilities)


def _before(this: _Publication) -> Resource | None:
    """The version before, of an earlier draft: what it names is retired last, and may not have been yet."""
    if this.known is None:
        return None
    try:
        before = this.client.vread(this.known.reference, this.known.version)
    except Rejected:
        return None  # The server keeps no versions.
    return None if this.draft.number in draft_numbers(before, this.systems) else before


def _alone(this: _Publication) -> None:
    """Where the server cannot create conditionally, see that nobody else wrote in the same moment."""
    server = this.capabilities
    if server is not None and not server.of_kind("DiagnosticReport").creates_conditionally:
        standing = look(this.client, this.systems, this.draft.case_id, this.draft.accession)
        if len(standing.ours) > 1:
            retire(this.client, this.systems, standing.ours, server)


def _read_back(this: _Publication, written: Written, base: PublishedReport | None) -> PublishedReport:
    """Step 5, with a request of its own for whatever the answer does not hold."""
    stored = written.of("DiagnosticReport")
    ours = [one for one in written.read if (this.systems.report, this.draft.case_id) in values_of(one)]
    if len(ours) > 1:
        raise Conflict(
            f"Expected one report of ours for the case, came {len(ours)}. Let a person retire all but one."
        )
    reference = stored.reference or (reference_of(ours[0]) if ours else "")
    if not reference or (ours and reference_of(ours[0]) != reference):
        raise NotKept(f"Expected the report under our identifier, came none. {NotKept.next_step}")
    # A search index that lags shows nothing yet: the resource itself is read then.
    current = ours[0] if ours else this.client.read(reference)
    if stored.version and version_of(current) != stored.version:
        raise HumanVersion(f"Expected the version just written, came another one. {HumanVersion.next_step}")
    _check_findings(written)
    published = _checked(this, current, patient=written.of("Patient").resource)
    if base is not None:
        check_replaced(this.client, published, base)
    return published


def _checked(this: _Publication, current: Resource, *, patient: Resource | None) -> PublishedReport:
    """Compare what the server keeps with what was written.

    patient: as the server gave it with its answer; None reads it.
    """
    draft, systems = this.draft, this.systems
    subject = text(record(current, "subject"), "reference")
    if patient is not None and subject.removeprefix(f"{this.client.base_url}/") == reference_of(patient):
        about = draft.patient.identifier in {value for _, value in values_of(patient)}
    else:
        about = same_patient(this.client, current, draft.patient) is True
    kept = {
        "status": current.get("status") == draft.status.value,
        "text": draft.number in draft_numbers(current, systems),
        "report identifier": (systems.report, draft.case_id) in values_of(current),
        "accession": (systems.accession, draft.accession) in values_of(current),
        "machine label": labelled(current),
        "patient": about,
    }
    lost = [name for name, held in kept.items() if not held]
    if lost:
        raise NotKept(f"Expected what was written, came another {', '.join(lost)}. {NotKept.next_step}")
    return published_at(this.client, current)


def _check_findings(written: Written) -> None:
    """Compare the findings that the answer shows with those that were sent: a wrong side harms someone."""
    for sent, stored in written.entries:
        kept = stored.resource
        if text(sent, "resourceType") != "Observation" or text(kept, "resourceType") != "Observation":
            continue
        if text(sent, "status") != text(kept, "status") or any(
            not _stated(sent, name) <= _stated(kept, name) for name in _STATED
        ):
            raise NotKept(f"Expected the findings as written, came others. {NotKept.next_step}")


def _stated(observation: object, name: str) -> set[tuple[str, str]]:
    """What a CodeableConcept says: a server may add displays, and codes of its own."""
    concept = record(observation, name)
    said = {(text(coding, "system"), text(coding, "code")) for coding in records(concept, "coding")}
    return said | ({("", text(concept, "text"))} if text(concept, "text") else set())


def check_replaced(client: FhirClient, published: PublishedReport, base: PublishedReport) -> None:
    """Raise HumanVersion when the server wrote ours over another version than base."""
    numbers = (base.version, published.version)
    counted = all(number.isdecimal() and len(number) < 10 for number in numbers)
    # Where versions are counted, ours is the next one after base or somebody's lies between.
    if counted and int(numbers[1]) == int(numbers[0]) + 1:
        return
    # Servers exist that ignore ifMatch inside a transaction: the version before ours tells.
    try:
        versions = [version_of(version) for version in client.history(published.reference)]
    except Rejected:
        return
    before = versions[versions.index(published.version) + 1 :] if published.version in versions else []
    if before and before[0] != base.version:
        raise HumanVersion(
            "Expected the server to honour If-Match; it wrote ours over another version. "
            "Restore that version from the report's history, and do not publish to this server."
        )
