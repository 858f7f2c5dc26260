"""Reads structured report templates: HTML as IHE's Management of Radiology Report Templates (MRRT) has it.

Sections are `section` elements with `data-section-name`; fields are `select`, `input` and `textarea`; `meta`
elements named `dcterms.…` say what the template is; a `script` of type text/xml gives coded terms. Templates
come from anywhere: of a document only words, limits and codes are kept. No markup, style, script, link or
event handler is carried over. No torch here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from model.prompts import clean
from model.structured.template import (
    CHOICE,
    NUMBER,
    OTHER,
    SEVERAL,
    TEXT,
    Code,
    Field,
    Template,
    TemplateError,
)
from model.structured.tidy import tidied

SHIPPED_TEMPLATES = Path(__file__).with_name("templates")
MAXIMUM_BYTES = 262_144
MAXIMUM_FIELDS = 200
MAXIMUM_OPTIONS = 64
MAXIMUM_CODES = 2000
MAXIMUM_DEPTH = 8
"""Of sections in sections."""
MAXIMUM_WORDS = 200
"""Characters of a title, a label, an option, a section name or a code."""

_IDENTIFIER = re.compile(r"[\w.:/+-]{1,200}", re.ASCII)
_LANGUAGE = re.compile(r"([a-z]{2})(?:-[a-z0-9-]+)?", re.ASCII)
_UNIT = re.compile(r"(?:mm|cm|ml|cm3|cm²|cm³|mm²|HU|%|g|kg)", re.ASCII | re.IGNORECASE)
_UNIT_IN_LABEL = re.compile(rf"[(\[]({_UNIT.pattern})[)\]]$", re.IGNORECASE)
_IGNORED_INPUTS = ("hidden", "button", "submit", "reset", "image", "file", "password")
_GROUPED = {"radio": CHOICE, "checkbox": SEVERAL}


def parse_template(text: str) -> Template:
    """The template that an HTML document holds.

    1. The document is of bearable size, and what it opens it closes.
    2. It says its title, identifier and language.
    3. Its fields have identifiers of their own, labels, options and limits that can be used.

    Raises TemplateError, which says which of these does not hold.
    """
    # 1.
    if len(text.encode("utf-8", "surrogatepass")) > MAXIMUM_BYTES:
        raise TemplateError(f"expected a template of at most {MAXIMUM_BYTES} bytes, came more: shorten it")
    document, attributes = tidied(text)
    reader = _Reader()
    reader.feed(document)
    reader.close()
    if reader.open is not None or reader.sections:
        raise TemplateError("expected every section, select, datalist and textarea to be closed; one is not")

    # 2.
    title = reader.words(reader.meta.get("dcterms.title") or reader.title, "the title")
    identifier = reader.meta.get("dcterms.identifier", "").strip()
    if not _IDENTIFIER.fullmatch(identifier):
        raise TemplateError("expected a meta element dcterms.identifier without spaces, found none that fits")
    language = _LANGUAGE.fullmatch(reader.meta.get("dcterms.language", "").strip().lower())
    if not title or not language:
        raise TemplateError(f"expected meta elements dcterms.title and dcterms.language in {identifier}")

    # 3.
    fields = tuple(reader.finished(one) for one in reader.found.values())
    if not fields:
        raise TemplateError(f"expected a select, input or textarea with an id in {identifier}, found none")
    return Template(title, identifier, language[1], fields, _codes(attributes))


def read_templates(folder: Path) -> dict[str, Template]:
    """Every *.html of a folder, by identifier.

    Raises TemplateError, which names the file, when one cannot be used or two have the same identifier.
    """
    found: dict[str, Template] = {}
    for path in sorted(folder.glob("*.html")):
        try:
            with path.open("rb") as stream:
                raw = stream.read(MAXIMUM_BYTES + 1)
            template = parse_template(raw.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise TemplateError(f"{path.name}: expected UTF-8") from None
        except OSError as error:
            raise TemplateError(f"{path.name}: expected a file that can be read: {error.strerror}") from error
        except TemplateError as error:
            raise TemplateError(f"{path.name}: {error}") from error
        if template.identifier in found:
            raise TemplateError(
                f"{path.name}: expected an identifier of its own, {template.identifier} is another's too"
            )
        found[template.identifier] = template
    return found


@dataclass(slots=True)
class _Found:
    """A field while its document is read."""

    identifier: str
    kind: str
    section: str
    options: list[str] = field(default_factory=list)
    option_identifiers: list[str] = field(default_factory=list)
    default: str = ""
    name: str = ""
    list_of: str = ""
    """Identifier of the datalist that holds its options."""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None


class _Reader(HTMLParser):
    """Collects fields, labels and words of one document."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.meta: dict[str, str] = {}
        self.sections: list[str] = []
        self.found: dict[str, _Found] = {}
        self.labels: dict[str, str] = {}
        self.lists: dict[str, _Found] = {}
        self.open: _Found | None = None
        """The select, datalist or textarea that is open."""
        self._tag = ""
        self._option: str | None = None
        self._option_value = ""
        self._label: str | None = None
        self._unit_of: _Found | None = None
        self._in_title = False

    def words(self, text: str, what: str) -> str:
        """Words on one line. Raises TemplateError when they are too long to be what they stand for."""
        shown = clean(text, MAXIMUM_WORDS + 1)
        if len(shown) > MAXIMUM_WORDS:
            raise TemplateError(f"expected {what} of at most {MAXIMUM_WORDS} characters, found more")
        return shown

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """What opens."""
        said = {name: value or "" for name, value in attrs}
        self._unit_of = None
        match tag:
            case "meta":
                self.meta.setdefault(said.get("name", "").lower(), said.get("content", ""))
            case "title":
                self._in_title = True
            case "section":
                if len(self.sections) >= MAXIMUM_DEPTH:
                    raise TemplateError(
                        f"expected at most {MAXIMUM_DEPTH} sections in one another, found more"
                    )
                self.sections.append(self.words(said.get("data-section-name", ""), "a section name"))
            case "label":
                self._label = said.get("for", "")
            case "select" | "textarea" | "datalist":
                self._opened(tag, said)
            case "option":
                self._end_option()
                if self.open is None:
                    raise TemplateError("expected every option in a select or a datalist, found one outside")
                self._option, self._option_value = "", said.get("value", "")
                self.open.option_identifiers.append(said.get("id", ""))
                if "selected" in said:
                    self.open.default = self._option_value
            case "input":
                self._input(said)

    def handle_endtag(self, tag: str) -> None:
        """What closes."""
        if tag == "title":
            self._in_title = False
        elif tag == "section":
            if not self.sections:
                raise TemplateError("expected a section to open before it closes")
            self.sections.pop()
        elif tag == "label":
            self._label = None
        elif tag == "option":
            self._end_option()
        elif tag in ("select", "textarea", "datalist"):
            self._end_option()
            if self.open is None or self._tag != tag:
                raise TemplateError(f"expected {tag} to open before it closes")
            self.open, self._tag = None, ""

    def handle_data(self, data: str) -> None:
        """Words between tags."""
        if self._in_title:
            self.title += data
        elif self._option is not None:
            self._option += data
        elif self.open is not None and self._tag == "textarea":
            self.open.default += data
        elif self._label is not None:
            self.labels[self._label] = self.labels.get(self._label, "") + data
        elif self._unit_of is not None and _UNIT.fullmatch(data.strip()):
            self._unit_of.unit = data.strip()

    def finished(self, one: _Found) -> Field:
        """The field with its label, its options and its unit."""
        source = self.lists.get(one.list_of, one)
        label = self.words(self.labels.get(one.identifier, ""), "a label").rstrip(" :")
        label = label or self.words(one.name, "a name").rstrip(" :")
        pairs: list[tuple[str, str]] = []
        for option, identifier in zip(source.options, source.option_identifiers, strict=True):
            # A button or a box may be named by a label of its own.
            shown = option or self.words(self.labels.get(identifier, ""), "an option")
            if shown and shown not in (pair[0] for pair in pairs):
                pairs.append((shown, identifier))
        label = label or (pairs[0][0] if one.kind == SEVERAL and len(pairs) == 1 else "")
        if not label:
            raise TemplateError(f"expected a label for the field {one.identifier}, found none")
        kind = CHOICE if one.list_of in self.lists else one.kind
        if kind in (CHOICE, SEVERAL) and not pairs:
            raise TemplateError(f"expected options for the field {one.identifier}, found none")
        if len(pairs) > MAXIMUM_OPTIONS:
            raise TemplateError(
                f"expected at most {MAXIMUM_OPTIONS} options for the field {one.identifier}, found more"
            )
        in_label = _UNIT_IN_LABEL.search(label)
        return Field(
            one.identifier,
            kind,
            label,
            one.section,
            tuple(option for option, _ in pairs),
            tuple(identifier for _, identifier in pairs),
            clean(one.default or source.default, MAXIMUM_WORDS),
            one.unit or (in_label[1] if in_label and kind == NUMBER else ""),
            one.minimum,
            one.maximum,
        )

    def _opened(self, tag: str, said: dict[str, str]) -> None:
        if self.open is not None:
            raise TemplateError(f"expected {self._tag} to be closed before {tag} opens")
        kind = {"select": SEVERAL if "multiple" in said else CHOICE, "textarea": TEXT}.get(tag, CHOICE)
        self.open, self._tag = self._new(said, kind, keep=tag != "datalist"), tag
        if tag == "datalist":
            self.lists[self.open.identifier] = self.open

    def _input(self, said: dict[str, str]) -> None:
        kind = said.get("type", "text").lower()
        if kind in _IGNORED_INPUTS:
            return
        if kind in _GROUPED:
            self._grouped(kind, said)
            return
        if kind == "number":
            found = self._new(said, NUMBER)
            found.minimum = _limit(said.get("min", ""), found.identifier)
            found.maximum = _limit(said.get("max", ""), found.identifier)
            if found.minimum is not None and found.maximum is not None and found.minimum > found.maximum:
                raise TemplateError(f"expected min below max for the field {found.identifier}")
            unit = said.get("data-field-units") or said.get("data-field-unit") or ""
            found.unit = self.words(unit, "a unit")
            self._unit_of = found
        else:
            found = self._new(said, TEXT if kind in ("text", "textarea", "search") else OTHER)
            found.list_of = said.get("list", "")
        found.default = said.get("value", "")

    def _grouped(self, kind: str, said: dict[str, str]) -> None:
        """Buttons and boxes of one name are the options of one field."""
        group = said.get("name") or said.get("id", "")
        found = self.found.get(group)
        if found is None:
            found = self._new({"id": group, "name": ""}, _GROUPED[kind])
        elif found.kind != _GROUPED[kind]:
            raise TemplateError(f"expected an identifier of its own for each field, {group} stands twice")
        value = said.get("value", "")
        option = "" if value.lower() == "on" else self.words(value, "an option")
        found.options.append(option)
        found.option_identifiers.append(said.get("id", ""))
        if "checked" in said and not found.default:
            found.default = option

    def _end_option(self) -> None:
        if self._option is None or self.open is None:
            return
        shown = self.words(self._option, "an option") or self.words(self._option_value, "an option")
        self.open.options.append(shown)
        self._option = None

    def _new(self, said: dict[str, str], kind: str, keep: bool = True) -> _Found:
        identifier = said.get("id") or said.get("name", "")
        if not _IDENTIFIER.fullmatch(identifier):
            raise TemplateError("expected an id without spaces for every field, found one without")
        merged = said.get("data-field-type", "").upper() in ("DATE", "TIME", "MERGE")
        section = " / ".join(name for name in self.sections if name)
        found = _Found(identifier, OTHER if merged else kind, section, name=said.get("name", ""))
        if identifier in self.found or identifier in self.lists:
            raise TemplateError(
                f"expected an identifier of its own for each field, {identifier} stands twice"
            )
        if keep:
            if len(self.found) >= MAXIMUM_FIELDS:
                raise TemplateError(f"expected at most {MAXIMUM_FIELDS} fields, found more")
            self.found[identifier] = found
        return found


class _CodeReader(HTMLParser):
    """Collects the coded terms of `template_attributes`; as HTML, which has no entities to expand."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.codes: dict[str, list[Code]] = {}
        self._entry = ""
        self._count = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An entry, or a code of it."""
        said = {name: clean(value or "", MAXIMUM_WORDS) for name, value in attrs}
        if tag == "entry":
            self._entry = said.get("origtxt", "")
        elif tag == "code" and self._entry and said.get("value"):
            self._count += 1
            if self._count > MAXIMUM_CODES:
                raise TemplateError(f"expected at most {MAXIMUM_CODES} coded terms, found more")
            code = Code(said.get("scheme", ""), said["value"], said.get("meaning", ""))
            self.codes.setdefault(self._entry, []).append(code)


def _codes(attributes: str) -> dict[str, tuple[Code, ...]]:
    reader = _CodeReader()
    reader.feed(attributes)
    reader.close()
    return {entry: tuple(codes) for entry, codes in reader.codes.items()}


def _limit(said: str, identifier: str) -> float | None:
    if not said.strip():
        return None
    try:
        value = float(said)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TemplateError(f"expected a number as limit of the field {identifier}, found none")
    return value
