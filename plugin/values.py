"""How the values of settings are read. Pure.

Each reader takes what came and raises ValueError with the words that end "PRELIM_X must be ...".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from connectors.exchange import DraftStatus


class Inside(ValueError):
    """Part of a value is wrong; the words say already which, and what came."""


def setting(default: Any, read: Callable[[object], Any], meaning: str, *, secret: bool = False) -> Any:
    """A field of a dataclass of settings. A secret is never repeated, whatever is wrong with it."""
    return field(default=default, metadata={"read": read, "meaning": meaning, "secret": secret})


def read_all(
    known: Mapping[str, Field[Any]], given: Mapping[str, object], named: Callable[[str], str]
) -> dict[str, Any]:
    """The values of fields, read. named: what a field is called in an error.

    Raises ValueError with one sentence that names the field, what was expected and what came.
    """
    found = {}
    for name, value in given.items():
        if value is None:  # JSON can say it, and `str` would make it a word
            raise ValueError(f"{named(name)} must be given a value or left out; it is null.")
        try:
            found[name] = known[name].metadata["read"](value)
        except Inside as error:
            raise ValueError(f"{named(name)} must be {error}.") from None
        except ValueError as error:
            # An address may hold a password before its @, even where none belongs.
            hidden = known[name].metadata["secret"] or "@" in str(value)
            came = "a value that is not repeated here" if hidden else repr(value)
            raise ValueError(f"{named(name)} must be {error}; it is {came}.") from None
    return found


def text(value: object) -> str:
    """Any text, without white space around it."""
    return str(value).strip()


def host(value: object) -> str:
    """An address to bind to. Nothing would be every address of the machine: that is said as 0.0.0.0 or ::."""
    found = text(value)
    if not found:
        raise ValueError("an address to bind to, for example 127.0.0.1, or 0.0.0.0 for all of them")
    return found


def whole(low: int, high: int) -> Callable[[object], int]:
    """A reader of whole numbers from `low` to `high`."""

    def read(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            raise ValueError(f"a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return number

    return read


def number(low: float, high: float, what: str = "a number") -> Callable[[object], float]:
    """A reader of numbers from `low` to `high`. what: what they are, in an error."""

    def read(value: object) -> float:
        try:
            found = float(str(value))
        except ValueError:
            raise ValueError(f"{what} from {low:g} to {high:g}") from None
        if not low <= found <= high:
            raise ValueError(f"{what} from {low:g} to {high:g}")
        return found

    return read


def seconds(low: float, high: float) -> Callable[[object], float]:
    """A reader of seconds from `low` to `high`."""
    return number(low, high, "seconds")


def flag(value: object) -> bool:
    """Yes or no, in the usual spellings."""
    word = str(value).strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("yes or no")


def url(value: object) -> str:
    """An address of a server, without a secret in it; or nothing."""
    text = str(value).strip().rstrip("/")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("an http:// or https:// address, or nothing") from None
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("an http:// or https:// address, or nothing")
    if parts.username or parts.password:
        raise ValueError("an address without a user or password in it (use PRELIM_FHIR_TOKEN)")
    return text


def database(value: object) -> str:
    """The URL of a SQLite file or a PostgreSQL database."""
    try:
        address = sa.make_url(str(value).strip())
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError("sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME") from None
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    if address.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise ValueError("sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")
    name = address.database or ""
    in_memory = (
        name in {"", ":memory:"}
        or "memory" in address.query.get("mode", ())
        or name.startswith("file::memory:")
    )
    if address.drivername == "sqlite" and in_memory:
        raise ValueError("a SQLite file: a database in memory would lose every order at the next start")
    return address.render_as_string(hide_password=False)


def peer(value: object) -> str:
    """HOST:PORT, or nothing."""
    text = str(value).strip()
    if not text:
        return text
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("HOST:PORT")
    return text


def draft_status(value: object) -> DraftStatus:
    """One of the statuses that a draft may have."""
    try:
        return DraftStatus(str(value).strip())
    except ValueError:
        raise ValueError("preliminary or partial (Prelim cannot send any other status)") from None


def folder(value: object) -> Path | None:
    """A path, or nothing."""
    text = str(value).strip()
    return Path(text) if text else None


def any_names(value: object) -> tuple[str, ...]:
    """Names, or none; a list, or text with commas."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return tuple(str(part).strip() for part in parts if str(part).strip())


def names(value: object) -> tuple[str, ...]:
    """At least one name; a list, or text with commas."""
    found = any_names(value)
    if not found:
        raise ValueError("at least one name, separated by commas")
    return found


def header(value: object) -> str:
    """The name of a request header, or nothing."""
    text = str(value).strip()
    if text and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text):
        raise ValueError("the name of a header (letters, digits and hyphens), or nothing")
    return text


def some_of(*choices: str) -> Callable[[object], tuple[str, ...]]:
    """A reader of one or more of some words."""

    def read(value: object) -> tuple[str, ...]:
        found = names(value)
        if not set(found) <= set(choices):
            raise ValueError(f"one or more of {', '.join(choices)}")
        return found

    return read


def any_of(*choices: str) -> Callable[[object], tuple[str, ...]]:
    """A reader of some words, or none."""

    def read(value: object) -> tuple[str, ...]:
        found = any_names(value)
        if not set(found) <= set(choices):
            raise ValueError(f"nothing, or one or more of {', '.join(choices)}")
        return found

    return read


def one_of(*choices: str) -> Callable[[object], str]:
    """A reader of one of some words."""

    def read(value: object) -> str:
        if str(value).strip() not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value).strip()

    return read
