"""How the sandbox FHIR server matches search parameters, and how it refuses (FHIR R4 search.html)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

Resource = dict[str, Any]

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


class Refusal(Exception):
    """A request that the server does not carry out."""

    def __init__(self, status: int, code: str, text: str, *, expression: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.expression = expression

    @property
    def outcome(self) -> Resource:
        """The refusal as an OperationOutcome."""
        issue: Resource = {"severity": "error", "code": self.code, "diagnostics": self.text}
        if self.expression:
            issue["expression"] = [self.expression]
        return {"resourceType": "OperationOutcome", "issue": [issue]}


def matcher(name: str, value: str) -> Callable[[Resource], bool]:
    """Whether a resource matches one parameter; Refusal for a parameter that this server does not know."""
    wanted = [unescaped(one) for one in split(value, ",")]
    if name == "_id":
        identities = frozenset(wanted)
        return lambda resource: resource.get("id") in identities
    if name == "status":
        return lambda resource: resource.get("status") in wanted
    if name in {"category", "intent", "_tag"}:
        asked = tokens(value)
        return lambda resource: any(_coded(resource, name.lstrip("_"), token) for token in asked)
    if name == "url":
        return lambda resource: resource.get("channel", {}).get("endpoint") in wanted
    if name == "identifier":
        wanted_tokens = frozenset(tokens(value))
        return lambda resource: any(
            _tokens_of(identifier) & wanted_tokens for identifier in _identifiers(resource)
        )
    if name in {"patient", "subject", "target", "based-on"}:
        ends = [one if "/" in one else f"Patient/{one}" for one in wanted]
        element = {"patient": "subject", "based-on": "basedOn"}.get(name, name)
        return lambda resource: any(
            reference in ends or any(reference.endswith(f"/{end}") for end in ends)
            for reference in references(resource.get(element))
        )
    if name == "_lastUpdated":
        return _updated(value)
    raise Refusal(400, "not-supported", "Unknown search parameter.")


def in_part(resource: Resource, elements: str) -> Resource:
    """The elements of a resource that a search asks for, marked as a part (FHIR R4 search.html#elements)."""
    wanted = {"resourceType", "id", "meta", *elements.split(",")}
    part = {name: value for name, value in resource.items() if name in wanted}
    tags = [*part.get("meta", {}).get("tag", []), SUBSETTED]
    return {**part, "meta": {**part.get("meta", {}), "tag": tags}}


def tokens(value: str) -> list[tuple[str | None, str]]:
    """(system, value) of each alternative; system None when any will do, empty when none may be there."""
    found: list[tuple[str | None, str]] = []
    for one in split(value, ","):
        system, *rest = split(one, "|")
        found.append((unescaped(system), unescaped("|".join(rest))) if rest else (None, unescaped(system)))
    return found


def split(value: str, mark: str) -> list[str]:
    """Split at unescaped marks, leaving the escapes (FHIR R4 search.html#escaping)."""
    parts, escaping = [""], False
    for character in value:
        if character == mark and not escaping:
            parts.append("")
            continue
        parts[-1] += character
        escaping = character == "\\" and not escaping
    return parts


def unescaped(value: str) -> str:
    """A value without its escapes."""
    text, escaping = "", False
    for character in value:
        escaping = character == "\\" and not escaping
        if not escaping:
            text += character
    return text


def walk(node: object) -> Iterator[Resource]:
    """Every JSON object inside a node, itself included."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def references(node: object) -> Iterator[str]:
    """Every literal reference inside a node."""
    return (found["reference"] for found in walk(node) if isinstance(found.get("reference"), str))


def identifier_values(resource: Resource) -> list[str]:
    """The value of each business identifier."""
    return [str(identifier["value"]) for identifier in _identifiers(resource) if "value" in identifier]


def tag_codes(resource: Resource) -> list[str]:
    """The code of each meta.tag."""
    return [str(tag["code"]) for tag in resource.get("meta", {}).get("tag", []) if "code" in tag]


def _identifiers(resource: Resource) -> list[Resource]:
    identifiers = resource.get("identifier", [])
    return identifiers if isinstance(identifiers, list) else [identifiers]


def _tokens_of(identifier: Resource) -> set[tuple[str | None, str]]:
    """The tokens that find an identifier: with its system, and without one."""
    value = str(identifier.get("value", ""))
    return {(None, value), (str(identifier.get("system", "")), value)} if value else set()


def _coded(resource: Resource, element: str, token: tuple[str | None, str]) -> bool:
    """Whether an element holds a code: a code alone, a Coding in meta, or a CodeableConcept."""
    system, value = token
    held = resource.get("meta", {}).get("tag", []) if element == "tag" else resource.get(element, [])
    concepts = held if isinstance(held, list) else [{"code": held}]
    codings = [coding for concept in concepts for coding in concept.get("coding", [concept])]
    return any(
        coding.get("code") == value and (system is None or coding.get("system", "") == system)
        for coding in codings
    )


def _updated(value: str) -> Callable[[Resource], bool]:
    prefix, moment = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    try:
        wanted = datetime.fromisoformat(moment)
    except ValueError:
        raise Refusal(400, "value", "Not a date and time.") from None
    if wanted.tzinfo is None or prefix not in {"gt", "ge", "lt", "le", "eq"}:
        raise Refusal(400, "value", "Expected gt, ge, lt, le or eq and an instant.")

    def updated(resource: Resource) -> bool:
        at = datetime.fromisoformat(resource["meta"]["lastUpdated"])
        later, earlier = prefix in {"gt", "ge"} and at > wanted, prefix in {"lt", "le"} and at < wanted
        return later or earlier or ((prefix[1] == "e" or prefix == "eq") and at == wanted)

    return updated
