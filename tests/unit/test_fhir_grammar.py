"""The narrow grammar of drafts takes nothing that FHIR R4 does not, and takes what we usually write."""

from __future__ import annotations

import copy
import dataclasses
from datetime import date
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.errors import Rejected
from connectors.exchange import Coding, DraftFinding, DraftStatus, Patient, PublishedReport
from connectors.fhir.drafts.grammar import is_plainly_valid
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.drafts.resources import validated
from tests.fhir_samples import a_draft

FINDINGS = (
    DraftFinding(
        "Pneumothorax",
        present=True,
        side="left",
        code=Coding("36118008", "Pneumothorax", "http://snomed.info/sct"),
        body_site=Coding("39607008", "Lung", "http://snomed.info/sct"),
        probability=0.91,
    ),
    DraftFinding("Cardiomegaly", present=False),
)
DRAFT = a_draft(findings=FINDINGS, studied_on=date(2026, 2, 28), visit_number="V-1")
BUNDLE = draft_bundle(DRAFT, pdf=b"%PDF-1.7 short")

ODD: list[Any] = [
    "",
    " ",
    "a b",
    "a  b",
    " a",
    "a\n",
    "\n",
    "\u00a0",
    "\u2028",
    "\x85",
    "\x1c",
    "\u3000x",
    "final",
    "2026-02-30",
    "2026-02-28",
    "0000-01-01",
    "2026-03-04T25:00:00.000Z",
    "2026-03-04T05:06:07.000Z",
    "2026-03-04T05:06:60.000Z",
    "2026-03-04T05:06:07.000Z\n",
    "YQ==",
    "YQ=",
    "YQ",
    "____",
    None,
    True,
    -1,
    1.5,
    [],
    {},
    [None],
    [{}],
    [""],
    {"text": ""},
    {"coding": []},
    {"extension": []},
]
"""Values that are right in some places and wrong in others."""
LEAVES = st.one_of(st.sampled_from(ODD), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=8))


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to everything in a document but itself."""
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for step, child in steps for found in [(*path, step), *places(child, (*path, step))]]


def holds(bundle: dict[str, Any]) -> bool:
    """What the whole of FHIR R4 says."""
    try:
        Bundle.model_validate(bundle)
    except ValidationError:
        return False
    return True


PLACES = places(BUNDLE)


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_odd_value_in_any_place_is_taken_only_where_it_is_valid(odd: object) -> None:
    """Every place of a Bundle in turn holds it, or, where odd is None, nothing."""
    bundle = copy.deepcopy(BUNDLE)
    for path in PLACES:
        node: Any = bundle
        for step in path[:-1]:
            node = node[step]
        before = copy.copy(node)
        if odd is None:
            del node[path[-1]]
        else:
            node[path[-1]] = odd
        assert not is_plainly_valid(bundle) or holds(bundle), path
        node.clear()
        node.update(before) if isinstance(node, dict) else node.extend(before)
    assert bundle == BUNDLE


@settings(max_examples=500)
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["put", "drop", "add", "copy"]), LEAVES),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_the_grammar_takes_is_valid(changes: list[tuple[tuple[Any, ...], str, Any]]) -> None:
    """However a Bundle is bent, the grammar never takes one that FHIR R4 refuses."""
    bundle = copy.deepcopy(BUNDLE)
    for path, act, leaf in changes:
        try:
            node = bundle
            for step in path[:-1]:
                node = node[step]
            if act == "put":
                node[path[-1]] = leaf
            elif act == "drop":
                del node[path[-1]]
            elif act == "add":
                node["valueString" if leaf is None else "text"] = leaf
            else:
                node.append(copy.deepcopy(node[path[-1]]))
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
    assert not is_plainly_valid(bundle) or holds(bundle)


WORDS = st.text(max_size=12)


@settings(max_examples=300)
@given(
    code=st.builds(Coding, WORDS, WORDS, st.sampled_from(["LN", "", "http://x.test", "urn: x", "99LOCAL"])),
    words=WORDS,
    patient=st.builds(Patient, st.just("P1"), WORDS, WORDS, WORDS),
    finding=WORDS,
)
def test_strangers_words_are_judged_as_the_whole_of_fhir_judges_them(
    code: Coding, words: str, patient: Patient, finding: str
) -> None:
    """Orders and models say what they like: what leaves is valid, or the draft is refused."""
    findings = (DraftFinding(finding, present=True, code=code),)
    draft = dataclasses.replace(
        DRAFT, procedure=code, conclusion=words, patient=patient, visit_number=words, findings=findings
    )
    try:
        bundle = draft_bundle(draft)
    except Rejected:
        return
    assert holds(bundle)


@pytest.mark.parametrize(
    "bundle",
    [
        BUNDLE,
        draft_bundle(a_draft()),
        draft_bundle(a_draft(findings=FINDINGS, status=DraftStatus.PARTIAL)),
        draft_bundle(DRAFT, known=PublishedReport("DiagnosticReport/17", "3", "http://x.test/17")),
        draft_bundle(a_draft(patient=Patient("P1", "", "", "")), pdf=b"%PDF"),
        draft_bundle(a_draft(procedure=Coding("", "Thorax a.p.", ""), service_request="ServiceRequest/4")),
    ],
    ids=["findings", "plain", "partial", "replaced", "nameless", "uncoded"],
)
def test_what_is_usually_written_is_taken(bundle: dict[str, Any]) -> None:
    """A grammar that took nothing would be right and of no use."""
    assert is_plainly_valid(bundle)


def test_element_that_the_grammar_does_not_know_is_left_to_fhir() -> None:
    """Another element is not wrong: the whole of R4 is asked, and says yes or names the place."""
    bundle = copy.deepcopy(BUNDLE)
    bundle["entry"][2]["resource"]["language"] = "en"
    assert not is_plainly_valid(bundle)
    assert validated(bundle) is bundle
    bundle["entry"][2]["resource"]["colour"] = "blue"
    with pytest.raises(Rejected, match="colour"):
        validated(bundle)
