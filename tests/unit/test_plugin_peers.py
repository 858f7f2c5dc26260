"""How the settings say that the FHIR server is spoken to, and where our public keys are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from plugin.peers import fhir_client, fhir_keys
from plugin.settings import SettingError, Settings
from tests.key_files import p384, rsa_key, write_key
from tests.web_site import WebSite

PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
PAGE = "/.well-known/jwks.json"


@pytest.fixture
def smart(tmp_path: Path) -> Settings:
    """Settings for SMART Backend Services."""
    write_key(tmp_path / "a.pem")
    return Settings(fhir_url="https://fhir.example/r4", fhir_client_id="prelim", fhir_keys=tmp_path)


def test_each_way_to_show_who_we_are_makes_a_client(smart: Settings) -> None:
    """Keys, a fixed token, or nothing; release and base URL as set."""
    for settings in (
        smart,
        Settings(fhir_url=smart.fhir_url, fhir_token="t"),
        Settings(fhir_url=smart.fhir_url, fhir_release="R5"),
    ):
        with fhir_client(settings) as client:
            assert (client.base_url, client.release) == (settings.fhir_url, settings.fhir_release)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"fhir_token": "secret-token"}, ("PRELIM_FHIR_TOKEN", "PRELIM_FHIR_CLIENT_ID")),
        ({"fhir_client_id": ""}, ("PRELIM_FHIR_CLIENT_ID", "PRELIM_FHIR_KEYS")),
        ({"fhir_keys": None}, ("PRELIM_FHIR_CLIENT_ID", "PRELIM_FHIR_KEYS")),
        ({"fhir_client_id": "", "fhir_token": "secret-token"}, ("PRELIM_FHIR_TOKEN", "PRELIM_FHIR_KEYS")),
        ({"fhir_keys": Path("nowhere")}, ("PRELIM_FHIR_KEYS", "nowhere")),
        ({"fhir_token_url": "http://auth.example/token"}, ("PRELIM_FHIR_TOKEN_URL", "https")),
        ({"fhir_url": ""}, ("PRELIM_FHIR_URL",)),
        ({"fhir_url": "https://fhir.example/r4?x=1"}, ("PRELIM_FHIR_URL",)),
    ],
)
def test_settings_that_do_not_go_together_are_named(
    smart: Settings, changes: dict[str, object], names: tuple[str, ...]
) -> None:
    """One sentence with both names, and without the secret."""
    with pytest.raises(SettingError) as refused:
        fhir_client(replace(smart, **changes))  # type: ignore[arg-type]
    assert all(name in str(refused.value) for name in names)
    assert "secret-token" not in str(refused.value)


def test_the_public_halves_of_all_keys_are_shown(tmp_path: Path) -> None:
    """Also of the next one, and no private member of either kind; a new one is seen without a restart."""
    folder = tmp_path / "keys"
    folder.mkdir()
    write_key(folder / "a.pem", p384())
    site = WebSite(tmp_path, fhir_keys=folder)
    assert len(site.json(PAGE)["keys"]) == 1
    write_key(folder / "b.next.pem", rsa_key())
    answer = site.client.get(PAGE)
    keys = answer.get_json()["keys"]
    assert [key["alg"] for key in keys] == ["ES384", "RS384"]
    assert not [key for key in keys if set(key) & set(PRIVATE)]
    assert "PRIVATE" not in answer.get_data(as_text=True)
    assert answer.content_type == "application/json"


def test_without_keys_there_is_no_key_set(tmp_path: Path) -> None:
    """404, like any other address that is none."""
    assert fhir_keys(Settings()) is None
    assert WebSite(tmp_path).client.get(PAGE).status_code == 404


def test_keys_that_cannot_be_read_are_no_empty_key_set(tmp_path: Path) -> None:
    """503: a server that fetched an empty one would refuse us until it fetches again. No path is told."""
    site = WebSite(tmp_path, fhir_keys=tmp_path / "nowhere")
    answer = site.client.get(PAGE)
    assert answer.status_code == 503
    assert "nowhere" not in answer.get_data(as_text=True)
