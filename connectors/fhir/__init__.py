"""FHIR R4: drafts written as resources, human versions read back."""
