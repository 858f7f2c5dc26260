"""What a FHIR server holds, in clinical words: fetched with what it names, kept as evidence, read purely."""
