"""An entry of the audit log, as pages and downloads give it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from plugin.tables import AuditLeaf
from plugin.web.words import machine_moment

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = ("position", "at", "actor", "action", "case", "message", "details", "leaf_hash")


def leaf_fields(leaf: AuditLeaf) -> dict[str, Any]:
    """The fields of an entry, its hash, and the very text that was hashed."""
    return {
        "position": leaf.position,
        "at": machine_moment(leaf.at),
        "actor": leaf.actor,
        "action": leaf.action,
        "case": leaf.case_id,
        "message": leaf.message_id,
        "details": _details(leaf.entry),
        "leaf_hash": leaf.leaf_hash,
        "entry": leaf.entry,
    }


def _details(entry: str) -> dict[str, Any]:
    # An entry that somebody broke is still shown: `verify` says what is wrong with it.
    try:
        details = json.loads(entry)["details"]
    except (ValueError, KeyError, TypeError):
        return {}
    return details if isinstance(details, dict) else {}


def readable(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Details as (label, value) for a person; what says nothing is left out."""
    return [
        (name.replace("_", " "), _value(value)) for name, value in details.items() if value not in (None, "")
    ]


def _value(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_value(part) for part in value)
    return json.dumps(value, ensure_ascii=False)


def csv_cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def csv_row(leaf: AuditLeaf) -> list[str]:
    """The cells of an entry, under COLUMNS."""
    fields = leaf_fields(leaf)
    fields["details"] = "; ".join(f"{name}: {value}" for name, value in readable(fields["details"]))
    return [csv_cell(fields[column]) for column in COLUMNS]
