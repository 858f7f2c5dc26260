"""Whether a resource is one that its FHIR release can hold. Pure; names places, never what stands there."""

from __future__ import annotations

from typing import Any

import fhir.resources
import fhir.resources.R4B
from fhir.resources.R4B.resource import Resource as R4Resource
from fhir.resources.resource import Resource as R5Resource
from pydantic import BaseModel, ValidationError

from connectors.errors import Malformed
from connectors.fhir.elements import text

Resource = dict[str, Any]

MAX_ELEMENTS = 200_000
"""JSON values of a resource that is checked: about two seconds of checking."""
MAX_DEPTH = 60
"""Objects and lists inside each other."""
MAX_PLACES = 8
"""Places that an error names."""

RELEASES: dict[str, tuple[Any, type[BaseModel]]] = {
    "R4": (fhir.resources.R4B.get_fhir_model_class, R4Resource),
    "R5": (fhir.resources.get_fhir_model_class, R5Resource),
}
"""How each release finds the model of a type, and what all its resources are. The models called R4B hold
R4's resources that are read here as 4.0.1 has them."""


def check(resource: Resource, *, release: str = "R4") -> None:
    """Raise Malformed, naming element paths and no values, when FHIR cannot hold the resource.

    Codes are not compared with their value sets: the readers do that where it matters.
    """
    _check_size(resource)
    kind = text(resource, "resourceType")
    model = _model(kind, release)
    try:
        model.model_validate(resource)
    except ValidationError as error:
        places = sorted({_place(kind, issue) for issue in error.errors(include_input=False)})
        named = ", ".join(places[:MAX_PLACES]) + (" and more" if len(places) > MAX_PLACES else "")
        raise Malformed(f"Expected a {kind} as FHIR {release} has it; not valid at: {named}.") from None
    except (KeyError, LookupError, ValueError, TypeError, AttributeError, RecursionError):
        # A contained resource of a type that there is not is no error of the models' own kind.
        raise Malformed(f"Expected a {kind} as FHIR {release} has it, came one with unknown parts.") from None


def _model(kind: str, release: str) -> type[BaseModel]:
    find, base = RELEASES[release]
    try:
        model = find(kind)
    except (KeyError, ValueError, ImportError, AttributeError):
        model = None
    if not (isinstance(model, type) and issubclass(model, base)):
        raise Malformed(f"Expected a resource of FHIR {release}, came something of another type.")
    return model


def _place(kind: str, issue: Any) -> str:
    # The last step to an unknown element is the sender's own word, which may be anything.
    unknown = issue["type"] == "extra_forbidden"
    steps = issue["loc"][:-1] if unknown else issue["loc"]
    path = ".".join([kind, *(str(step) for step in steps if isinstance(step, str))])
    return f"{path} (an unknown element)" if unknown else path


def _check_size(resource: Resource) -> None:
    pending: list[tuple[object, int]] = [(resource, 1)]
    count = 0
    while pending:
        node, depth = pending.pop()
        count += 1
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        if count + len(inner) > MAX_ELEMENTS:
            raise Malformed(f"Expected a resource of at most {MAX_ELEMENTS} values, came a larger one.")
        if inner and depth > MAX_DEPTH:
            raise Malformed(f"Expected a resource nested at most {MAX_DEPTH} deep, came a deeper one.")
        pending.extend((one, depth + 1) for one in inner)
