"""Settings of the HL7 listeners: defaults, limits, and errors that name the listener."""

from __future__ import annotations

import json
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.hl7.ack import AckMode
from connectors.hl7.identifiers import Places
from plugin.fetched import FHIR, FHIR_RULES
from plugin.incoming import Rules
from plugin.listeners import Listener, read_listeners
from plugin.pipeline import rules
from plugin.settings import SettingError, Settings, load

LIMITS = {
    "port": (0, 65535, 1),
    "frame_bytes": (1024, 2**30, 1),
    "idle_seconds": (0.1, 86400, 0.01),
    "quiet_seconds": (0.1, 604800, 0.01),
    "connections": (1, 10000, 1),
}
DEFAULTS = {
    "name": "default",
    "host": "127.0.0.1",
    "port": 2575,
    "frame_bytes": 16 * 2**20,
    "idle_seconds": 60.0,
    "quiet_seconds": 3600.0,
    "connections": 200,
    "tls_certificate": None,
    "tls_key": None,
    "tls_client_ca": None,
    "allowed_addresses": (),
    "allowed_certificates": (),
    "ack_mode": "auto",
    "application_acks": "",
    "charset": "",
    "accession_places": (),
}
TLS = {"tls_certificate": "own.pem", "tls_key": "own.key"}
FINGERPRINT = ":".join(["AB"] * 32)
BEGINS = "PRELIM_LISTENERS must be a list of listeners, and "


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No prelim.toml of the checkout takes part."""
    monkeypatch.chdir(tmp_path)


def read(*listeners: dict[str, Any]) -> tuple[Listener, ...]:
    """As a variable gives them: JSON."""
    return load({"PRELIM_LISTENERS": json.dumps(listeners)}).listeners


def refusal(*listeners: dict[str, Any]) -> str:
    """The one sentence that such listeners are refused with."""
    with pytest.raises(SettingError) as caught:
        read(*listeners)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_listener_that_says_nothing_has_the_defaults() -> None:
    """Every field has one, and nothing is forgotten here."""
    (listener,) = read({})
    assert {spec.name: getattr(listener, spec.name) for spec in fields(Listener)} == DEFAULTS
    assert listener == Listener()


@pytest.mark.parametrize("name", LIMITS)
def test_a_number_is_taken_up_to_its_limits(name: str) -> None:
    """Both ends are allowed; just beyond either, a sentence names listener, field, range and value."""
    low, high, step = LIMITS[name]
    for value in (low, high):
        assert getattr(read({"name": "ris", name: value})[0], name) == value
    for value in (low - step, high + step):
        told = refusal({"name": "ris", name: value})
        assert told.startswith(f"{BEGINS}in ris {name} must be ")
        assert f" from {low:g} to " in told or f" from {low} to " in told
        assert told.endswith(f"; it is {value}.")


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", ["", "many", "nan", "inf", None, True, [1], {}])
def test_a_number_that_is_none_is_refused(name: str, value: object) -> None:
    """Words, infinities, truth values and lists are no number."""
    assert refusal({name: value}).startswith(f"{BEGINS}in number 1 {name} must be ")


def test_every_numeric_field_has_its_limits_tested() -> None:
    """A new number needs a line in the table above."""
    assert {spec.name for spec in fields(Listener) if type(spec.default) in (int, float)} == set(LIMITS)


@pytest.mark.parametrize("name", ["a", "0", "x" * 40, "ris-2", "0-a"])
def test_a_name_is_small_letters_digits_and_hyphens(name: str) -> None:
    """It stands in logs, in the store and in addresses of pages, so that it is kept plain."""
    assert read({"name": name})[0].name == name


@pytest.mark.parametrize("name", ["", "x" * 41, "-a", "RIS", "ris 2", "ris_2", "ris/2", "ä", "a\nb"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """The sentence counts the listeners, for the name cannot be relied on."""
    expected = "a name of small letters, digits and hyphens, at most 40"
    told = refusal({"name": "first"}, {"name": name})
    assert told == f"{BEGINS}in number 2 name must be {expected}; it is {name!r}."


def test_a_listener_has_not_the_name_of_what_is_fetched() -> None:
    """Its messages would be taken for resources, on their page and in a replay."""
    told = refusal({"name": FHIR})
    assert "name must be another name than fhir, which is that of the FHIR server's resources" in told
    assert read({"name": "fhir-ris"})[0].name == "fhir-ris"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"allowed_addresses": ["ris.hospital"]}, "allowed_addresses must be addresses or networks, for"),
        ({"allowed_addresses": ["10.1.2.3/8"]}, "allowed_addresses must be addresses or networks, for"),
        ({"allowed_addresses": ["10.1.2.3/33"]}, "allowed_addresses must be addresses or networks, for"),
        ({"allowed_addresses": []}, "allowed_addresses must be addresses or networks, for"),
        ({"allowed_certificates": [" "]}, "allowed_certificates must be at least one name"),
        ({"accession_places": []}, "accession_places must be at least one name"),
        ({"ack_mode": "both"}, "ack_mode must be one of auto, original, enhanced"),
        ({"ack_mode": "AUTO"}, "ack_mode must be one of auto, original, enhanced"),
        ({"application_acks": "ris"}, "application_acks must be HOST:PORT"),
        ({"application_acks": "ris:0"}, "application_acks must be HOST:PORT"),
        ({"application_acks": "ris:65536"}, "application_acks must be HOST:PORT"),
        # It says nothing about what stands in the upper half, which is what an override is for.
        ({"charset": "ASCII"}, "charset must be a character set of HL7 table 0211, for example"),
        ({"charset": "latin"}, "charset must be a character set of HL7 table 0211, for example"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_listener(wrong: dict[str, Any], words: str) -> None:
    """One sentence: listener, field, what was expected, what came."""
    ((value,),) = [tuple(wrong.values())]
    told = refusal({"name": "first", "port": 0}, {"name": "ris-2", "port": 0, **wrong})
    assert told.startswith(f"{BEGINS}in ris-2 {words}")
    assert told.endswith(f"; it is {value!r}.")


def test_a_misspelt_field_is_an_error() -> None:
    """It would silently do nothing; its value is not repeated, for nobody knows what it is."""
    told = refusal({"name": "ris", "prot": "hunter2"})
    assert told == f"{BEGINS}ris names 'prot', which is no setting of a listener."
    assert refusal({}, {"Port": 1}).startswith(f"{BEGINS}number 2 names 'Port', which is no setting")


@pytest.mark.parametrize("text", ["{}", "[1]", "nope", '"ris"', "[[]]", "null", "1", '[{"name": "ris"}'])
def test_a_variable_holds_a_list_of_objects(text: str) -> None:
    """Anything else in PRELIM_LISTENERS is one sentence that says so."""
    with pytest.raises(SettingError) as caught:
        load({"PRELIM_LISTENERS": text})
    expected = "PRELIM_LISTENERS must be a list of listeners (in a variable: as JSON); it is "
    assert str(caught.value) == f"{expected}{text!r}."


@pytest.mark.parametrize("text", ["", "  ", "[]"])
def test_no_listeners_of_their_own_leave_the_one_of_the_mllp_settings(text: str) -> None:
    """An empty variable is as none."""
    settings = load({"PRELIM_LISTENERS": text, "PRELIM_MLLP_PORT": "4000"})
    assert settings.listeners == ()
    assert settings.hl7_listeners == (Listener(port=4000),)


def test_the_mllp_settings_make_the_one_default_listener() -> None:
    """Each of them arrives in it; what they do not say is the listener's own default."""
    settings = load(
        {
            "PRELIM_MLLP_HOST": "0.0.0.0",
            "PRELIM_MLLP_PORT": "4000",
            "PRELIM_MLLP_FRAME_BYTES": "2048",
            "PRELIM_MLLP_IDLE_SECONDS": "5",
            "PRELIM_MLLP_CONNECTIONS": "7",
        }
    )
    made = Listener("default", "0.0.0.0", 4000, 2048, 5.0, connections=7)
    assert settings.hl7_listeners == (made,)
    assert load({}).hl7_listeners == (Listener(),)


