"""A field of a structured template holds what the report says of it, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.structured import parse
from model.structured.filling import Question, choice_text, fill
from model.structured.parse import read_templates
from model.structured.render import as_html, as_text
from model.structured.support import read, supported
from model.structured.template import CHOICE, NUMBER, OTHER, SEVERAL, TEXT, Field, Template
from model.study import Filled, FilledField, ModelCard
from training.facts import draw
from training.wordings import report as report_text

CHEST = read_templates(Path(parse.__file__).with_name("templates"))["prelim.chest-ct.en"]
CARD = ModelCard("n", "1", "0" * 64, "2", "Not for <patients>.")
REPORT = (
    "Clinical information:\nKnown pneumothorax. Nodule of 44 mm.\n\n"
    "Findings:\nThere is a 12 mm pulmonary nodule in the right upper zone. There are small bilateral pleural "
    "effusions. No pneumothorax. The heart size is normal. The aorta measures 3.1 cm.\n\n"
    "Impression:\nSmall bilateral pleural effusions."
)


def values(report: str, *fields: Field, answer: str = "", language: str = "en") -> list[tuple[str, ...]]:
    """The values of fields when every question is answered alike."""
    template = Template("T", "t", language, fields)
    return [one.values for one in fill(template, report, language, lambda asked: [answer] * len(asked))]


def only(report: str, field: Field, answer: str = "", language: str = "en") -> FilledField:
    template = Template("T", "t", language, (field,))
    return fill(template, report, language, lambda asked: [answer] * len(asked))[0]


def effusion(*options: str, label: str = "Pleural effusion") -> Field:
    return Field("e", CHOICE, label, options=options, option_identifiers=("",) * len(options))


def test_a_report_fills_the_fields_of_which_it_speaks() -> None:
    """Sides, sizes, zones and diameters as stated, with the sentence; the rest is left open."""
    filled = {one.identifier: one for one in fill(CHEST, REPORT, "en", None)}
    assert {name: one.values for name, one in filled.items() if one.values} == {
        "nodule": ("right",),
        "nodule_zone": ("upper",),
        "nodule_diameter": ("12",),
        "effusion": ("bilateral",),
        "effusion_size": ("small",),
        "pneumothorax": ("none",),
        "cardiomegaly": ("absent",),
    }
    assert filled["pneumothorax"].evidence == ("No pneumothorax.",)
    assert filled["nodule"].evidence == ("There is a 12 mm pulmonary nodule in the right upper zone.",)


def test_a_number_is_that_of_its_finding_in_its_unit() -> None:
    """The diameter of the nodule and of nothing else; centimetres become millimetres."""
    diameter = Field("d", NUMBER, "Pulmonary nodule, diameter", unit="mm")
    aorta = Field("a", NUMBER, "Aorta", unit="mm")
    assert values(REPORT, diameter, aorta, answer="12 mm") == [("12",), ()]
    assert values(REPORT, diameter, aorta, answer="31 mm") == [("12",), ("31",)]
    assert values("Pulmonary nodule of 1,2 cm.", diameter) == [("12",)]
    assert values("No pulmonary nodule above 12 mm.", diameter, answer="12 mm") == [()]
    assert values("Nodule of 12 mm. Nodule of 9 mm.", diameter, answer="9 mm") == [()]


@pytest.mark.parametrize(("number", "there"), [("3.9", False), ("4", True), ("30", True), ("30.1", False)])
def test_a_number_outside_of_the_limits_is_no_value(number: str, there: bool) -> None:
    """Just under, at and just over both limits of the template."""
    field = Field("d", NUMBER, "Pulmonary nodule", unit="mm", minimum=4, maximum=30)
    assert bool(only(f"Pulmonary nodule of {number} mm.", field).values) is there


@pytest.mark.parametrize(
    ("report", "value"),
    [
        ("No pleural effusion.", ("none",)),
        ("Small left pleural effusion.", ("left",)),
        ("Small right effusion. Large left effusion.", ("bilateral",)),
        ("No right pleural effusion.", ()),
        ("No left pleural effusion. Small right pleural effusion.", ("right",)),
        ("No pleural effusion. Small left pleural effusion.", ("left",)),
        ("There is a pleural effusion.", ()),
        ("The heart is enlarged.", ()),
        ("Known left pleural effusion?", ("left",)),
        ("Clinical information:\nLeft pleural effusion.\n\nFindings:\nThe heart is enlarged.", ()),
    ],
)
def test_reading_decides_where_a_finding_of_the_catalogue_is_asked_for(
    report: str, value: tuple[str, ...]
) -> None:
    """Whatever the model writes: sides are complete, a denial of one side is none of both."""
    field = effusion("none", "right", "left", "bilateral")
    for answer in ("none", "right", "left", "bilateral", "Not stated", "", "nonsense"):
        assert only(report, field, answer).values == value


def test_a_field_for_one_side_is_filled_for_that_side() -> None:
    """What lies on the other side neither fills nor denies it."""
    field = effusion("none", "small", "large", label="Pleural effusion, left")
    assert only("Small right pleural effusion.", field).values == ()
    assert only("No left pleural effusion. Small right effusion.", field).values == ("none",)
    assert only("No right pleural effusion.", field).values == ()
    assert only("Small bilateral pleural effusions.", field).values == ("small",)
    assert only("Moderate left pleural effusion.", field, "small").values == ()
    unread = effusion("none", "mild", label="Pleural effusion, left")
    assert only("Small left pleural effusion.", unread, "mild").values == ()


def test_two_values_that_contradict_one_another_leave_the_field_open() -> None:
    """A person must choose."""
    field = effusion("small", "large", label="Pleural effusion, size")
    one = only("Small right effusion. Large left effusion.", field, "large")
    assert (one.values, one.guarded) == ((), "rewritten")


def test_an_overruled_answer_is_said_to_be() -> None:
    """Rewritten where the model wrote otherwise; nothing where it agreed."""
    field = effusion("none", "left")
    assert only("Left pleural effusion.", field, "left").guarded == ""
    assert only("Left pleural effusion.", field, "none").guarded == "rewritten"
    assert only("Left pleural effusion.", field, "Not stated").guarded == "rewritten"
    assert only("Left pleural effusion.", field).guarded == ""


def test_other_options_count_where_their_words_stand_beside_the_label() -> None:
    """The model chooses among what the report supports, and nothing else is taken from it."""
    liver = Field("l", CHOICE, "Liver", options=("Normal.", "Fatty."), option_identifiers=("", ""))
    assert only("The liver is normal.", liver, "Normal.").values == ("Normal.",)
    assert only("The liver is normal.", liver, "Fatty.").values == ()
    assert only("The liver is not normal.", liver, "Normal.").values == ()
    assert only("The spleen is normal.", liver, "Normal.").values == ()
    assert only("The liver is abnormal.", liver, "Normal.").values == ()
    assert only("The liver is normal.", liver, "Not stated").values == ()
    contrast = Field("c", CHOICE, "Contrast", options=("yes", "no"), option_identifiers=("", ""))
    assert only("Intravenous contrast was given.", contrast, "yes").values == ("yes",)
    assert only("No contrast was given.", contrast, "yes").values == ()
    assert only("No contrast was given.", contrast, "no").values == ("no",)
    assert only("No oral contrast. Intravenous contrast was given.", contrast, "no").values == ()


def test_several_options_are_all_those_that_the_report_states() -> None:
    """Boxes: each finding that is there, and no other."""
    boxes = Field(
        "b",
        SEVERAL,
        "Chest",
        options=("Emphysema", "Pneumothorax", "Cardiomegaly"),
        option_identifiers=("",) * 3,
    )
    assert only("Emphysema. No pneumothorax. The heart is enlarged.", boxes).values == (
        "Emphysema",
        "Cardiomegaly",
    )


def test_a_text_holds_sentences_of_the_report_alone() -> None:
    """What the model adds is left out, and said to be; a date is left to a person."""
    text = Field("t", TEXT, "Impression")
    one = only(REPORT, text, "No pneumothorax. Metastases. The heart size is normal.")
    assert one.values == one.evidence == ("No pneumothorax.", "The heart size is normal.")
    assert one.guarded == "rewritten"
    assert only(REPORT, text, "No pneumothorax.").guarded == ""
    assert only(REPORT, text, "Known pneumothorax.").values == ()
    assert only(REPORT, text, "Not stated.").guarded == ""
    assert only(REPORT, Field("w", OTHER, "Date"), "No pneumothorax.").values == ()


def test_only_fields_are_asked_for_of_which_the_report_says_something() -> None:
    """An empty report asks for texts alone; the last choice is always that nothing is stated."""
    asked: list[Question] = []

    def write(questions: Sequence[Question]) -> list[str]:
        asked.extend(questions)
        return [""] * len(questions)

    fill(CHEST, "The bones are intact.", "en", write)
    assert [one.field.kind for one in asked] == [TEXT]
    asked.clear()
    fill(CHEST, REPORT, "en", write)
    choices = {one.field.identifier: one.choices for one in asked}
    assert choices["effusion"] == ("none", "right", "left", "bilateral", "Not stated")
    assert choices["nodule_diameter"] == ("12 mm", "Not stated")


@given(
    st.text(max_size=200),
    st.lists(st.text(max_size=30), min_size=1, max_size=4, unique=True),
    st.text(max_size=30),
    st.sampled_from([CHOICE, SEVERAL, NUMBER, TEXT]),
    st.text(max_size=60),
)
@settings(max_examples=300, deadline=None)
def test_no_value_is_without_a_sentence_of_the_report(
    report: str, options: list[str], label: str, kind: str, answer: str
) -> None:
    """Whatever report, template and model say: each value has evidence, and the evidence stands there."""
    field = Field("f", kind, label, options=tuple(options) if kind in (CHOICE, SEVERAL) else (), unit="mm")
    said = f"{report} {label} {options[0]} 12 mm."
    one = only(said, field, answer)
    assert bool(one.values) is bool(one.evidence)
    assert {*one.evidence} <= {*read(said, "en").sentences}


def test_records_fill_their_template_right() -> None:
    """Three hundred reports: every side, size and zone of the record, and none beside it."""
    rng = np.random.default_rng(5)
    for _ in range(300):
        record = draw(rng)
        filled = {
            one.identifier: one.values
            for one in fill(CHEST, f"Findings:\n{report_text(record, rng, 'en')}", "en", None)
        }
        for fact in record.facts:
            name = fact.finding.split()[-1]
            side = "bilateral" if len(fact.sides) == 2 else "".join(fact.sides)
            assert filled[name] == (side or "present",)
            assert filled.get(f"{name}_size", (fact.size,)) == (fact.size,)
            assert filled.get(f"{name}_zone", (fact.zone,)) == (fact.zone,)
        there = {fact.finding.split()[-1] for fact in record.facts}
        for name in ("consolidation", "atelectasis", "nodule", "effusion", "pneumothorax", "cardiomegaly"):
            assert name in there or filled[name] in (("none",), ("absent",))


HOSTILE = "\"><script>evil()</script>'&"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}


def test_a_filled_template_is_written_without_foreign_markup() -> None:
    """As HTML no word of template or report becomes a tag or an attribute; as text all values stand there."""
    field = Field(HOSTILE, TEXT, HOSTILE, HOSTILE)
    template = Template(HOSTILE, HOSTILE, "en", (field, *CHEST.fields))
    fields = (FilledField(HOSTILE, (HOSTILE,), (HOSTILE,)), *fill(CHEST, REPORT, "en", None))
    html = as_html(Filled(template, fields, CARD))
    reader = _Tags()
    reader.feed(html)
    assert reader.tags == {
        "html",
        "head",
        "meta",
        "title",
        "body",
        "h1",
        "h2",
        "section",
        "p",
        "span",
        "footer",
    }
    assert reader.names == {"lang", "charset", "name", "content", "data-section-name", "id", "title"}
    text = as_text(Filled(CHEST, fields[1:], CARD))
    assert "Findings / Pleura:\nPleural effusion: bilateral\nPleural effusion, size: small\n" in text
    assert "Pulmonary nodule, diameter: 12 mm" in text
    assert "Emphysema: Not stated" in text
    assert text.endswith(CARD.notice)
    assert "Not for &lt;patients&gt;." in html


def test_a_choice_is_shown_escaped_and_a_number_with_its_unit() -> None:
    """As the prompt shows it, so that the answer can be told apart from nothing else."""
    assert choice_text(Field("n", NUMBER, "N", unit="mm"), "12") == "12 mm"
    assert choice_text(effusion("<5"), "<5") == "‹5"
    assert supported(effusion("<5"), "en", read("", "en")) == {}
    assert only("Pleural effusion <5.", effusion("<5"), "‹5").values == ("<5",)


def test_filling_needs_no_torch() -> None:
    """The plugin fills with what it reads, without the model's libraries."""
    program = (
        "import sys; import model.structured.filling, model.structured.parse, model.structured.render\n"
        "assert not {'torch', 'transformers', 'xgrammar'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
