"""What a prompt says by itself in each language: short, for a decoder reads it every time. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.sections import FINDINGS, IMPRESSION
from model.tasks import CONCLUSION, DETAIL, FACTS, REPORT, STRUCTURE


@dataclass(frozen=True, slots=True)
class PromptWords:
    """The words of one language."""

    instructions: Mapping[str, str]
    """Task -> one sentence."""
    titles: Mapping[str, str]
    """FINDINGS, IMPRESSION, REPORT and FACTS in the language."""
    procedure: str
    question: str
    history: str
    patient: str
    prior: str
    field: str
    options: str
    value: str
    """Title of a template field's value."""
    sexes: Mapping[str, str]
    """female, male and other in the language."""
    age: str
    """With {} for the years; no plural, so that it is right for every number."""
    not_stated: str
    """What stands where an order or a report says nothing, without a full stop."""


PROMPT_WORDS: Mapping[str, PromptWords] = {
    "en": PromptWords(
        instructions={
            REPORT: "Write findings and impression of the images.",
            CONCLUSION: "Write the impression of the findings.",
            DETAIL: "Write the findings behind the impression.",
            STRUCTURE: "Fill the field from the report.",
            FACTS: "List what the images show.",
        },
        titles={FINDINGS: "Findings", IMPRESSION: "Impression", REPORT: "Report", FACTS: "Facts"},
        procedure="Procedure",
        question="Question",
        history="History",
        patient="Patient",
        prior="Prior",
        field="Field",
        options="Options",
        value="Value",
        sexes={"female": "female", "male": "male", "other": "other"},
        age="age {}",
        not_stated="Not stated",
    ),
    "de": PromptWords(
        instructions={
            REPORT: "Schreibe Befund und Beurteilung der Bilder.",
            CONCLUSION: "Schreibe die Beurteilung zum Befund.",
            DETAIL: "Schreibe den Befund zur Beurteilung.",
            STRUCTURE: "Fülle das Feld aus dem Bericht.",
            FACTS: "Liste auf, was die Bilder zeigen.",
        },
        titles={FINDINGS: "Befund", IMPRESSION: "Beurteilung", REPORT: "Bericht", FACTS: "Fakten"},
        procedure="Untersuchung",
        question="Fragestellung",
        history="Anamnese",
        patient="Patient",
        prior="Voruntersuchung",
        field="Feld",
        options="Auswahl",
        value="Wert",
        sexes={"female": "weiblich", "male": "männlich", "other": "divers"},
        age="Alter {}",
        not_stated="Nicht angegeben",
    ),
    "ro": PromptWords(
        instructions={
            REPORT: "Scrie descrierea și concluziile imaginilor.",
            CONCLUSION: "Scrie concluziile descrierii.",
            DETAIL: "Scrie descrierea pentru concluzii.",
            STRUCTURE: "Completează câmpul din raport.",
            FACTS: "Enumeră ce arată imaginile.",
        },
        titles={FINDINGS: "Rezultat", IMPRESSION: "Concluzii", REPORT: "Raport", FACTS: "Date"},
        procedure="Procedură",
        question="Întrebare",
        history="Istoric",
        patient="Pacient",
        prior="Examinare anterioară",
        field="Câmp",
        options="Opțiuni",
        value="Valoare",
        sexes={"female": "feminin", "male": "masculin", "other": "altul"},
        age="vârsta {}",
        not_stated="Neprecizat",
    ),
    "ko": PromptWords(
        instructions={
            REPORT: "영상의 소견과 결론을 작성하시오.",
            CONCLUSION: "소견의 결론을 작성하시오.",
            DETAIL: "결론의 상세 소견을 작성하시오.",
            STRUCTURE: "판독문에서 항목을 채우시오.",
            FACTS: "영상에 보이는 것을 나열하시오.",
        },
        titles={FINDINGS: "소견", IMPRESSION: "결론", REPORT: "판독문", FACTS: "사실"},
        procedure="검사",
        question="의뢰 내용",
        history="병력",
        patient="환자",
        prior="이전 검사",
        field="항목",
        options="선택지",
        value="값",
        sexes={"female": "여성", "male": "남성", "other": "기타"},
        age="{}세",
        not_stated="기재 없음",
    ),
}
LANGUAGES = tuple(PROMPT_WORDS)


def prompt_words(language: str) -> PromptWords:
    """The words of a language. Raises ValueError, which says which languages there are."""
    try:
        return PROMPT_WORDS[language]
    except KeyError:
        raise ValueError(f"expected a language of {', '.join(LANGUAGES)}, found {language!r}") from None
