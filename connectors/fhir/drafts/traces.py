"""A Provenance that is written once: R4 gives it no identifier, so it carries a tag to be found again by.

Pure. The server that gets a transaction twice creates nothing twice then.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from connectors.fhir.capabilities import Capabilities
from connectors.fhir.elements import record, records, text
from connectors.fhir.identifiers import IdentifierSystems, token

Resource = dict[str, Any]


def once(
    bundle: Resource, name: str, systems: IdentifierSystems, capabilities: Capabilities | None
) -> Resource:
    """The Bundle with its Provenance tagged, and conditional where the server finds it by its tag.

    name: of what the Provenance tells, the same at every attempt and no other's: case, draft number, step.
    capabilities: None when they are not known; the condition is then left out, since a server that does not
    know it may refuse the whole Bundle.
    """
    tag = {"system": systems.draft, "code": name}
    condition = urlencode({"_tag": token(tag["system"], tag["code"])})
    conditional = capabilities is not None and capabilities.finds_by_tag
    entries = []
    for entry in records(bundle, "entry"):
        resource = record(entry, "resource")
        if text(resource, "resourceType") == "Provenance":
            meta = record(resource, "meta")
            tagged = {**resource, "meta": {**meta, "tag": [*records(meta, "tag"), tag]}}
            request = {**record(entry, "request"), **({"ifNoneExist": condition} if conditional else {})}
            entry = {**entry, "resource": tagged, "request": request}
        entries.append(entry)
    return {**bundle, "entry": entries}
