"""A radiologist's signature, attested: a Provenance beside the report that they signed.

The report itself is theirs and is never written. The Provenance says who verified which version, what that
version was drafted from, and that Prelim recorded it: so whoever reads the report can find the draft.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.errors import Malformed, Rejected
from connectors.exchange import Practitioner, PublishedReport
from connectors.fhir.attachment import clean
from connectors.fhir.client import FhirClient, reference_of
from connectors.fhir.drafts.authorship import PARTICIPANT_TYPE
from connectors.fhir.elements import record, records, text, texts
from connectors.fhir.identifiers import IdentifierSystems, values_of
from connectors.fhir.instants import instant

Resource = dict[str, Any]

ATTESTATION = "urn:prelim:attestation"
"""System of the meta.tag that holds the hash of what is attested: a repeat finds its Provenance by it."""
PERSONS = frozenset({"Practitioner", "PractitionerRole"})


def attest(
    client: FhirClient,
    *,
    report: str,
    version: str,
    signer: Practitioner,
    signed_at: datetime | None,
    evidence_sha256: str,
    draft: PublishedReport | None = None,
    systems: IdentifierSystems | None = None,
) -> str:
    """Say in a Provenance who verified a report, and return its reference. Safe to repeat after any failure.

    report, version: DiagnosticReport/ID and meta.versionId of what was signed.
    signer: as the report names them. evidence_sha256: of what was seen; equal for every repeat.
    draft: where the draft stands that the signature closed; one without a version stands there no longer.

    1. Look for the Provenance of an earlier attempt whose answer was lost.
    2. Read the version that was signed, and find in it the reference that leads to its signer.
    3. Write the Provenance; the report is not touched.

    Raises Absent when that version is not there, Rejected, Unreachable, Malformed, Conflict.
    """
    systems = systems or IdentifierSystems()
    # 1.
    target = client.relative(report)
    # Some servers find a reference with a version by that version alone, others strip versions.
    for known in client.search("Provenance", {"target": f"{target},{target}/_history/{version}"}):
        # A lenient server may ignore the parameter: the tag alone says that it is this one.
        if _attests(known, evidence_sha256):
            return reference_of(known)
    # 2.
    who = signer_reference(client, client.vread(target, version), signer)
    # 3.
    stored = client.create(
        attestation(
            target,
            version,
            who=who,
            signed_at=signed_at,
            recorded_at=datetime.now(UTC),
            evidence_sha256=evidence_sha256,
            draft=draft,
            systems=systems,
        )
    )
    if not stored.reference:
        raise Malformed("create Provenance: expected its location in the answer, came none.")
    return stored.reference


def attestation(
    report: str,
    version: str,
    *,
    who: Resource,
    signed_at: datetime | None,
    recorded_at: datetime,
    evidence_sha256: str,
    draft: PublishedReport | None,
    systems: IdentifierSystems,
) -> Resource:
    """The Provenance of a signature (FHIR R4 Provenance). Pure.

    The person is its verifier. Prelim is its assembler: a device that put together what others did. The
    draft is the revision that was signed where it stood in the same place, else a source beside it.
    """
    provenance: Resource = {
        "resourceType": "Provenance",
        "meta": {"tag": [{"system": ATTESTATION, "code": evidence_sha256}]},
        "target": [_versioned(report, version)],
        "recorded": instant(recorded_at),
        "agent": [
            {"type": _participant("verifier", "Verifier"), "who": who},
            {
                "type": _participant("assembler", "Assembler"),
                "who": {
                    "type": "Device",
                    "identifier": {"system": systems.device, "value": "prelim"},
                    "display": "Prelim",
                },
            },
        ],
    }
    if signed_at is not None:
        provenance["occurredDateTime"] = instant(signed_at)
    if draft is not None:
        role = "revision" if draft.reference == report else "source"
        provenance["entity"] = [{"role": role, "what": _versioned(draft.reference, draft.version)}]
    return provenance


def signer_reference(client: FhirClient, report: Resource, signer: Practitioner) -> Resource:
    """The report's own reference to its signer, else one by name and identifier alone.

    A reference is taken over only where it leads to a person on this server who is the signer: contained
    resources and other servers cannot be named from another resource.
    """
    named = clean(signer.printed_name).strip()
    for element in ("resultsInterpreter", "performer"):
        for reference in records(report, element):
            found = _on_server(client, reference)
            if found is not None and _is(signer, found, client):
                return {"reference": reference_of(found), "display": named}
    logical: Resource = {"type": "Practitioner", "display": named}
    if signer.identifier:
        logical["identifier"] = {"value": clean(signer.identifier)}
    return logical


def _on_server(client: FhirClient, reference: Resource) -> Resource | None:
    try:
        path = client.relative(text(reference, "reference"))
        return client.read(path) if path.partition("/")[0] in PERSONS else None
    except Rejected:
        return None


def _is(signer: Practitioner, resource: Resource, client: FhirClient) -> bool:
    """Whether a Practitioner, or the one of a PractitionerRole, is the signer."""
    person = resource
    if resource.get("resourceType") == "PractitionerRole":
        person = _on_server(client, record(resource, "practitioner")) or {}
    identifiers = {value for _, value in values_of(person)}
    if signer.identifier and identifiers:
        return signer.identifier in identifiers
    # Whole words, family and given name: Li signed nothing because Lindberg did, nor did another Rosa.
    printed = _words(signer.printed_name)
    return any(words and words <= printed for words in map(_words, map(_named, records(person, "name"))))


def _named(name: Resource) -> str:
    family, given = text(name, "family"), " ".join(texts(name, "given"))
    return f"{family} {given}" if family else text(name, "text")


def _words(name: str) -> set[str]:
    return set(clean(name).casefold().split())


def _attests(provenance: Resource, evidence_sha256: str) -> bool:
    tags = records(record(provenance, "meta"), "tag")
    return any((text(tag, "system"), text(tag, "code")) == (ATTESTATION, evidence_sha256) for tag in tags)


def _versioned(reference: str, version: str) -> Resource:
    if not version:
        return {"reference": reference}
    # Servers may strip versions from references: the display says it once more.
    return {"reference": f"{reference}/_history/{version}", "display": f"Version {version}"}


def _participant(code: str, display: str) -> Resource:
    return {"coding": [{"system": PARTICIPANT_TYPE, "code": code, "display": display}]}
