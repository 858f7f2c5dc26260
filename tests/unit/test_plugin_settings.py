"""Settings: limits, precedence, misspelt names, and secrets that no error repeats."""

from __future__ import annotations

import socket
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange import DraftStatus
from plugin.settings import SettingError, Settings, load

LIMITS = {
    "MLLP_PORT": (0, 65535, 1),
    "HTTP_PORT": (0, 65535, 1),
    "MLLP_FRAME_BYTES": (1024, 2**30, 1),
    "MLLP_CONNECTIONS": (1, 10000, 1),
    "STUDY_BYTES": (2**20, 2**40, 1),
    "PARSE_BYTES": (2**26, 2**40, 1),
    "WORKER_THREADS": (1, 64, 1),
    "MLLP_IDLE_SECONDS": (0.1, 86400, 0.01),
    "STUDY_SETTLE_SECONDS": (0, 86400, 0.01),
    "PARSE_SECONDS": (1, 3600, 0.01),
    "WORKER_LEASE_SECONDS": (1, 3600, 0.01),
    "POLL_SECONDS": (0.05, 3600, 0.01),
    "RETRY_SECONDS": (0.05, 3600, 0.01),
    "PEER_TIMEOUT_SECONDS": (0.1, 600, 0.01),
    "RIS_PER_SECOND": (0.01, 1000, 0.001),
    "MESSAGE_DAYS": (0, 36500, 1),
    "FHIR_RETIRE_SECONDS": (0, 86400, 0.1),
}
SECRET = "hunter2-do-not-tell"


def told(**values: str) -> Settings:
    """Settings from PRELIM_* variables alone."""
    return load({f"PRELIM_{name.upper()}": value for name, value in values.items()})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No prelim.toml of the checkout takes part."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", LIMITS)
def test_a_number_is_taken_up_to_its_limits(name: str) -> None:
    """Both ends are allowed; just beyond either, a sentence names setting, range and value."""
    low, high, step = LIMITS[name]
    for value in (low, high):
        assert getattr(told(**{name: str(value)}), name.lower()) == value
    for value in (low - step, high + step):
        with pytest.raises(SettingError, match=rf"^PRELIM_{name} must be .* from .*; it is '{value}'\.$"):
            told(**{name: str(value)})


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", ["", "many", "nan", "inf", "1e9999", "0x10"])
def test_a_number_that_is_none_is_refused(name: str, value: str) -> None:
    """Words, infinities and what is not a number are no setting."""
    with pytest.raises(SettingError, match=f"PRELIM_{name}"):
        told(**{name: value})


@pytest.mark.parametrize("name", ["MLLP_HOST", "HTTP_HOST"])
def test_an_empty_address_does_not_bind_everywhere(name: str) -> None:
    """Every address of the machine is asked for by name, never by leaving something out."""
    with pytest.raises(SettingError, match=f"PRELIM_{name} must be an address to bind to"):
        told(**{name: " "})
    assert getattr(told(**{name: "0.0.0.0"}), name.lower()) == "0.0.0.0"


def test_every_numeric_setting_has_its_limits_tested() -> None:
    """A new number among the settings needs a line in the table above."""
    numeric = {spec.name.upper() for spec in fields(Settings) if type(spec.default) in (int, float)}
    assert numeric == set(LIMITS)


def test_the_defaults_are_what_the_readers_of_a_variable_give() -> None:
    """Each default, written as text, reads as itself."""
    for spec in fields(Settings):
        value = spec.default
        text = ",".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
        assert spec.metadata["read"](text) == value, spec.name
        assert spec.metadata["meaning"]


def test_the_surfaces_have_their_stable_names() -> None:
    """The names and defaults that other systems build on."""
    plain = told()
    assert plain.database_url == "sqlite:///prelim.sqlite"
    assert (plain.mllp_host, plain.mllp_port) == ("127.0.0.1", 2575)
    assert (plain.http_host, plain.http_port) == ("127.0.0.1", 8765)
    assert (plain.draft_status, plain.shadow) == (DraftStatus.PRELIMINARY, False)


def test_a_variable_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    """Variable, then file, then default."""
    file = tmp_path / "site.toml"
    file.write_text(
        'mllp_port = 3000\nhttp_port = 3001\naccession_places = ["OBR-3", "ORC-3"]\nshadow = true\n'
    )
    found = load({"PRELIM_MLLP_PORT": "4000"}, file)
    assert (found.mllp_port, found.http_port, found.mllp_host) == (4000, 3001, "127.0.0.1")
    assert (found.accession_places, found.shadow) == (("OBR-3", "ORC-3"), True)


def test_the_file_is_found_by_variable_or_in_the_working_folder(tmp_path: Path) -> None:
    """PRELIM_SETTINGS names it, else ./prelim.toml when it is there."""
    (tmp_path / "prelim.toml").write_text("http_port = 1\n")
    (tmp_path / "other.toml").write_text("http_port = 2\n")
    assert load({}).http_port == 1
    assert load({"PRELIM_SETTINGS": "other.toml"}).http_port == 2
    with pytest.raises(SettingError, match=r"settings file none\.toml cannot be read"):
        load({"PRELIM_SETTINGS": "none.toml"})


@pytest.mark.parametrize("text", ["mllp_prot = 1", "[mllp]\nport = 1", "PRELIM_MLLP_PORT = 1"])
def test_a_misspelt_name_in_the_file_is_an_error(tmp_path: Path, text: str) -> None:
    """A name that is no setting would silently do nothing."""
    (tmp_path / "prelim.toml").write_text(text)
    with pytest.raises(SettingError, match="which is no setting"):
        load({})


