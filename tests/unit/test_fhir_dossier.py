"""A fetched resource with what it names: what is fetched, what is kept, what is read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed, Rejected, Unreachable
from connectors.exchange import PublishedReport
from connectors.fhir.client import FhirClient
from connectors.fhir.outcome import Absent
from connectors.fhir.readers import dossier as dossiers
from connectors.fhir.readers.dossier import (
    MAX_CONTAINED,
    MAX_DOSSIER_BYTES,
    MAX_NAMED,
    MAX_READS,
    Dossier,
    gather,
    resolve,
)
from tests.fhir_dossiers import BASE, DOCTOR, ENCOUNTER, PATIENT, REPORT, REQUEST, STANDING, STUDY

Resource = dict[str, Any]


class Server:
    """Resources by path; what is asked for is kept. A host beside ours fails the test."""

    def __init__(self, *resources: Resource, **status: int) -> None:
        self.by_path = {f"{one['resourceType']}/{one['id']}": one for one in (*STANDING, *resources)}
        self.status = status
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.host == "fhir.test"
        path = request.url.path.removeprefix("/r4/")
        self.asked.append(path)
        kind = path.partition("/")[0]
        if kind in self.status:
            return httpx.Response(self.status[kind])
        found = self.by_path.get(path)
        return httpx.Response(200, json=found) if found else httpx.Response(404)

    def gather(self, what: str | Resource, before: PublishedReport | None = None) -> Dossier:
        with FhirClient(BASE, transport=httpx.MockTransport(self)) as client:
            return gather(client, what, before=before)


@pytest.mark.parametrize(
    ("reference", "others"),
    [
        ("ServiceRequest/12", {"Patient/1", "Encounter/5", "Practitioner/7"}),
        ("DiagnosticReport/9", {"Patient/1", "Practitioner/7"}),
        ("ImagingStudy/20", {"Patient/1", "ServiceRequest/12"}),
        (f"{BASE}/ServiceRequest/12/_history/1", {"Patient/1", "Encounter/5", "Practitioner/7"}),
    ],
)
def test_resource_is_fetched_with_what_it_names(reference: str, others: set[str]) -> None:
    """Subject, persons, requests, studies and encounter of the current version, each read once."""
    server = Server()
    found = server.gather(reference)
    assert found.focus == server.by_path[found.reference]
    assert set(found.others) == others
    assert sorted(server.asked) == sorted({found.reference, *others})


def test_resource_that_a_search_gave_is_not_read_again() -> None:
    """The version that is given is the one that is kept."""
    server = Server()
    assert server.gather(REQUEST).name == "ServiceRequest/12/_history/3"
    assert "ServiceRequest/12" not in server.asked


def test_resource_that_is_named_often_is_read_once() -> None:
    """A person who interprets and performs, and is named in another spelling."""
    server = Server()
    named = [{"reference": "Practitioner/7"}, {"reference": f"{BASE}/Practitioner/7/_history/1"}]
    server.gather({**REPORT, "resultsInterpreter": named, "performer": named})
    assert server.asked.count("Practitioner/7") == 1


def test_part_of_a_resource_is_read_again() -> None:
    """What a search gave in part says less than it holds: absent elements would be believed absent."""
    part = {**REQUEST, "code": None, "meta": {"tag": [{"code": "SUBSETTED"}]}}
    assert Server().gather(part).focus == REQUEST


def test_person_behind_a_role_is_fetched() -> None:
    """PractitionerRole and its practitioner, also of a role that the report contains."""
    role = {"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "Practitioner/7"}}
    outside = {**REPORT, "resultsInterpreter": [{"reference": "PractitionerRole/r"}]}
    inside = {**REPORT, "resultsInterpreter": [{"reference": "#r"}], "contained": [role]}
    assert {"PractitionerRole/r", "Practitioner/7"} <= set(Server(role).gather(outside).others)
    assert "Practitioner/7" in Server().gather(inside).others


@pytest.mark.parametrize(
    "reference",
    [
        "http://other.test/r4/Patient/1",
        "http://fhir.test.evil/r4/Patient/1",
        "Patient/../1",
        "Patient/2",
        "Device/1",
    ],
)
def test_what_cannot_be_read_is_absent(reference: str) -> None:
    """Another host is never asked; nor is another kind, nor anything but an id below our base URL."""
    server = Server()
    found = server.gather({**REQUEST, "subject": {"reference": reference}})
    assert set(found.others) == {"Encounter/5", "Practitioner/7"}
    assert set(server.asked) <= {"Encounter/5", "Practitioner/7", "Patient/2"}


@pytest.mark.parametrize("status", [401, 403, 404, 410, 422])
def test_refused_named_resource_is_absent(status: int) -> None:
    """The server says no: the dossier goes without it."""
    assert "Patient/1" not in Server(Patient=status).gather("ServiceRequest/12").others


@pytest.mark.parametrize("status", [429, 500, 503])
def test_server_that_goes_away_gives_no_half_dossier(status: int) -> None:
    """A patient who could not be asked for is not a patient who is not there."""
    with pytest.raises(Unreachable):
        Server(Patient=status).gather("ServiceRequest/12")


def test_resource_itself_must_be_there() -> None:
    """Absent, and a reference elsewhere Rejected, before anything else is read."""
    server = Server()
    with pytest.raises(Absent):
        server.gather("ServiceRequest/404")
    with pytest.raises(Rejected):
        server.gather("http://other.test/r4/ServiceRequest/12")
    assert server.asked == ["ServiceRequest/404"]


def test_other_resource_than_asked_for_is_not_taken() -> None:
    """An answer with another id is Malformed for the resource itself, and absent for one that it names."""
    server = Server()
    server.by_path["ServiceRequest/13"] = REQUEST
    with pytest.raises(Malformed):
        server.gather("ServiceRequest/13")
    server.by_path["Patient/1"] = {**PATIENT, "id": "2"}
    assert "Patient/1" not in server.gather("ServiceRequest/12").others


@pytest.mark.parametrize(("count", "read"), [(MAX_READS - 1, MAX_READS - 1), (MAX_READS, MAX_READS - 1)])
def test_only_so_many_resources_are_read(count: int, read: int) -> None:
    """Patient and persons up to the limit; those beyond it are absent and the nearest are there."""
    people = [{**DOCTOR, "id": f"p{number}"} for number in range(count)]
    named = [{"reference": f"Practitioner/{one['id']}"} for one in people]
    report = {**REPORT, "resultsInterpreter": None, "performer": named, "imagingStudy": None}
    found = Server(*people).gather(report)
    assert "Patient/1" in found.others
    assert len([one for one in found.others if one.startswith("Practitioner/")]) == read


def test_only_so_many_references_of_an_element_are_looked_at() -> None:
    """A list of any length costs a fixed number of looks."""
    named = [{"reference": f"Device/{number}"} for number in range(MAX_NAMED)]
    late = {**REPORT, "resultsInterpreter": [*named, {"reference": "Practitioner/7"}]}
    assert "Practitioner/7" not in Server().gather(late).others
    late["resultsInterpreter"] = late["resultsInterpreter"][1:]
    assert "Practitioner/7" in Server().gather(late).others


def test_our_version_before_is_fetched_with_a_report() -> None:
    """By vread, under its own name; a server that gives another version for it is not believed."""
    ours = {**REPORT, "status": "preliminary", "meta": {"versionId": "1"}}
    before = PublishedReport("DiagnosticReport/9", "1", "")
    server = Server()
    server.by_path["DiagnosticReport/9/_history/1"] = ours
    found = server.gather("DiagnosticReport/9", before=before)
    assert found.others["DiagnosticReport/9/_history/1"] == ours
    server.by_path["DiagnosticReport/9/_history/1"] = REPORT
    assert set(server.gather("DiagnosticReport/9", before=before).others) == {"Patient/1", "Practitioner/7"}


@pytest.mark.parametrize(
    "before",
    [
        PublishedReport("DiagnosticReport/9", "2", ""),
        PublishedReport("DiagnosticReport/8", "1", ""),
        PublishedReport("DiagnosticReport/9", "404", ""),
    ],
)
def test_version_before_that_is_none_is_absent(before: PublishedReport) -> None:
    """The same version, that of another report, or one that is gone."""
    server = Server()
    server.by_path["DiagnosticReport/9/_history/2"] = REPORT
    found = server.gather("DiagnosticReport/9", before=before)
    assert set(found.others) == {"Patient/1", "Practitioner/7"}


# --- what is kept ----------------------------------------------------------------------------------------


def test_name_says_which_version_this_is() -> None:
    """The server's version, or the hash of the content where it counts none."""
    assert Dossier(BASE, REQUEST).name == "ServiceRequest/12/_history/3"
    unversioned = {name: value for name, value in REQUEST.items() if name != "meta"}
    first, second = Dossier(BASE, unversioned), Dossier(BASE, {**unversioned, "status": "revoked"})
    assert first.name == f"ServiceRequest/12/sha256-{first.sha256}"
    assert first.name != second.name