def test_a_file_and_a_variable_say_the_same() -> None:
    """`[[listeners]]` tables and the same as JSON are the same listeners, in their order."""
    Path("prelim.toml").write_text(
        '[[listeners]]\nname = "ris"\nport = 2601\naccession_places = ["OBR-3"]\n'
        'allowed_addresses = ["10.1.0.0/16", "::1"]\n\n'
        '[[listeners]]\nname = "engine"\nport = 2602\nidle_seconds = 1\ncharset = "8859/1"\n'
    )
    as_json = [
        {"name": "ris", "port": 2601, "accession_places": "OBR-3", "allowed_addresses": "10.1.0.0/16, ::1"},
        {"name": "engine", "port": "2602", "idle_seconds": "1", "charset": "8859/1"},
    ]
    found = load({}).hl7_listeners
    assert [listener.name for listener in found] == ["ris", "engine"]
    assert found[0].allowed_addresses == (ip_network("10.1.0.0/16"), ip_network("::1/128"))
    assert found == read(*as_json)


def test_a_variable_wins_over_the_file_as_a_whole() -> None:
    """Listeners of both are not mixed: who names them in the environment names all of them."""
    Path("prelim.toml").write_text('[[listeners]]\nname = "ris"\n')
    assert [listener.name for listener in read({"name": "engine"})] == ["engine"]


def test_a_table_that_is_no_list_is_refused() -> None:
    """`[listeners]` for `[[listeners]]` is a common slip."""
    Path("prelim.toml").write_text('[listeners]\nname = "ris"\n')
    with pytest.raises(SettingError, match="must be a list of listeners"):
        load({})


def test_two_listeners_share_no_name() -> None:
    """The store names a message's listener, and rules are found by it."""
    assert refusal({"name": "ris", "port": 1}, {"name": "x", "port": 2}, {"name": "ris", "port": 3}) == (
        f"{BEGINS}each needs a name of its own; two are ris."
    )
    assert refusal({"port": 1}, {"port": 2}).endswith("two are default.")