def test_a_misspelt_variable_is_an_error() -> None:
    """PRELIM_ and anything that is no setting is refused by name; other variables are not ours."""
    with pytest.raises(SettingError, match="PRELIM_MLLP_PROT is no setting"):
        told(mllp_prot="1")
    assert load({"PATH": "/bin", "MLLP_PORT": "1", "PRELIM_REQUIRE_SERVICES": "1"}) == Settings()


@pytest.mark.parametrize("text", ["= 1", "a = ", "\x00"])
def test_a_file_that_is_no_toml_is_an_error(tmp_path: Path, text: str) -> None:
    """One sentence names the file."""
    (tmp_path / "prelim.toml").write_text(text)
    with pytest.raises(SettingError, match=r"prelim\.toml cannot be read"):
        load({})


@pytest.mark.parametrize("text", ["yes", "TRUE", "1", "on"])
def test_a_flag_says_yes(text: str) -> None:
    """yes, true, on and 1, in any case."""
    assert told(shadow=text).shadow is True


@pytest.mark.parametrize("text", ["no", "False", "0", "off", ""])
def test_a_flag_says_no(text: str) -> None:
    """no, false, off, 0 and nothing, in any case."""
    assert told(shadow=text).shadow is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shadow", "perhaps"),
        ("draft_status", "final"),
        ("draft_status", "Preliminary"),
        ("draft_status", ""),
        ("fhir_url", "ftp://host"),
        ("fhir_url", "host:8080"),
        ("fhir_url", "http://"),
        ("fhir_url", "http://[::1"),
        ("ris", "host"),
        ("ris", ":1"),
        ("ris", "host:0"),
        ("ris", "host:65536"),
        ("ris", "host:port"),
        ("accession_places", ""),
        ("accession_places", " , "),
        ("database_url", "mysql://host/x"),
        ("database_url", "prelim.sqlite"),
        ("database_url", ""),
    ],
)
def test_a_value_that_cannot_be_used_is_one_sentence(name: str, value: str) -> None:
    """It names the setting and what was expected."""
    with pytest.raises(SettingError, match=rf"^PRELIM_{name.upper()} must be [^\n]+; it is [^\n]+\.$"):
        told(**{name: value})


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "appended", "registered"])
def test_no_setting_can_make_a_draft_final(status: str) -> None:
    """PRELIM_DRAFT_STATUS takes preliminary or partial and says why nothing else."""
    with pytest.raises(SettingError, match="preliminary or partial"):
        told(draft_status=status)


@pytest.mark.parametrize("peer", ["host:1", "host:65535", "[::1]:2575", ""])
def test_a_peer_is_host_and_port(peer: str) -> None:
    """HOST:PORT with ports from 1 to 65535, or nothing."""
    assert told(ris=peer).ris == peer


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///file:x?mode=memory&cache=shared&uri=true",
    ],
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    """Every way to name a SQLite database without a file: it would lose every order at the next start."""
    with pytest.raises(SettingError, match="PRELIM_DATABASE_URL must be a SQLite file"):
        told(database_url=url)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("sqlite:////var/lib/prelim.sqlite", "sqlite:////var/lib/prelim.sqlite"),
        ("postgresql://u:p@host/x", "postgresql+psycopg://u:p@host/x"),
        ("postgresql+psycopg://u@host:5433/x", "postgresql+psycopg://u@host:5433/x"),
    ],
)
def test_a_database_url_names_file_or_server(url: str, kept: str) -> None:
    """The plain name of PostgreSQL means the driver that is installed; the password is kept."""
    assert told(database_url=url).database_url == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", f"mysql://prelim:{SECRET}@host/x"),
        ("database_url", f"postgresql://prelim:{SECRET}@host:port/x"),
        ("database_url", f"postgresql://prelim:a@b:{SECRET}@host/x"),
        ("database_url", f"not a url {SECRET}"),
        ("fhir_url", f"https://prelim:{SECRET}@host/fhir"),
        ("fhir_url", f"ftp://prelim:{SECRET}@host/fhir"),
        ("dicomweb_url", f"https://prelim:{SECRET}@host/"),
        ("dicomweb_url", f"https://prelim:{SECRET}@[host/"),
        ("pacs_changes_url", f"https://{SECRET}@host/"),
        ("fhir_tokne", SECRET),
    ],
)
@pytest.mark.parametrize("where", ["variable", "file"])
def test_an_error_never_repeats_a_secret(name: str, value: str, where: str, tmp_path: Path) -> None:
    """Passwords inside addresses, tokens under a misspelt name: the sentence goes without them."""
    (tmp_path / "prelim.toml").write_text(f'{name} = "{value}"\n' if where == "file" else "")
    with pytest.raises(SettingError) as caught:
        told(**({name: value} if where == "variable" else {}))
    chain: list[Any] = [caught.value]
    while chain[-1] is not None:
        shown = chain[-1].__cause__ or (None if chain[-1].__suppress_context__ else chain[-1].__context__)
        chain.append(shown)
    assert not [error for error in chain if SECRET in str(error)]


def test_a_worker_has_a_name_that_outlives_it() -> None:
    """The host's name unless the site gives another."""
    assert told().executor_id == socket.gethostname()
    assert told(worker_name="node-2").executor_id == "node-2"


@pytest.mark.parametrize(
    ("text", "kept"), [("http://host/fhir/", "http://host/fhir"), (" https://h ", "https://h"), ("", "")]
)
def test_an_address_is_kept_without_its_last_slash(text: str, kept: str) -> None:
    """So that paths can be added to it; nothing means not set."""
    assert told(fhir_url=text).fhir_url == kept
