"""Where the FHIR server calls when something changed. It is told nothing but that it was heard."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable

from flask import Blueprint, Flask, Response, abort, request

from connectors.errors import Malformed
from connectors.fhir.notices.notifications import MAX_NOTIFICATION_BYTES, read_notification
from plugin.db import Database
from plugin.notices import UnknownSubscription, take_notification
from plugin.settings import Settings
from plugin.subscribing import wanted

PATH = "/notify/fhir"
SOURCE = "fhir-notification"

log = logging.getLogger(__name__)


def register(
    app: Flask, database: Database, settings: Settings, noticed: Callable[[], None] = lambda: None
) -> None:
    """Add the endpoint where notifications are taken, if this site has one.

    noticed: called once something new waits to be looked at. Raises SettingError where anybody could call.
    """
    if not wanted(settings):
        return
    pages = Blueprint("notify", __name__)
    expected = f"Bearer {settings.fhir_notify_secret}".encode()

    @pages.route(PATH, defaults={"rest": ""}, methods=["POST", "PUT"])
    @pages.route(f"{PATH}/<path:rest>", methods=["POST", "PUT"])
    def notified(rest: str) -> Response:
        """Take one notification.

        1. Only who knows the secret is heard.
        2. It is read as a hint (connectors.fhir.notices.notifications).
        3. What it names is remembered in one transaction; only then is it answered.
        """
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, expected):  # 1
            log.warning("A notification without the right bearer token was refused.")
            abort(401)
        request.max_content_length = MAX_NOTIFICATION_BYTES
        try:
            told = read_notification(request.get_data(), rest, base_url=settings.fhir_url)  # 2
            with database.write() as session:
                new = take_notification(session, told, SOURCE)  # 3
        except Malformed as error:
            log.warning("A notification could not be read: %s", error)
            abort(400)
        except UnknownSubscription as error:
            log.warning("A notification was refused: %s", error)
            abort(404)
        if told.strangers:
            log.warning("A notification named %d resources of another server.", told.strangers)
        if new:
            noticed()
        return Response(status=200)

    app.register_blueprint(pages)
