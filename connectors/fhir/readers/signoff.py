"""What became of our draft on a FHIR server: a person's version of it, or a person's own report.

Evidence, not a verdict: whether it counts as signed is decided by who reads this (a final status, a
named human, a source that is not ourselves).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
from collections.abc import Collection, Iterator
from typing import Any

from connectors.errors import Malformed
from connectors.exchange import ReportDocument, SignedReport
from connectors.fhir.attachment import HTML_TYPES, PLAIN_TYPES, clean, presented, presented_text
from connectors.fhir.client import version_of
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems, types_of, values_of
from connectors.fhir.ours import step_of
from connectors.fhir.readers.dossier import Dossier
from connectors.fhir.readers.keys import accessions, identifiers_of, studies, subject
from connectors.fhir.readers.persons import signer_of
from connectors.fhir.readers.reports import (
    ACCESSION_TYPES,
    accessions_of,
    status_of,
)
from connectors.fhir.readers.words import exact, moment

Resource = dict[str, Any]

UNKNOWN_TYPE = "application/octet-stream"


def read_report(
    dossier: Dossier, *, systems: IdentifierSystems | None = None, expected: Collection[str] = ()
) -> SignedReport | None:
    """What a person wrote in this version of a report; None when its words are ours, our withdrawal included.

    expected: accession numbers that are looked for. One of them is taken from among several, and believed of
    an identifier that does not say what it is.

    1. Leave out a version of ours.
    2. Take its text: presentedForm, or the conclusion where the form is none or still ours.
    3. Take its time: issued, or when the server stored it where that is still ours.
    4. Take what ties it to a case, as the report itself says it: a mismatch must be seen.

    Raises Malformed for another resource.
    """
    systems = systems or IdentifierSystems()
    report = dossier.focus
    if dossier.kind != "DiagnosticReport":
        raise Malformed("Expected a DiagnosticReport to read a sign-off from, came another resource.")
    # 1.
    if step_of(report, systems) is not None:
        return None
    # 2. and 3.
    before = _before(dossier)
    stored_at = moment(record(report, "meta").get("lastUpdated"))
    stale_issued = before is not None and before.get("issued") == report.get("issued")
    # 4.
    uids = studies(dossier)
    cases = {value for system, value in values_of(report) if system == systems.report and value}
    return SignedReport(
        accession=_accession(dossier, systems, expected),
        patient=subject(dossier, systems),
        status=status_of(report),
        text=_words(report, before),
        channel="fhir",
        source=f"{dossier.base_url}/{dossier.reference}",
        signer=signer_of(dossier),
        signed_at=(None if stale_issued else moment(report.get("issued"))) or stored_at,
        study_instance_uid=uids[0] if len(uids) == 1 else "",
        report_identifier=_identifier(report) or dossier.reference,
        version=version_of(report),
        documents=tuple(_documents(report, before)),
        case_id=cases.pop() if len(cases) == 1 else "",
    )


def read_reports(
    dossier: Dossier, *, systems: IdentifierSystems | None = None, expected: Collection[str] = ()
) -> tuple[SignedReport, ...]:
    """What a person wrote in this version, once for each case that it reports; nothing where it is ours.

    expected: as for `read_report`. A report that was dictated for several orders names several accession
    numbers: each of them that is looked for counts. One in the place of our own is of that one case.

    Raises Malformed as `read_report` does.
    """
    systems = systems or IdentifierSystems()
    report = read_report(dossier, systems=systems, expected=expected)
    if report is None:
        return ()
    in_our_place = any(system == systems.report for system, _ in values_of(dossier.focus))
    named = () if in_our_place else accessions(dossier, systems)
    further = [one for one in named if one in expected and one != report.accession]
    if not further:
        return (report,)
    # One study cannot be that of several orders: which of them it is of is not said.
    of_all = dataclasses.replace(report, study_instance_uid="")
    return (of_all, *(dataclasses.replace(of_all, accession=one) for one in further))


def _before(dossier: Dossier) -> Resource | None:
    """Our version that stood before, where it was fetched."""
    history = f"{dossier.reference}/_history/"
    return next((one for name, one in dossier.others.items() if name.startswith(history)), None)


def _words(report: Resource, before: Resource | None) -> str:
    # A RIS that edits the draft in place may leave parts of it as they were: those say nothing new.
    stale_form = before is not None and presented(before) == presented(report)
    changed_conclusion = before is not None and report.get("conclusion") != before.get("conclusion")
    conclusion = clean(text(report, "conclusion")).strip()
    words = presented_text(report)
    return conclusion if conclusion and (not words or (stale_form and changed_conclusion)) else words


def _accession(dossier: Dossier, systems: IdentifierSystems, expected: Collection[str]) -> str:
    named = accessions(dossier, systems)
    # What does not say that it is an accession number is one only where it is looked for.
    wanted = [value for value in (*named, *accessions_of(dossier.focus, systems)) if value in expected]
    return next(iter(wanted or named), "")


def _identifier(report: Resource) -> str:
    for identifier in identifiers_of(report):
        if exact(identifier, "value") and not types_of(identifier) & ACCESSION_TYPES:
            return exact(identifier, "value")
    return ""


def _documents(report: Resource, before: Resource | None) -> Iterator[ReportDocument]:
    """The forms that are not read as text; one that stood in our version before is not the person's."""
    ours = set(presented(before)) if before is not None else set()
    for form in records(report, "presentedForm"):
        media_type = text(form, "contentType").partition(";")[0].strip().lower() or UNKNOWN_TYPE
        if media_type in HTML_TYPES | PLAIN_TYPES or text(form, "data") in ours:
            continue
        try:
            data = base64.b64decode(text(form, "data"))
        except (binascii.Error, ValueError):
            continue
        if data:
            yield ReportDocument(media_type, hashlib.sha256(data).hexdigest(), len(data))
        elif text(form, "url"):
            yield ReportDocument(media_type, "", 0)
