"""A resource of the FHIR server as a person reads it: as JSON, and element by element. Pure.

What is shown obeys the rules of plugin.web.hl7text: nothing in it can hide, and what is too long is cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from connectors.errors import Malformed
from connectors.fhir.dossier import Dossier
from plugin.web.hl7text import LINES, VALUES, Shown, ShownField, ShownSegment, shortened_value, visible


def shown_resource(raw: bytes) -> Shown:
    """A dossier: the resource that was taken, and behind it those that it names."""
    try:
        dossier = Dossier.from_body(raw)
    except Malformed as error:
        return Shown((visible(shortened_value(raw.decode(errors="backslashreplace"))),), 0, (), 0, str(error))
    resources = [
        (dossier.name, "as it was taken", dossier.focus),
        *((reference, "named by it", resource) for reference, resource in dossier.others.items()),
    ]
    text = json.dumps(dossier.focus, ensure_ascii=False, indent=2).splitlines()
    segments: list[ShownSegment] = []
    values = 0
    for name, meaning, resource in resources:
        if values >= VALUES:
            break
        fields = tuple(
            ShownField(path, "", visible(shortened_value(value), "\n"), ())
            for path, value in _elements(resource, str(resource.get("resourceType", "")))
        )[: VALUES - values]
        segments.append(ShownSegment(visible(name), meaning, fields))
        values += len(fields)
    lines = tuple(visible(shortened_value(line)) for line in text[:LINES])
    return Shown(lines, max(0, len(text) - LINES), tuple(segments), len(resources) - len(segments), "")


def _elements(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, value) of every primitive element, in the order of the resource."""
    pending: list[tuple[str, Any]] = [(path, value)]
    while pending:
        here, node = pending.pop()
        if isinstance(node, dict):
            pending += [(f"{here}.{name}", inner) for name, inner in reversed(node.items())]
        elif isinstance(node, list):
            numbered = [(f"{here}[{index}]", inner) for index, inner in enumerate(node)]
            pending += reversed(numbered if len(node) > 1 else [(here, inner) for inner in node])
        else:
            yield visible(here), node if isinstance(node, str) else json.dumps(node)
