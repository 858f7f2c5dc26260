"""Starts the real peers of the integration tests on loopback: HAPI FHIR, Orthanc and PostgreSQL.

`python -m tests.services start|stop|status`, standard library only. Everything lives under
`.services/` in the checkout; `services.json` there says where the peers answer.
"""