def test_hash_is_of_the_content_and_not_of_its_spelling() -> None:
    """Keys in another order are the same resource; what it names does not count."""
    turned = dict(reversed(REQUEST.items()))
    assert Dossier(BASE, turned).sha256 == Dossier(BASE, REQUEST, {"Patient/1": PATIENT}).sha256


def test_body_is_a_collection_with_the_resource_first() -> None:
    """FHIR R4 Bundle: fullUrls without versions, two versions of one told apart by meta.versionId."""
    ours = {**REPORT, "meta": {"versionId": "1"}}
    others = {"DiagnosticReport/9/_history/1": ours, "Patient/1": PATIENT}
    bundle = json.loads(Dossier(BASE, REPORT, others).body())
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    assert [entry["fullUrl"] for entry in bundle["entry"]] == [
        f"{BASE}/DiagnosticReport/9",
        f"{BASE}/DiagnosticReport/9",
        f"{BASE}/Patient/1",
    ]


@pytest.mark.parametrize("focus", [REQUEST, REPORT, STUDY])
def test_dossier_comes_back_from_its_body(focus: Resource) -> None:
    """What is replayed is what was read."""
    ours = {**focus, "meta": {"versionId": "1"}}
    others = {
        f"{focus['resourceType']}/{focus['id']}/_history/1": ours,
        "Patient/1": PATIENT,
        "Encounter/5": ENCOUNTER,
    }
    found = Dossier(BASE, focus, others)
    assert Dossier.from_body(found.body()) == found
    assert Dossier.from_body(found.body()).body() == found.body()


