"""Our public keys, where an authorisation server fetches them (RFC 7517 5; RFC 8615).

A key set is not kept by whoever fetched it (Cache-Control of every page), so that a new key is seen at once.
"""

from __future__ import annotations

import logging

from flask import Blueprint, Flask, Response, abort, jsonify

from connectors.fhir.signing_keys import KeyFileError
from plugin.peers import fhir_keys
from plugin.settings import Settings

log = logging.getLogger(__name__)


def register(app: Flask, settings: Settings) -> None:
    """Add the address of the key set; nothing is there where no keys are set."""
    pages = Blueprint("jwks", __name__)
    keys = fhir_keys(settings)

    @pages.get("/.well-known/jwks.json")
    def key_set() -> Response:
        if keys is None:
            abort(404)
        try:
            return jsonify(keys.published())
        except KeyFileError as error:
            log.error("The public keys cannot be shown: %s.", error)
            abort(503)

    app.register_blueprint(pages)
