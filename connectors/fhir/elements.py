"""Elements of resources that another program wrote, unvalidated: what is misshapen reads as absent."""

from __future__ import annotations

from typing import Any

Resource = dict[str, Any]


def records(node: object, name: str) -> list[Resource]:
    """The JSON objects of a repeating element."""
    value = node.get(name) if isinstance(node, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def record(node: object, name: str) -> Resource:
    """The JSON object of an element; empty when there is none."""
    value = node.get(name) if isinstance(node, dict) else None
    return value if isinstance(value, dict) else {}


def text(node: object, name: str) -> str:
    """The string of an element; empty when there is none."""
    value = node.get(name) if isinstance(node, dict) else None
    return value if isinstance(value, str) else ""


def texts(node: object, name: str) -> list[str]:
    """The strings of a repeating element."""
    value = node.get(name) if isinstance(node, dict) else None
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
