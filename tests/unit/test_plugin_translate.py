"""From clinical words to the model's and the tables', and back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dicomweb.pixels import Series
from connectors.exchange import Coding, Order, OrderAction, Patient, Practitioner, PriorReport
from plugin.translate import context, order_context, order_from_json, order_to_json
from tests.case_samples import ADA, an_order

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
PATIENTS = st.builds(Patient, TEXT, TEXT, TEXT, TEXT, st.none() | st.dates(), TEXT)
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]))
PEOPLE = st.none() | st.builds(Practitioner, TEXT, TEXT, TEXT, TEXT)
ORDERS = st.builds(
    Order,
    action=st.sampled_from(OrderAction),
    accession=TEXT,
    patient=PATIENTS,
    procedure=st.builds(Coding, TEXT, TEXT, TEXT),
    placer_order_number=TEXT,
    filler_order_number=TEXT,
    requested_procedure_id=TEXT,
    study_instance_uid=TEXT,
    modality=TEXT,
    clinical_question=TEXT,
    history=TEXT,
    priority=TEXT,
    ordering_provider=PEOPLE,
    ordered_at=st.none() | MOMENTS,
    laterality=st.sampled_from(["", "left", "right", "bilateral"]),
    prior_reports=st.lists(
        st.builds(PriorReport, st.none() | st.dates(), st.builds(Coding, TEXT, TEXT, TEXT), TEXT), max_size=2
    ).map(tuple),
    visit_number=TEXT,
    service_request=TEXT,
    language=TEXT,
)


@given(ORDERS)
def test_an_order_comes_back_from_json_as_it_was(order: Order) -> None:
    """Through real JSON text, with every field, its types and its time zone."""
    back = order_from_json(json.loads(json.dumps(order_to_json(order))))
    assert back == order
    assert isinstance(back.action, OrderAction)
    assert (back.ordered_at and back.ordered_at.utcoffset()) == (
        order.ordered_at and order.ordered_at.utcoffset()
    )


def test_an_order_that_was_stored_before_all_of_it_was_read_still_loads() -> None:
    """Keys that an older version did not write are empty."""
    kept = order_to_json(an_order())
    del kept["laterality"], kept["prior_reports"], kept["language"]
    assert order_from_json(kept) == an_order()


def a_series(taken: date | None, patient: Patient = ADA) -> Series:
    return Series(
        np.zeros((1, 2, 2), np.float32), (1.0, 1.0, 1.0), "CT", "1.2", "1.3", patient, "ACC1", taken, "Chest"
    )


@pytest.mark.parametrize(
    ("born", "taken", "age"),
    [
        (date(1961, 4, 2), date(2026, 4, 1), 64),
        (date(1961, 4, 2), date(2026, 4, 2), 65),
        (date(1961, 4, 2), date(2026, 4, 3), 65),
        (date(2000, 2, 29), date(2026, 2, 28), 25),
        (date(2000, 2, 29), date(2026, 3, 1), 26),
        (date(2026, 1, 6), date(2026, 1, 6), 0),
        (date(2025, 12, 31), date(2026, 1, 1), 0),
        (None, date(2026, 1, 1), None),
        (date(1961, 4, 2), None, None),
    ],
)
def test_age_is_whole_years_on_the_day_of_the_images(
    born: date | None, taken: date | None, age: int | None
) -> None:
    """It turns on the birthday itself; on 1 March for those born on 29 February."""
    patient = replace(ADA, birth_date=born)
    assert context(an_order(patient=patient), a_series(taken, patient)).age_years == age


def test_the_images_tell_what_the_order_leaves_out() -> None:
    """Birth date and sex come from the order, else from the images."""
    silent = an_order(patient=replace(ADA, birth_date=None, sex="unknown"))
    found = context(silent, a_series(date(2026, 4, 2)))
    assert (found.age_years, found.sex) == (65, "female")
    other = replace(ADA, birth_date=date(2000, 1, 1), sex="male")
    found = context(an_order(patient=other), a_series(date(2026, 4, 2)))
    assert (found.age_years, found.sex) == (26, "male")


def test_the_prompt_gets_clinical_words_and_no_identifier() -> None:
    """Procedure, question, history, modality, sex and age: no name, number or date reaches the model."""
    told = str(context(an_order(history="Smoker."), a_series(date(2026, 4, 2))))
    assert all(word in told for word in ("CT Chest", "Effusion?", "Smoker."))
    assert not [word for word in ("PAT-1", "Example", "Ada", "ACC1", "PL-1", "1961", "1.2") if word in told]


@pytest.mark.parametrize(
    ("ordered", "site", "asked"),
    [("", "en", "en"), ("", "ko", "ko"), ("de", "ko", "de"), ("en", "de", "en"), ("fr", "ro", "ro")],
)
def test_the_order_says_the_language_else_the_site(ordered: str, site: str, asked: str) -> None:
    """An order in a language that no draft is written in gets the site's."""
    order = an_order(language=ordered)
    assert order_context(order, site).language == asked
    assert context(order, a_series(None), site).language == asked


def test_the_draft_is_compared_with_the_latest_prior_report_that_has_words() -> None:
    """Of those that tell no day, the first that was told; without any there is nothing to compare with."""
    chest = Coding("1", "CT Chest")
    old, new = PriorReport(date(2024, 1, 1), chest, "Old."), PriorReport(date(2025, 1, 1), chest, "New.")
    empty, undated = PriorReport(date(2026, 1, 1), chest, " "), PriorReport(None, chest, "Undated.")
    told = [
        order_context(an_order(prior_reports=priors)).prior
        for priors in [(undated, old, new, empty), (undated, replace(undated, text="Other.")), (empty,), ()]
    ]
    assert told == ["New.", "Undated.", "", ""]
