"""A resource of the FHIR server as a person reads it: as JSON, and element by element. Pure.

What is shown obeys the rules of plugin.web.hl7text: nothing in it can hide, and what is too long is cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from connectors.errors import Malformed
from connectors.fhir.readers.dossier import Dossier
from plugin.web.hl7text import (
    LINES,
    LONGEST,
    VALUES,
    Shown,
    ShownField,
    ShownSegment,
    shortened_value,
    visible,
)

TAKEN, NAMED, BEFORE = "as it was taken", "named by it", "our version before it"
REST = ShownField("…", "", "The rest of this resource is not shown.", ())
TOO_DEEP = "Its elements are nested too deeply to be shown."


def shown_resource(raw: bytes) -> Shown:
    """A dossier: the resource that was taken, and behind it those that it names."""
    try:
        dossier = Dossier.from_body(raw)
        # Written with indents, JSON is nested less deeply than it can be read.
        text = json.dumps(dossier.focus, ensure_ascii=False, indent=2).splitlines()
    except (Malformed, RecursionError) as error:
        told = str(error) if isinstance(error, Malformed) else TOO_DEEP
        return Shown((visible(shortened_value(raw.decode(errors="backslashreplace"))),), 0, (), 0, told)
    resources = [
        (dossier.name, TAKEN, dossier.focus),
        *(
            (reference, BEFORE if "/_history/" in reference else NAMED, resource)
            for reference, resource in dossier.others.items()
        ),
    ]
    segments: list[ShownSegment] = []
    values = 0
    for name, meaning, resource in resources:
        if values >= VALUES:
            break
        found = _elements(resource)
        fields = tuple(
            ShownField(visible(shortened_value(path)), "", visible(shortened_value(value), "\n"), ())
            for path, value in islice(found, VALUES - values)
        )
        values += len(fields)
        rest = () if next(found, None) is None else (REST,)
        segments.append(ShownSegment(visible(name), meaning, (*fields, *rest)))
    lines = tuple(visible(shortened_value(line)) for line in text[:LINES])
    return Shown(lines, max(0, len(text) - LINES), tuple(segments), len(resources) - len(segments), "")


def _elements(resource: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(path below the resource, value) of every primitive element, in the order of the resource."""
    pending: list[tuple[str, Any]] = list(reversed(resource.items()))
    while pending:
        here, node = pending.pop()
        here = here[: LONGEST + 1]  # names of elements can be of any length
        if isinstance(node, dict):
            pending += [(f"{here}.{name}", inner) for name, inner in reversed(node.items())]
        elif isinstance(node, list):
            numbered = [(f"{here}[{index}]", inner) for index, inner in enumerate(node)]
            pending += reversed(numbered if len(node) > 1 else [(here, inner) for inner in node])
        else:
            yield here, node if isinstance(node, str) else json.dumps(node)
