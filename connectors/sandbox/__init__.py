"""The embedded hospital: a RIS, a PACS and a FHIR server on loopback, for the demo and for fast tests."""
