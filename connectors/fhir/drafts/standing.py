"""What stands on a FHIR server for one case, found in one search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connectors.exchange import PublishedReport
from connectors.fhir.client import FhirClient, reference_of, version_of
from connectors.fhir.drafts.writing import place_of
from connectors.fhir.identifiers import IdentifierSystems, escaped, values_of
from connectors.fhir.ours import withdrawn_numbers
from connectors.fhir.readers.reports import CaseKeys, has_accession, same_patient, same_study, status_of

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """The reports of one case."""

    ours: list[Resource]
    """Under our own identifier, the first one first. One that we withdrew counts only where none else is."""
    others: list[Resource]
    """Of the accession, under anybody's identifiers but ours."""

    def final(self, client: FhirClient, keys: CaseKeys) -> list[Resource]:
        """Final reports of this case that are not known to be about another patient or study."""
        return [
            report
            for report in self.others
            if status_of(report).is_final
            and same_study(client, report, keys.study_instance_uid)
            and same_patient(client, report, keys.patient) is not False
        ]


def look(client: FhirClient, systems: IdentifierSystems, case_id: str, accession: str) -> Standing:
    """What a search finds; its index may lag behind. Raises as FhirClient does."""
    # Without a system the accession matches any: a RIS names its numbers by a system of its own. The case's
    # id goes without as well: looking in one column, not in either of two, a database uses its index. Whole
    # resources are asked for: what tells our versions from others is a hash over all of their words.
    either = f"{escaped(case_id)},{escaped(accession)}"
    found = client.search("DiagnosticReport", {"identifier": either}, is_small=True)
    # A lenient server may ignore the parameter and answer everything: check each match.
    named = {reference_of(one): one for one in found if (systems.report, case_id) in values_of(one)}
    others = [
        one for one in found if reference_of(one) not in named and has_accession(one, systems, accession)
    ]
    live = [one for one in named.values() if not withdrawn_numbers(one, systems)]
    return Standing(sorted(live or named.values(), key=place_of), others)


def published_at(client: FhirClient, current: Resource) -> PublishedReport:
    """Where a version that the server gave stands."""
    reference = reference_of(current)
    return PublishedReport(reference, version_of(current), f"{client.base_url}/{reference}")
