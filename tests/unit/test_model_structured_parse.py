"""Structured templates from anywhere: their words are kept, their markup is not, and they have an end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.facts import CATALOGUE
from model.prompt_words import LANGUAGES
from model.structured import parse
from model.structured.parse import (
    MAXIMUM_BYTES,
    MAXIMUM_CODES,
    MAXIMUM_DEPTH,
    MAXIMUM_FIELDS,
    MAXIMUM_OPTIONS,
    MAXIMUM_WORDS,
    parse_template,
    read_templates,
)
from model.structured.template import CHOICE, NUMBER, OTHER, SEVERAL, TEXT, Code, Field, TemplateError
from model.structured.tidy import MAXIMUM_TAG

SHIPPED = Path(parse.__file__).with_name("templates")
HEAD = (
    '<!DOCTYPE html><html><head><title>Chest</title><meta name="dcterms.identifier" content="a.b">'
    '<meta name="dcterms.title" content="Chest"><meta name="dcterms.language" content="en-US">'
)
ONE = '<label for="t">Other</label><textarea id="t"></textarea>'


def page(body: str, head: str = "") -> str:
    return f"{HEAD}{head}</head><body>{body}</body></html>"


def fields(body: str) -> tuple[Field, ...]:
    return parse_template(page(body)).fields


def test_a_template_gives_its_fields_in_the_order_of_the_document() -> None:
    """Selects, numbers with limits and units, texts, boxes, buttons and lists, each in its section."""
    template = parse_template(
        page(
            '<section data-section-name="Findings"><section data-section-name="Pleura">'
            '<label for="e">Effusion:</label><select id="e"><option id="e0" value="no">none</option>'
            '<option selected value="small"></select>'
            '</section><label for="d">Depth</label><input type="number" id="d" min="1" max="9.5"> cm '
            '<label for="n">Nodule (mm)</label><input type="number" id="n">'
            '<input type="checkbox" name="tubes" id="b0" value="drain" checked><input type="checkbox" '
            'name="tubes" id="b1" value="on"><label for="tubes">Tubes</label><label for="b1">line</label>'
            '<label for="r">Contrast</label><input type="radio" name="r" value="yes">'
            '<input type="radio" name="r" value="no"></section>'
            '<label for="l">Liver</label><input list="ll" id="l" value="Normal."><datalist id="ll">'
            "<option>Normal.</option><option>Fatty.</option></datalist>"
            '<label for="w">When</label><input type="date" id="w"><input type="hidden" value="x">' + ONE
        )
    )
    assert (template.title, template.identifier, template.language) == ("Chest", "a.b", "en")
    assert template.fields == (
        Field("e", CHOICE, "Effusion", "Findings / Pleura", ("none", "small"), ("e0", ""), default="small"),
        Field("d", NUMBER, "Depth", "Findings", unit="cm", minimum=1, maximum=9.5),
        Field("n", NUMBER, "Nodule (mm)", "Findings", unit="mm"),
        Field("tubes", SEVERAL, "Tubes", "Findings", ("drain", "line"), ("b0", "b1"), default="drain"),
        Field("r", CHOICE, "Contrast", "Findings", ("yes", "no"), ("", "")),
        Field(
            "l",
            CHOICE,
            "Liver",
            options=("Normal.", "Fatty."),
            option_identifiers=("", ""),
            default="Normal.",
        ),
        Field("w", OTHER, "When"),
        Field("t", TEXT, "Other"),
    )


def test_coded_terms_are_kept_by_what_they_name() -> None:
    """Each entry's terms, under the identifier of a field, an option or a section."""
    codes = (
        '<script type="text/xml"><template_attributes><coded_content><entry ORIGTXT="t"><term>'
        '<code meaning="lung" value="RID1301" scheme="RADLEX"/></term></entry></coded_content>'
        "</template_attributes></script>"
    )
    assert parse_template(page(ONE, codes)).codes == {"t": (Code("RADLEX", "RID1301", "lung"),)}


def test_nothing_that_runs_is_carried_over() -> None:
    """Scripts, styles, event handlers, links and comments leave no trace in the template."""
    template = parse_template(
        page(
            "<script>var evil = 1 < 2; </script><style>evil{}</style><!-- <select evil> -->"
            '<b onclick="evil()"><label for="t" onclick="evil()">Other<script>evil</script></label>'
            '<textarea id="t" onfocus="evil()" style="evil"></textarea><a href="javascript:evil">x</a>'
            '<iframe src="evil"></iframe><img src=x onerror=evil>'
        )
    )
    assert "evil" not in repr(template)
    assert template.fields[0].label == "Other"


def _many(count: int) -> str:
    return "".join(f'<label for="f{i}">F</label><input id="f{i}">' for i in range(count))


def _options(count: int) -> str:
    return (
        ONE
        + '<label for="s">S</label><select id="s">'
        + "".join(f"<option>{i}</option>" for i in range(count))
        + "</select>"
    )


def _deep(count: int) -> str:
    return '<section data-section-name="s">' * count + ONE + "</section>" * count


def _codes(count: int) -> str:
    return f'<script type="text/xml"><entry origtxt="t">{"<code value=x />" * count}</entry></script>{ONE}'


def _padded(size: int) -> str:
    return ONE + " " * (size - len(page(ONE).encode()))


