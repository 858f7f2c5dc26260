"""Our draft on a FHIR server: written once and never over a person, taken back, the signature attested."""
