"""Sections are built and split without loss, and no text can open a section."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.facts import ORGANS
from model.headings import organ_in, title_in
from model.sections import FINDINGS, IMPRESSION, TITLES, build, read_report, sentences_of, split
from model.wording import LANGUAGES

_LINE = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
_BODY = st.lists(_LINE, max_size=8).map(" ".join).filter(lambda body: body.rstrip(":").rstrip() not in TITLES)


@given(st.lists(st.tuples(st.sampled_from(TITLES), _BODY), max_size=6))
def test_split_undoes_build(sections: list[tuple[str, str]]) -> None:
    """Whatever clean bodies stand under the titles, the same pairs come back."""
    assert split(build(sections), TITLES) == tuple(sections)


@given(st.text(max_size=200))
def test_the_sentences_of_any_text_join_to_the_text(text: str) -> None:
    """No word is lost or added when a body is cut into sentences."""
    assert " ".join(sentences_of(text)) == " ".join(text.split())


@given(st.text(max_size=100), st.text(max_size=100))
def test_line_breaks_in_a_body_open_no_section(before: str, after: str) -> None:
    """A title that is smuggled in between line breaks stays text of its section."""
    body = f"x {before}\n{IMPRESSION}:\n{after} x"
    assert [title for title, _ in split(build([(FINDINGS, body), (IMPRESSION, "y")]), TITLES)] == [
        FINDINGS,
        IMPRESSION,
    ]


@pytest.mark.parametrize("body", [f"{FINDINGS}:", f" {FINDINGS} : ", f"\n{FINDINGS}:\n"])
def test_a_body_that_is_a_title_is_refused(body: str) -> None:
    """It would be read as a title."""
    with pytest.raises(ValueError, match="found a section title"):
        build([(FINDINGS, body)])


@pytest.mark.parametrize("title", ["", " ", "Two\nlines", "With: colon", " Findings"])
def test_a_title_that_could_not_be_found_again_is_refused(title: str) -> None:
    """One line, no colon, no space around it."""
    with pytest.raises(ValueError, match="section title"):
        build([(title, "text")])


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("There is a 1.2 cm nodule. No effusion.", 2),
        ("Seen by Dr. Example today. Stable.", 2),
        ("Heart vs. Lung. Clear.", 2),
        ("One sentence only", 1),
        ("A? B! C.", 3),
        ("", 0),
    ],
)
def test_a_full_stop_inside_a_number_or_abbreviation_ends_no_sentence(body: str, count: int) -> None:
    """Decimals and titles of people are not ends."""
    assert len(sentences_of(body)) == count


def test_words_before_the_first_title_are_left_out() -> None:
    """They belong to no section."""
    assert split("Preamble\nFindings:\nClear.", TITLES) == ((FINDINGS, "Clear."),)


@pytest.mark.parametrize(
    ("language", "body", "count"),
    [
        ("de", "Rundherd von ca. 12 mm re. im Oberfeld. Kein Erguss.", 2),
        ("de", "Z. n. Lobektomie li. Oberlappen. V. a. Pneumonie. Verlauf u. a. unauffällig.", 3),
        ("de", "Rundherd von 1,2 cm. Ödem.", 2),
        ("ro", "Nodul de aprox. 12 mm. Îngroșare pleurală. Fără pneumotorax.", 3),
        ("ko", "우측 폐에 1.2 cm 결절이 있음. 기흉은 없음. 심비대.", 3),
    ],
)
def test_each_language_has_its_abbreviations_and_capitals(language: str, body: str, count: int) -> None:
    """A sentence begins with any capital of the language, and a shortened word ends none."""
    found = sentences_of(body, language)
    assert len(found) == count
    assert " ".join(found) == body


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_is_read_by_organ(language: str) -> None:
    """Each organ has its sentences, whatever the language of the labels."""
    labels = [organ_in(organ, language) for organ in ORGANS]
    lines = "\n".join(f"{label}: Text {place}. Text." for place, label in enumerate(labels))
    told, impression = read_report(f"{lines}\n\n{title_in(IMPRESSION, language)}:\nEnd.", language)
    assert told == tuple((organ, f"Text {place}. Text.") for place, organ in enumerate(ORGANS))
    assert impression == "End."


@given(st.text(max_size=120), st.sampled_from(LANGUAGES))
def test_any_text_is_read_as_far_as_it_goes(text: str, language: str) -> None:
    """A text of another form has empty organs, and never an error."""
    told, _ = read_report(text, language)
    assert [organ for organ, _ in told] == list(ORGANS)
