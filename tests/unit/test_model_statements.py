"""A sentence is read for what it states, what it denies, and on which side; evidence follows."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evidence import HeadReading, evidence_of
from model.facts import BY_NAME, HEADS, head_name, split_head_name
from model.statements import Statement, measurements_of, speaks_of_prior, statements_of
from model.study import Evidence
from model.wording import LANGUAGES, wording

PRESENT = [
    ("There is a small left pleural effusion.", "pleural effusion", ("left",), "small", ""),
    (
        "Moderate bilateral pleural effusions are present.",
        "pleural effusion",
        ("right", "left"),
        "moderate",
        "",
    ),
    ("A large right pneumothorax is present.", "pneumothorax", ("right",), "large", ""),
    ("Consolidation is seen in the left lower zone.", "consolidation", ("left",), "", "lower"),
    ("A pulmonary nodule is seen in the right upper zone.", "pulmonary nodule", ("right",), "", "upper"),
    ("Pleural fluid on the right and on the left.", "pleural effusion", ("right", "left"), "", ""),
    ("The heart is enlarged.", "cardiomegaly", (), "", ""),
    ("Emphysematous changes are present in both lungs.", "emphysema", (), "", ""),
    ("There is a pleural effusion.", "pleural effusion", (), "", ""),
]


@pytest.mark.parametrize(("sentence", "finding", "sides", "size", "zone"), PRESENT)
def test_a_finding_is_read_with_its_side_size_and_zone(
    sentence: str, finding: str, sides: tuple[str, ...], size: str, zone: str
) -> None:
    """Each wording states one finding, and no side is read where none is said."""
    assert statements_of(sentence) == (Statement(finding, True, sides, size, zone),)


@pytest.mark.parametrize(
    ("sentence", "denied"),
    [
        ("No pleural effusion or pneumothorax.", {"pleural effusion", "pneumothorax"}),
        ("There is no left pleural effusion.", {"pleural effusion"}),
        ("Lungs are without consolidation.", {"consolidation"}),
        ("The lungs are clear.", {"consolidation", "atelectasis", "pulmonary nodule"}),
        ("The heart size is normal.", {"cardiomegaly"}),
        ("No acute abnormality.", {split_head_name(h)[0] for h in HEADS}),
    ],
)
def test_a_denied_finding_is_not_present(sentence: str, denied: set[str]) -> None:
    """Negations and phrases of normality deny what they speak of, and state nothing."""
    said = statements_of(sentence)
    assert {s.finding for s in said} == denied
    assert not any(s.present for s in said)


def test_a_side_belongs_to_the_nearest_finding() -> None:
    """Two findings in one sentence keep their own sides."""
    assert statements_of("Left pleural effusion and right pneumothorax.") == (
        Statement("pleural effusion", True, ("left",)),
        Statement("pneumothorax", True, ("right",)),
    )


def test_a_denial_ends_with_its_clause() -> None:
    """What stands after "but" is stated."""
    assert statements_of("No pneumothorax, but there is a left pleural effusion.") == (
        Statement("pneumothorax", False),
        Statement("pleural effusion", True, ("left",)),
    )


def test_a_sentence_without_findings_states_nothing() -> None:
    """Words that name no finding are no statement."""
    assert statements_of("Technique: axial slices of the chest.") == ()


NEIGHBOURS = [
    ("en", "Pericardial effusion."),
    ("en", "No pericardial effusion."),
    ("en", "Subcutaneous emphysema on the left."),
    ("en", "A 14 mm thyroid nodule."),
    ("en", "No acute fracture."),
    ("de", "Kein Perikarderguss."),
    ("de", "Weichteilemphysem links."),
    ("de", "Schilddrüsenknoten rechts von 12 mm."),
    ("de", "Vergrößerte Lymphknoten."),
    ("ro", "Fără revărsat pericardic."),
    ("ro", "Emfizem subcutanat stâng."),
    ("ro", "Nodul tiroidian drept de 12 mm."),
    ("ko", "간경화 소견."),
    ("ko", "동맥경화."),
    ("ko", "심낭삼출 없음."),
    ("ko", "피하기종."),
    ("ko", "갑상선 결절 12 mm."),
]


@pytest.mark.parametrize(("language", "sentence"), NEIGHBOURS)
def test_what_lies_elsewhere_is_no_finding_of_the_chest_heads(language: str, sentence: str) -> None:
    """A word that means something else beside another word states and denies nothing."""
    assert statements_of(sentence, language) == ()


EFFUSION, AIR = "pleural effusion", "pneumothorax"
TWO = [
    ("en", "Small left pleural effusion, pneumothorax not seen."),
    ("en", "Small left pleural effusion, no pneumothorax."),
    ("en", "No pneumothorax, small left pleural effusion."),
    ("en", "A small left pleural effusion is present and pneumothorax is not seen."),
    ("de", "Kleiner Pleuraerguß li., kein Pneumothorax."),
    ("de", "Kleiner Pleuraerguss links, ein Pneumothorax ist nicht nachweisbar."),
    ("ro", "Revărsat pleural stâng mic, nu se evidențiază pneumotorax."),
    ("ro", "Revarsat pleural stang mic, pneumotorax nu se evidentiaza."),
    ("ko", "좌측 소량 흉수, 기흉 없음."),
    ("ko", "좌측에 소량의 흉수가 있으며 기흉은 없음."),
]


@pytest.mark.parametrize(("language", "sentence"), TWO)
def test_a_denial_reaches_only_what_it_denies(language: str, sentence: str) -> None:
    """Whether it stands before or after: what is described beside it is there."""
    assert set(statements_of(sentence, language)) == {
        Statement(EFFUSION, True, ("left",), "small"),
        Statement(AIR, False),
    }


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "Pleural effusion or pneumothorax is not seen."),
        ("de", "Pleuraerguss oder Pneumothorax liegen nicht vor."),
        ("ro", "Nu se evidențiază revărsat pleural sau pneumotorax."),
        ("ko", "흉수나 기흉은 보이지 않음."),
        ("ko", "흉수, 기흉 없음."),
    ],
)
def test_a_list_is_denied_as_a_whole(language: str, sentence: str) -> None:
    """One denial for several findings."""
    assert set(statements_of(sentence, language)) == {Statement(EFFUSION, False), Statement(AIR, False)}


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "Pneumonia cannot be excluded."),
        ("de", "Eine Pneumonie ist nicht auszuschließen."),
        ("ro", "Nu se poate exclude o pneumonie."),
        ("ko", "폐렴을 배제할 수 없음."),
    ],
)
def test_what_cannot_be_excluded_is_not_denied(language: str, sentence: str) -> None:
    """A doubt is no denial."""
    assert [said.present for said in statements_of(sentence, language)] == [True]


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "A 1.2-cm nodule in the right upper lobe."),
        ("en", "12-mm RUL nodule."),
        ("en", "Nodule of 9 x 12 mm in the right upper lobe."),
        ("de", "Rundherd von 1,2 cm im rechten Oberlappen."),
        ("de", "Rundherd von ca. 12 mm re. im Oberfeld."),
        ("ro", "Nodul pulmonar de 12 mm în lobul superior drept."),
        ("ro", "Nodul pulmonar de 12 milimetri in campul superior drept."),
        ("ko", "우상엽에 12mm 결절."),
        ("ko", "우측 상폐야에 12㎜ 크기의 폐결절이 보임."),
        ("ko", "RUL에 1.2 cm nodule이 있음."),
    ],
)
def test_a_nodule_is_read_with_its_diameter(language: str, sentence: str) -> None:
    """Whatever the unit, the decimal sign and the order; of two diameters the larger."""
    assert statements_of(sentence, language) == (
        Statement("pulmonary nodule", True, ("right",), "", "upper", 12.0),
    )


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("Beidseitige Pleuraergüsse.", "Beidseitige Pleuraerguesse."),
        ("Das Herz ist vergrößert.", "Das Herz ist vergroessert."),
        ("Das Herz ist nicht vergrößert.", "Das Herz ist nicht vergroessert."),
    ],
)
def test_german_is_read_without_umlauts(written: str, plain: str) -> None:
    """And so it is with letters in two pieces."""
    assert statements_of(written, "de") == statements_of(plain, "de") != ()
    assert statements_of(unicodedata.normalize("NFD", written), "de") == statements_of(written, "de")


def test_a_size_or_zone_is_told_only_where_a_report_gives_one() -> None:
    """An apical pneumothorax has no zone, a small nodule no size: no reading could bear them out."""
    assert statements_of("Small left apical pneumothorax.") == (Statement(AIR, True, ("left",), "small"),)
    assert statements_of("Small nodule in the left lung.") == (
        Statement("pulmonary nodule", True, ("left",)),
    )


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("12 mm", (12.0,)),
        ("12-mm", (12.0,)),
        ("1.2 centimetres", (12.0,)),
        ("1,2 Zentimeter", (12.0,)),
        ("12 x 9 mm", (12.0, 9.0)),
        ("12 milimetri and 1.5 cm", (12.0, 15.0)),
        ("12 밀리미터", (12.0,)),
        ("12 mmHg", ()),
        ("12 years", ()),
    ],
)
def test_every_length_is_found(text: str, lengths: tuple[float, ...]) -> None:
    """In millimetres, in the order of the text, and nothing else is one."""
    assert measurements_of(text) == lengths


@pytest.mark.parametrize(
    ("language", "sentence", "speaks"),
    [
        ("en", "Unchanged left pleural effusion.", True),
        ("en", "New left pleural effusion.", True),
        ("en", "Compared with the last CT the nodule has grown.", True),
        ("en", "Known emphysema.", True),
        ("en", "No prior available.", False),
        ("en", "There is a small left pleural effusion.", False),
        ("de", "Größenkonstanter Rundherd.", True),
        ("de", "Neu aufgetretener Pleuraerguss.", True),
        ("de", "Bekannter Rundherd.", True),
        ("de", "Keine Voruntersuchungen verfügbar.", False),
        ("ro", "Nodul nou apărut.", True),
        ("ro", "Revărsat staționar.", True),
        ("ro", "Nodul în segmentul anterior al lobului superior.", False),
        ("ro", "Fără examinări anterioare disponibile.", False),
        ("ko", "이전과 비교하여 변화 없음.", True),
        ("ko", "새로 생긴 결절.", True),
        ("ko", "비교할 이전 검사 없음.", False),
        ("ko", "심장 크기 증가.", False),
    ],
)
def test_words_of_an_earlier_examination_are_seen(language: str, sentence: str, speaks: bool) -> None:
    """A change, a comparison or a thing known speaks of a prior; that there is none does not."""
    assert speaks_of_prior(sentence, language) is speaks


def test_no_sentence_of_no_prior_speaks_of_one() -> None:
    """In no language."""
    assert not any(speaks_of_prior(wording(one).no_prior, one) for one in LANGUAGES)


@given(st.text(max_size=80), st.sampled_from(LANGUAGES))
def test_any_text_can_be_read(text: str, language: str) -> None:
    """Reading never fails, and what it reads is of the catalogue."""
    assert all(said.finding in BY_NAME for said in statements_of(text, language))
    assert all(length >= 0 for length in measurements_of(text))
    speaks_of_prior(text, language)


def test_an_unknown_language_is_refused() -> None:
    """The error says which there are."""
    with pytest.raises(ValueError, match="en, de, ro, ko"):
        statements_of("Rien.", "fr")


def test_head_names_are_read_back() -> None:
    """Finding and side come back from every head's name."""
    assert all(head_name(*split_head_name(head)) == head for head in HEADS)