def test_two_listeners_share_no_address() -> None:
    """One port on two hosts is two addresses, and any number may ask for a free port."""
    told = refusal({"name": "a"}, {"name": "b", "port": 1}, {"name": "c"})
    assert told == f"{BEGINS}each needs an address and port of its own; a and c have 127.0.0.1:2575."
    assert len(read({"name": "a"}, {"name": "b", "host": "127.0.0.2"})) == 2
    assert len(read({"name": "a", "port": 0}, {"name": "b", "port": 0})) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"tls_certificate": "own.pem"},
            "tls_certificate and tls_key together; it has tls_certificate alone",
        ),
        ({"tls_key": "own.key"}, "tls_certificate and tls_key together; it has tls_key alone"),
        ({"tls_client_ca": "ca.pem"}, "tls_certificate for tls_client_ca"),
        ({"allowed_certificates": ["RIS"]}, "tls_client_ca for allowed_certificates"),
        ({**TLS, "allowed_certificates": ["RIS"]}, "tls_client_ca for allowed_certificates"),
    ],
)
def test_a_part_of_tls_needs_the_others(given: dict[str, Any], words: str) -> None:
    """A list of certificates that nobody is asked for, or a key without its certificate, protects nothing."""
    assert refusal({"name": "ris", **given}) == f"{BEGINS}ris needs {words}."


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"tls_certificate": "", "tls_key": ""},
        TLS,
        {**TLS, "tls_client_ca": "ca.pem"},
        {**TLS, "tls_client_ca": "ca.pem", "allowed_certificates": ["RIS 1", FINGERPRINT]},
    ],
)
def test_tls_is_off_or_whole(given: dict[str, Any]) -> None:
    """Plain, with a certificate, with those of its senders, and with a list of them."""
    (listener,) = read(given)
    told = given.get("tls_certificate") or None
    assert listener.tls_certificate == (Path(told) if told else None)
    assert listener.allowed_certificates == tuple(given.get("allowed_certificates", ()))


@pytest.mark.parametrize("charset", ["", "UNICODE UTF-8", "8859/1", "windows-1252", "ISO IR87"])
def test_a_character_set_is_written_as_in_a_message(charset: str) -> None:
    """A name of HL7 table 0211, one that senders write for it, or nothing."""
    assert read({"charset": charset})[0].charset == charset


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)
)
def test_whatever_a_field_holds_is_read_or_refused(value: object) -> None:
    """No value of any field ends in anything but a listener or a ValueError."""
    for spec in fields(Listener):
        told = _told([{spec.name: value}])
        assert told == "" or told.startswith("a list of listeners, and ")


def _told(listeners: list[dict[str, object]]) -> str:
    """What is wrong with listeners; empty when they are read."""
    try:
        (listener,) = read_listeners(listeners)
    except ValueError as error:
        return str(error)
    assert isinstance(listener, Listener)
    return ""


def test_each_listener_has_rules_of_its_own() -> None:
    """What it says itself, and the site's accession places, patient identifier and signers elsewhere."""
    listeners = read(
        {"name": "ris", "port": 0},
        {
            "name": "engine",
            "port": 0,
            "accession_places": ["OBR-3", "ORC-3"],
            "charset": "windows-1252",
            "ack_mode": "enhanced",
            "application_acks": "engine:2576",
        },
    )
    site = Settings(
        listeners=listeners,
        accession_places=("ORC-2",),
        patient_identifier_type="MR",
        patient_authority="HOSP",
        signer_places=("OBX-16",),
    )
    told = {"patient_identifier_type": "MR", "patient_assigning_authority": "HOSP", "signer": ("OBX-16",)}
    assert rules(site) == {
        "ris": Rules("ris", places=Places(accession=("ORC-2",), **told)),
        "engine": Rules(
            "engine",
            places=Places(accession=("OBR-3", "ORC-3"), **told),
            charset="windows-1252",
            ack_mode=AckMode.ENHANCED,
            application_acks="engine:2576",
        ),
        FHIR: FHIR_RULES,
    }
    assert rules(Settings()) == {"default": Rules(), FHIR: FHIR_RULES}


def test_a_place_that_is_none_names_who_has_it() -> None:
    """The listener's own places, or the site's."""
    listeners = read({"name": "ris", "accession_places": "OBR"}, {"name": "b", "port": 1})
    with pytest.raises(SettingError, match=r"^PRELIM_LISTENERS, ris: 'OBR' is no place; write for example"):
        rules(Settings(listeners=listeners))
    with pytest.raises(SettingError, match=r"^PRELIM_ACCESSION_PLACES or PRELIM_SIGNER_PLACES: 'OBR' is no"):
        rules(Settings(listeners=read({"name": "b"}), accession_places=("OBR",)))


@pytest.mark.parametrize("name", ["tls_certificate", "charset", "port"])
def test_a_null_is_no_value(name: str) -> None:
    """JSON's null is refused: it would become a file called None."""
    with pytest.raises(SettingError, match=f"{name} must be given a value or left out"):
        load({"PRELIM_LISTENERS": json.dumps([{"name": "a", name: None}])})