@pytest.mark.parametrize(
    ("made", "limit", "words"),
    [
        (_padded, MAXIMUM_BYTES, "bytes"),
        (_many, MAXIMUM_FIELDS, "fields"),
        (_options, MAXIMUM_OPTIONS, "options"),
        (_deep, MAXIMUM_DEPTH, "sections"),
        (_codes, MAXIMUM_CODES, "coded terms"),
        (lambda n: f'<label for="t">{"x" * n}</label><input id="t">', MAXIMUM_WORDS, "a label"),
        (lambda n: f'<label for="t">x</label><input id="t" {"y" * (n - 15)}>', MAXIMUM_TAG, "tags"),
    ],
)
def test_every_size_has_a_limit(made: object, limit: int, words: str) -> None:
    """At the limit a template is read; one more is refused by name."""
    assert parse_template(page(made(limit)))  # type: ignore[operator]
    with pytest.raises(TemplateError, match=f"at most {limit} .*{words}|{words}.* at most {limit}|{words}"):
        parse_template(page(made(limit + 1)))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "found none"),
        ("<input>", "expected an id"),
        ('<input id="a b">', "expected an id"),
        ('<input id="a">', "expected a label"),
        (ONE + ONE, "t stands twice"),
        (ONE + '<input type="radio" name="t" value="a">', "t stands twice"),
        ('<label for="s">S</label><select id="s"></select>', "expected options"),
        ('<label for="s">S</label><select id="s"><option>a</option>', "to be closed"),
        ('<section data-section-name="a">' + ONE, "to be closed"),
        (ONE + "</section>", "before it closes"),
        (ONE + "</select>", "before it closes"),
        (ONE + "<option>a</option>", "outside"),
        (ONE + '<select id="s"><textarea id="u"></textarea></select>', "to be closed before"),
        (ONE + "<script>", "comment, script and style to be closed"),
        (ONE + "<!-- ", "comment, script and style to be closed"),
        ('<label for="n">N</label><input type="number" id="n" min="2" max="1">', "min below max"),
        ('<label for="n">N</label><input type="number" id="n" min="nan">', "a number as limit"),
        ('<label for="n">N</label><input type="number" id="n" max="1e999">', "a number as limit"),
    ],
)
def test_a_broken_template_is_refused_by_name(body: str, words: str) -> None:
    """What cannot be used is said, and nothing is guessed."""
    with pytest.raises(TemplateError, match=words):
        parse_template(page(body))


@pytest.mark.parametrize(
    ("old", "new"),
    [('content="a.b"', 'content="a b"'), ('content="a.b"', 'content=""'), ('"en-US"', '"English"')],
)
def test_a_template_without_identifier_or_language_is_refused(old: str, new: str) -> None:
    """Nobody could ask for it, or read it."""
    with pytest.raises(TemplateError, match="dcterms"):
        parse_template(page(ONE).replace(old, new))


@pytest.mark.parametrize(
    "piece",
    ["<", "<!--", "<![", "<!", "</", "<a ", "<a b='", "&", "&#", "<script>", "<?", "<option ", "<textarea><"],
)
def test_hostile_documents_take_no_long_time(piece: str) -> None:
    """html.parser alone takes half a minute for some of these, quadratic in their length."""
    started = time.perf_counter()
    with pytest.raises(TemplateError):
        parse_template(page(piece * ((MAXIMUM_BYTES - 1000) // len(piece))))
    assert time.perf_counter() - started < 2


@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.sampled_from(
                [
                    "<section>",
                    "</section>",
                    "<select id=a>",
                    "<option>",
                    "</select>",
                    "<input id=b type=number min=",
                    ">",
                    '<label for="a">',
                    "</label>",
                    "<script type=text/xml>",
                    "</script>",
                    "<!--",
                    "-->",
                    "<entry origtxt=a>",
                    "<code value=b>",
                    "<textarea id=c>",
                    "</textarea>",
                    '"',
                    "<title>",
                    "<datalist id=d>",
                    "\x00",
                ]
            ),
        ),
        max_size=25,
    ).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_any_document_is_read_or_refused(body: str) -> None:
    """Never another error than TemplateError."""
    try:
        template = parse_template(page(ONE + body))
    except TemplateError:
        return
    assert template.fields


def test_a_folder_gives_its_templates_by_identifier(tmp_path: Path) -> None:
    """Only *.html, each by its identifier; two of one identifier are refused, and so is one not in UTF-8."""
    (tmp_path / "a.html").write_text(page(ONE))
    (tmp_path / "notes.txt").write_text("x")
    assert list(read_templates(tmp_path)) == ["a.b"]
    (tmp_path / "b.html").write_text(page(ONE))
    with pytest.raises(TemplateError, match=r"b\.html: expected an identifier of its own"):
        read_templates(tmp_path)
    (tmp_path / "b.html").write_bytes(page(ONE).encode("utf-16"))
    with pytest.raises(TemplateError, match=r"b\.html: expected UTF-8"):
        read_templates(tmp_path)


def test_the_shipped_templates_ask_for_every_finding_in_two_languages() -> None:
    """The same fields in English and in German, in the languages that we speak."""
    english, german = (read_templates(SHIPPED)[f"prelim.chest-ct.{code}"] for code in ("en", "de"))
    assert [(f.identifier, f.kind, len(f.options)) for f in english.fields] == [
        (f.identifier, f.kind, len(f.options)) for f in german.fields
    ]
    labels = {field.label.lower() for field in english.fields}
    assert {finding.name for finding in CATALOGUE} <= labels
    assert {english.language, german.language} <= set(LANGUAGES)