READINGS = {head: HeadReading(round(0.01 * i, 2), i) for i, head in enumerate(HEADS)}


def test_evidence_names_head_probability_side_and_slice() -> None:
    """A stated side brings the reading of just that head."""
    (evidence,) = evidence_of("There is a small left pleural effusion.", READINGS)
    reading = READINGS["pleural effusion, left"]
    assert evidence == Evidence("image", "pleural effusion", "left", reading.probability, reading.slice_index)


def test_evidence_of_both_sides_is_two_readings() -> None:
    """Each side stands by itself."""
    assert [e.side for e in evidence_of("Bilateral pleural effusions.", READINGS)] == ["right", "left"]


def test_evidence_against_a_sentence_is_not_hidden() -> None:
    """A finding that the head does not see keeps its low probability."""
    (evidence,) = evidence_of("There is a right pleural effusion.", READINGS)
    assert evidence.probability == 0.0


def test_a_denial_rests_on_the_surest_side() -> None:
    """What speaks most against the denial is what must be shown."""
    (evidence,) = evidence_of("No pneumothorax.", READINGS)
    assert (evidence.side, evidence.probability) == ("left", READINGS["pneumothorax, left"].probability)


def test_a_sentence_of_no_finding_rests_on_the_template() -> None:
    """It claims no support from the image."""
    assert evidence_of("Compared with nothing.", READINGS) == (Evidence("template"),)
