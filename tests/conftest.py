"""What tests share: the real peers, a fresh PostgreSQL database, the corpora, a deterministic Hypothesis."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.services import state

settings.register_profile(
    "prelim",
    derandomize=True,  # the same examples on every run and machine
    database=None,
    deadline=None,  # a busy machine is no defect
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("prelim")

PEER_FIXTURES = {
    "hapi_url",
    "medplum_url",
    "validator_url",
    "keycloak",
    "orthanc_url",
    "dicomweb_url",
    "postgres_url",
}
CORPORA = state.ROOT.parent / "shared" / "corpora"


def absent(what: str) -> NoReturn:
    """Skip for want of a peer or corpus; fail instead where PRELIM_REQUIRE_SERVICES=1 promises it."""
    if os.environ.get("PRELIM_REQUIRE_SERVICES") == "1":
        pytest.fail(f"PRELIM_REQUIRE_SERVICES=1, but {what}", pytrace=False)
    pytest.skip(what)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for a real peer, so that `-m "not services"` means what it says."""
    for item in items:
        if PEER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("services")


def _address(key: str) -> str:
    services = state.read()
    if key not in services:
        absent(f"the {key} peer is not started: run `make services`")
    return str(services[key])


@pytest.fixture(scope="session")
def hapi_url() -> str:
    """Base URL of a real HAPI FHIR R4 server; it is shared, so tests use identifiers of their own."""
    return _address("fhir")


@pytest.fixture(scope="session")
def keycloak() -> str:
    """Root URL of a real Keycloak, the admin's name and password in it; tests add clients of their own."""
    return _address("keycloak")


@pytest.fixture(scope="session")
def validator_url() -> str:
    """Root URL of HAPI's validator: POST a resource to /R4 or /R5, an OperationOutcome comes back."""
    return _address("validator")


@pytest.fixture(scope="session")
def medplum_url() -> str:
    """Base URL of Medplum's FHIR router in memory; it is shared, so tests use identifiers of their own."""
    return _address("medplum")


@pytest.fixture(scope="session")
def orthanc_url() -> str:
    """Root URL of a real Orthanc, /changes included; it is shared, so tests use UIDs of their own."""
    return _address("orthanc")


@pytest.fixture(scope="session")
def dicomweb_url() -> str:
    """Base URL of the same Orthanc's DICOMweb plugin."""
    return _address("dicomweb")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """SQLAlchemy URL of an empty database, created for this test and dropped after it."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    server = sqlalchemy.create_engine(_address("postgres"), isolation_level="AUTOCOMMIT")
    name = f"test_{secrets.token_hex(6)}"
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield server.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with (
            server.connect() as connection
        ):  # FORCE: a test that forgot a connection must not hold the next one up
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        server.dispose()


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of public sample messages and resources beside the checkout."""
    if not CORPORA.is_dir():
        absent("the corpora are not there: they are expected in ../shared/corpora")
    return CORPORA