@pytest.mark.parametrize("spare", [0, -1])
def test_what_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    """Just at the limit all is kept; a byte less, and the last is left out but not the one that fits."""
    whole = Dossier(BASE, REQUEST, {"Encounter/5": ENCOUNTER, "Patient/1": PATIENT})
    monkeypatch.setattr(dossiers, "MAX_DOSSIER_BYTES", len(whole.body()) + spare)
    kept = Dossier.from_body(whole.body())
    assert set(kept.others) == ({"Encounter/5", "Patient/1"} if spare == 0 else {"Encounter/5"})


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_resource_that_does_not_fit_is_malformed(
    monkeypatch: pytest.MonkeyPatch, spare: int, fits: bool
) -> None:
    """The resource itself is kept whole or not at all."""
    alone = Dossier(BASE, REQUEST)
    monkeypatch.setattr(dossiers, "MAX_DOSSIER_BYTES", len(alone.body()) + spare)
    if fits:
        assert Dossier.from_body(alone.body()) == alone
    else:
        with pytest.raises(Malformed):
            alone.body()
        with pytest.raises(Malformed):
            Server().gather(REQUEST)


def test_body_larger_than_any_we_write_is_malformed() -> None:
    """It is not even parsed."""
    body = Dossier(BASE, REQUEST).body()
    with pytest.raises(Malformed, match="larger"):
        Dossier.from_body(body + b" " * (MAX_DOSSIER_BYTES - len(body) + 1))
    assert Dossier.from_body(body + b" " * (MAX_DOSSIER_BYTES - len(body))).focus == REQUEST


