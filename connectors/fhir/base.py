"""The base URL of a FHIR service, and what lies below it: nothing else is ever asked for. Pure."""

from __future__ import annotations

import re

import httpx

from connectors.errors import Malformed, Rejected

TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9\-.]{1,64}")
LITERAL = re.compile(
    r"([A-Z][A-Za-z]{1,63}/(?!\.{1,2}(?:/|$))[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
"""A relative reference, with or without a version; its group is Type/id (FHIR R4 references.html#literal)."""


class BaseUrl:
    """http or https, without user, query or fragment. Raises Rejected for another."""

    def __init__(self, text: str) -> None:
        try:
            self._url = httpx.URL(text.rstrip("/"))
        except httpx.InvalidURL:
            raise Rejected("Expected the FHIR server's base URL; came something unreadable.") from None
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise Rejected("Expected an http or https base URL of a FHIR server; came another kind.")
        if self._url.userinfo or self._url.query or self._url.fragment:
            raise Rejected("Expected a base URL without user, query or fragment; set the token on its own.")
        self.text = str(self._url)

    def relative(self, reference: str) -> str:
        """Type/id of a reference that lies on this server.

        Raises Rejected for any other: a reference to another host is never followed.
        """
        text = reference.removeprefix(f"{self.text}/").partition("/_history/")[0]
        kind, _, identity = text.partition("/")
        if not (TYPE.fullmatch(kind) and ID.fullmatch(identity)):
            raise Rejected("Expected a reference Type/id on the configured FHIR server; came another kind.")
        return text

    def page(self, link: str, *, action: str) -> str:
        """The URL of a link to a page below this base. Raises Malformed for any other."""
        try:
            url = httpx.URL(f"{self.text}/").join(link)
        except httpx.InvalidURL:
            raise Malformed(f"{action}: expected a readable link to the next page, came another.") from None
        base = self._url
        same_origin = (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
        below = url.path == base.path or url.path.startswith(f"{base.path.rstrip('/')}/")
        if not (same_origin and below) or url.userinfo or ".." in url.path.split("/"):
            raise Malformed(
                f"{action}: expected the next page below the configured base URL, came a link elsewhere. "
                "It was not followed; make the server name its pages by the URL that is configured here."
            )
        return str(url)
