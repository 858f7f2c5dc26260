"""Grammars of answers: what they let through, and that it always splits into its sections."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.decoding.engine import Engine
from model.decoding.grammar import Grammars
from model.grammar import (
    CUT,
    SENTENCE_WORDS,
    WORD_CHARACTERS,
    choice_grammar,
    number_grammar,
    report_grammar,
    report_parts,
    sentences_grammar,
)
from model.language.asking import Asked
from tests.decoding_samples import END, LABELS, SPECIAL, START, llama, words

WORDS = 448


@pytest.fixture(scope="module")
def grammars(tmp_path_factory: pytest.TempPathFactory) -> Grammars:
    return Grammars(words(tmp_path_factory.mktemp("words")), WORDS, [END])


def fits(grammars: Grammars, grammar: str, text: str) -> bool:
    """Whether the grammar lets exactly this text through."""
    import xgrammar

    matcher = xgrammar.GrammarMatcher(grammars._compiler.compile_grammar(grammar))
    return bool(matcher.accept_string(text)) and bool(matcher.is_completed())


@pytest.mark.parametrize("language", LABELS)
def test_random_weights_write_valid_reports_in_every_language(tmp_path: Path, language: str) -> None:
    """Of 50 answers by random weights, closed by themselves or by force, all 50 split into every section."""
    organs, impression = LABELS[language]
    grammar = report_grammar(organs, impression)
    tokenizer = words(tmp_path)
    for seed in range(2):
        engine = Engine(llama(seed, layers=1), tokenizer)
        asked = [Asked((40 + one, 60), grammar=grammar, maximum_tokens=60 + one) for one in range(25)]
        for one, answer in zip(asked, engine.write(asked), strict=True):
            parts = dict(report_parts(answer.text, organs, impression))
            assert list(parts) == [*organs, impression]
            assert all(body[-1] in f".{CUT}" and ":" not in body for body in parts.values())
            assert len(answer.ids) <= one.maximum_tokens
            assert tokenizer.decode(answer.ids) == answer.text


def test_without_a_grammar_random_weights_write_no_report(tmp_path: Path) -> None:
    """The sections come from the grammar, not from the prompt."""
    organs, impression = LABELS["en"]
    answer = Engine(llama(0, layers=1), words(tmp_path)).write([Asked((40, 60), maximum_tokens=60)])[0]
    with pytest.raises(ValueError, match="expected"):
        report_parts(answer.text, organs, impression)


@pytest.mark.parametrize("language", LABELS)
def test_a_whole_report_of_each_language_is_let_through(grammars: Grammars, language: str) -> None:
    """Umlauts, diacritics, Hangul, decimals and several sentences stand in reports."""
    organs, impression = LABELS[language]
    bodies = [
        "Ein Rundherd von 4.5 mm. Größe 12,5 x 3.25 mm.",
        "Fără lichid (0.5 cm).",
        "심장 크기는 정상입니다.",
    ]
    lines = "\n".join(f"{organ}: {body}" for organ, body in zip(organs, bodies, strict=True))
    text = f"{lines}\n\n{impression}:\nÎn limite normale. Small nodule."
    assert fits(grammars, report_grammar(organs, impression), text)
    assert report_parts(text, organs, impression)[2] == (organs[2], bodies[2])


@pytest.mark.parametrize(
    "text",
    [
        "Small nodule",
        "small nodule.",
        "Small nodule.  Another.",
        "Small nodule.Another.",
        "Small nodule. ",
        "Small\nnodule.",
        "Small\u2028nodule.",
        "Small\u00a0nodule.",
        "Small\u202enodule.",
        "Impression: small nodule.",
        "Small [nodule].",
        " Small nodule.",
        "Small nodule 4..",
        "Small nodule!",
        "",
    ],
)
def test_what_is_no_sentence_is_not_let_through(grammars: Grammars, text: str) -> None:
    """No break, bracket, colon, hidden character, lower-case start or missing end; one space between two."""
    assert not fits(grammars, sentences_grammar(), text)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        (" ".join(["A"] * SENTENCE_WORDS) + ".", True),
        (" ".join(["A"] * (SENTENCE_WORDS + 1)) + ".", False),
        ("A" * WORD_CHARACTERS + ".", True),
        ("A" * (WORD_CHARACTERS + 1) + ".", False),
        ("A " + "b" * WORD_CHARACTERS + ".", True),
        ("A " + "b" * (WORD_CHARACTERS + 1) + ".", False),
        (CUT, True),
        (f"Small nod{CUT}", True),
    ],
)
def test_a_sentence_has_limits(grammars: Grammars, text: str, allowed: bool) -> None:
    """So many words of so many characters are a sentence, one more is none; a cut sentence shows its cut."""
    assert fits(grammars, sentences_grammar(), text) is allowed


@given(st.text(min_size=1, max_size=12))
def test_an_option_is_taken_as_it_is_written(option: str) -> None:
    """Quotes, backslashes and characters of any script lose their meaning in EBNF; nothing else fits."""
    import xgrammar

    option = option.encode("utf-8", "ignore").decode()
    if not option:
        return
    matcher = xgrammar.testing._get_matcher_from_grammar(choice_grammar([option]))
    assert matcher.accept_string(option)
    assert matcher.is_completed()
    matcher.reset()
    assert not matcher.accept_string(f"{option}x") or not matcher.is_completed()


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("0 mm", True),
        ("12 mm", True),
        ("9999 mm", True),
        ("10000 mm", False),
        ("4.25 mm", True),
        ("4.125 mm", False),
        ("04 mm", False),
        ("4", False),
        ("4 cm", False),
        ("-4 mm", False),
    ],
)
def test_a_number_has_its_unit_and_no_other(grammars: Grammars, text: str, allowed: bool) -> None:
    """At most four digits and two decimals, no sign, no leading nought."""
    assert fits(grammars, number_grammar("mm"), text) is allowed
    assert fits(grammars, number_grammar(""), "4.5")


@pytest.mark.parametrize(
    ("organs", "impression"),
    [
        ((), "Impression"),
        (("Lungs", "Lungs"), "Impression"),
        (("Impression",), "Impression"),
        (("Lungs\n",), "Impression"),
        (("Lungs:",), "Impression"),
        (("[Lungs]",), "Impression"),
        ((" Lungs",), "Impression"),
        (("Lungs",), ""),
    ],
)
def test_labels_that_could_not_be_told_apart_are_refused(organs: tuple[str, ...], impression: str) -> None:
    """A label is one line without what ends a label, and stands once."""
    with pytest.raises(ValueError, match="expected"):
        report_grammar(organs, impression)


@pytest.mark.parametrize("options", [[], ["a", ""]])
def test_a_choice_needs_options(options: list[str]) -> None:
    """Nothing, or an empty answer, is no choice."""
    with pytest.raises(ValueError, match="options"):
        choice_grammar(options)


def test_the_end_is_allowed_only_where_an_answer_is_whole(grammars: Grammars) -> None:
    """Special tokens are never allowed; the end is, after the last full stop."""
    form = grammars.form(sentences_grammar())
    seen = []
    for token in grammars.words.encode("No."):
        masks = grammars.masks(1)
        form.allow(masks, 0)
        seen.append([bool(masks[0, one // 32] >> one % 32 & 1) for one in (START, END, SPECIAL, WORDS - 1)])
        assert form.take(token, 50)
    masks = grammars.masks(1)
    form.allow(masks, 0)
    seen.append([bool(masks[0, one // 32] >> one % 32 & 1) for one in (START, END, SPECIAL, WORDS - 1)])
    assert seen[:-1] == [[False] * 4] * (len(seen) - 1)
    assert seen[-1] == [False, True, False, False]


def test_closing_adds_no_word(grammars: Grammars) -> None:
    """A cut sentence gets the mark of a cut, and the sections that follow that mark alone."""
    organs, impression = LABELS["en"]
    form = grammars.form(report_grammar(organs, impression))
    for token in grammars.words.encode("Lungs: There is no. A small"):
        assert form.take(token, 90)
    closed = grammars.words.decode(form.closing())
    assert closed == f"{CUT}\nPleura: {CUT}\nHeart: {CUT}\n\nImpression:\n{CUT}"


def test_closing_in_the_middle_of_a_character_ends_the_character(grammars: Grammars) -> None:
    """Hangul takes three tokens where it is rare: after one of them the answer still becomes text."""
    form = grammars.form(sentences_grammar())
    ids = grammars.words.encode("A 뷁")
    assert len(grammars.words.encode("뷁")) == 3
    for token in ids[:-2]:
        assert form.take(token, 90)
    closed = grammars.words.decode([*ids[:-2], *form.closing()])
    assert closed.startswith("A ")
    assert closed.endswith(CUT)
    assert "\ufffd" not in closed


@pytest.mark.parametrize("grammar", ["root ::=", "no grammar", "root ::= [ab] root"])
def test_what_is_no_grammar_or_has_no_end_is_refused(grammars: Grammars, grammar: str) -> None:
    """The error says what was expected, and comes before anything is written."""
    with pytest.raises(ValueError, match="expected a grammar"):
        grammars.form(grammar)
