"""Whether a resource is one that its release can hold."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings

from connectors.errors import Malformed
from connectors.fhir.readers import validation
from connectors.fhir.readers.validation import MAX_DEPTH, MAX_PLACES, check
from tests.fhir_dossiers import PATIENT, REPORT, REQUEST, STANDING
from tests.unit.test_fhir_orders import JUNK

Resource = dict[str, Any]


@pytest.mark.parametrize("resource", [PATIENT, REPORT, REQUEST])
def test_sound_resource_passes_unchanged(resource: Resource) -> None:
    """Nothing is told, nothing is altered."""
    before = copy.deepcopy(resource)
    check(resource)
    assert resource == before


def test_releases_differ() -> None:
    """R5's code of an order is a CodeableReference, R4's a concept."""
    r5 = {**REQUEST, "code": {"concept": REQUEST["code"]}, "reasonCode": None}
    r5 = {name: value for name, value in r5.items() if value is not None}
    check(r5, release="R5")
    with pytest.raises(Malformed, match=r"ServiceRequest\.code"):
        check(r5, release="R4")
    with pytest.raises(Malformed, match=r"ServiceRequest\.code"):
        check(REQUEST, release="R5")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"identifier": [{"value": 7}]}, "ServiceRequest.identifier.value"),
        ({"AdaExample": "P1"}, "ServiceRequest (an unknown element)"),
        ({"note": [{"text": "x", "AdaExample": "P1"}]}, "ServiceRequest.note (an unknown element)"),
        ({"subject": "AdaExample"}, "ServiceRequest.subject"),
    ],
)
def test_places_are_named_and_values_are_not(change: Resource, place: str) -> None:
    """Nor is an unknown element's name, which may be anybody's."""
    with pytest.raises(Malformed) as told:
        check({**REQUEST, **change})
    assert f"not valid at: {place}." in str(told.value)
    assert "AdaExample" not in str(told.value)
    assert "P1" not in str(told.value)


def test_only_so_many_places_are_named() -> None:
    """A resource that is wrong everywhere makes no endless message."""
    wrong = dict.fromkeys(("note", "code", "identifier", "subject", "encounter", "requester", "insurance"), 7)
    check_told = {**REQUEST, **wrong, "bodySite": 7, "category": 7}
    with pytest.raises(Malformed, match="and more") as told:
        check(check_told)
    assert str(told.value).count("ServiceRequest.") == MAX_PLACES


@pytest.mark.parametrize(
    "resource",
    [
        {},
        {"resourceType": "Nothing"},
        {"resourceType": "../x"},
        {"resourceType": 7},
        {"resourceType": "Element"},
        {"resourceType": "CodeableConcept"},
        {**REQUEST, "contained": [{"resourceType": "Nothing"}]},
        {**REQUEST, "contained": [{"a": 1}]},
    ],
)
def test_what_is_no_resource_is_malformed(resource: Resource) -> None:
    """Also inside of another."""
    with pytest.raises(Malformed):
        check(resource)


def nested(depth: int) -> Resource:
    extension: Resource = {"url": "http://x.test/y", "valueString": "z"}
    for _ in range((depth - 3) // 2):
        extension = {"url": "http://x.test/y", "extension": [extension]}
    return {**REQUEST, "extension": [extension]}


@pytest.mark.parametrize(("depth", "fits"), [(MAX_DEPTH - 1, True), (MAX_DEPTH + 1, False), (3000, False)])
def test_depth_is_capped(depth: int, fits: bool) -> None:
    """Just under it passes, just over it and far over it does not."""
    if fits:
        check(nested(depth))
    else:
        with pytest.raises(Malformed, match="nested"):
            check(nested(depth))


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_size_is_capped(monkeypatch: pytest.MonkeyPatch, spare: int, fits: bool) -> None:
    """Values are counted before anything is checked."""
    small = {"resourceType": "Patient", "name": [{"given": ["Ada", "Bea"]}]}
    monkeypatch.setattr(validation, "MAX_ELEMENTS", 7 + spare)
    if fits:
        check(small)
    else:
        with pytest.raises(Malformed, match="larger"):
            check(small)


@settings(max_examples=30)
@given(junk=JUNK)
def test_anything_passes_or_is_malformed(junk: object) -> None:
    """No other error comes out, whatever stands in any element."""
    for resource in STANDING:
        for name in (*resource, "contained", "extension"):
            for release in ("R4", "R5"):
                with suppress(Malformed):
                    check({**resource, name: junk}, release=release)