def entries(*pairs: tuple[str, object]) -> bytes:
    listed = [{"fullUrl": url, "resource": resource} for url, resource in pairs]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": listed}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"resourceType":"Bundle","type":"collection"}',
        b'{"resourceType":"Bundle","type":"transaction","entry":[]}',
        entries((f"{BASE}/ServiceRequest/13", REQUEST)),
        entries(("ServiceRequest/12", REQUEST)),
        entries(("/ServiceRequest/12", REQUEST)),
        entries((f"{BASE}/ServiceRequest/12", None)),
        entries((f"{BASE}/ServiceRequest/12", REQUEST), ("http://other.test/r4/Patient/1", PATIENT)),
        entries((f"{BASE}/ServiceRequest/12", REQUEST), (f"{BASE}/Patient/1", {"id": "1"})),
        b"[" * 100_000,
    ],
)
def test_other_bodies_are_malformed(body: bytes) -> None:
    """Only what this module writes is a dossier."""
    with pytest.raises(Malformed):
        Dossier.from_body(body)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), object(), b"bytes"])
def test_value_that_json_cannot_hold_is_malformed(value: object) -> None:
    """1e400 in an answer is read as infinity, which no JSON holds."""
    with pytest.raises(Malformed):
        Dossier(BASE, {**REQUEST, "x": value}).body()


def test_lone_surrogates_and_other_scripts_are_kept() -> None:
    """JSON can carry half a character: the evidence does too."""
    focus = {**REQUEST, "note": [{"text": "Ångström 우측 \ud800"}]}
    assert Dossier.from_body(Dossier(BASE, focus).body()).focus == focus


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(junk=JSON, name=st.sampled_from(["subject", "requester", "encounter", "basedOn", "contained", "meta"]))
def test_misshapen_resource_is_gathered_or_malformed(junk: object, name: str) -> None:
    """Whatever stands in an element that names others."""
    for focus in (REQUEST, REPORT, STUDY):
        found = Server().gather({**focus, name: junk})
        assert Dossier.from_body(found.body()) == found


# --- references ------------------------------------------------------------------------------------------


def leads_to(target: str, kinds: frozenset[str], **changes: Any) -> object:
    focus = {**REPORT, "contained": [{"resourceType": "Patient", "id": "p"}], **changes}
    found = Dossier(BASE, focus, {"Patient/1": PATIENT, "Practitioner/7": DOCTOR})
    resource = resolve(found, focus, {"reference": target}, kinds=kinds)
    return resource and resource["id"]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("Patient/1", "1"),
        (f"{BASE}/Patient/1", "1"),
        ("Patient/1/_history/4", "1"),
        ("#p", "p"),
        ("#q", None),
        ("Practitioner/7", None),
        ("Patient/2", None),
        ("http://other.test/r4/Patient/1", None),
        ("Patient/1/", None),
        ("", None),
    ],
)
def test_reference_leads_to_contained_or_fetched_of_the_right_kind(target: str, found: object) -> None:
    """And nowhere else."""
    assert leads_to(target, dossiers.PATIENTS) == found


@pytest.mark.parametrize(("place", "found"), [(MAX_CONTAINED - 1, "p"), (MAX_CONTAINED, None)])
def test_only_so_many_contained_resources_are_looked_through(place: int, found: object) -> None:
    """A list of any length costs a bounded look."""
    contained: list[Resource] = [{"resourceType": "Patient", "id": f"x{number}"} for number in range(place)]
    contained.append({"resourceType": "Patient", "id": "p"})
    assert leads_to("#p", dossiers.PATIENTS, contained=contained) == found


def test_hash_inside_a_fetched_resource_names_nothing_of_ours() -> None:
    """Only what a resource itself contains, or what stands beside it when it is contained."""
    role: Callable[[str], Resource] = lambda name: {  # noqa: E731
        "resourceType": "PractitionerRole",
        "id": name,
        "practitioner": {"reference": "#d"},
    }
    contained = [{**DOCTOR, "id": "d"}, role("inside")]
    found = Dossier(BASE, {**REPORT, "contained": contained}, {"PractitionerRole/outside": role("outside")})
    person = frozenset({"Practitioner"})
    inside, outside = contained[1], found.others["PractitionerRole/outside"]
    assert resolve(found, inside, inside["practitioner"], kinds=person) is contained[0]
    assert resolve(found, outside, outside["practitioner"], kinds=person) is None
