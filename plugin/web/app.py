"""The pages put together: routes, headers, and what an error looks like."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, abort, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, SecurityError

from plugin.cases import CaseState
from plugin.db import Database
from plugin.intake import Intake
from plugin.settings import Settings
from plugin.web import audit, case, health, jwks, message, messages, notify, worklist
from plugin.web.forms import Refused
from plugin.web.leaf import readable
from plugin.web.parameters import BadQuery
from plugin.web.words import DIRECTIONS, MESSAGE_STATES, STATES, shortened, shown_removal, shown_text

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
METHODS = ("GET", "HEAD")
WRITING = {"message.replay": {"POST"}, "notify.notified": {"POST", "PUT"}}
"""The endpoints that take a form, or a notification, and by which methods."""
FORM_BYTES = 16 * 1024
SENTENCES = {
    400: "The address cannot be answered as it is.",
    401: "This address is for the FHIR server, which shows a bearer token.",
    404: "There is nothing at this address.",
    405: "This address does not take this method: pages are read with GET and HEAD.",
    413: "The form is too long.",
    500: "Something went wrong inside Prelim; its log says what. Nothing was changed.",
}

log = logging.getLogger(__name__)


def create_app(
    database: Database,
    settings: Settings,
    intake: Intake | None = None,
    noticed: Callable[[], None] = lambda: None,
) -> Flask:
    """The WSGI application over a migrated database.

    It only reads, except for the leaf of each case and message seen, for the replay of a message, and for the
    notices of the FHIR server.
    intake: takes replayed messages; without it the pages replay none. noticed: called when a notice waits.
    """
    app = Flask(__name__)
    # A method that we do not list must not be answered in our name.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    # A page on the internet may point its own name at our address (DNS rebinding): only our names count.
    app.config["TRUSTED_HOSTS"] = [*settings.http_hosts, settings.http_host]
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = FORM_BYTES
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["moment"] = shown_text
    app.jinja_env.globals["states"] = {state.value: STATES[state] for state in CaseState}
    app.jinja_env.globals["message_states"] = MESSAGE_STATES
    app.jinja_env.globals["directions"] = DIRECTIONS
    app.jinja_env.filters["readable"] = readable
    app.jinja_env.filters["shortened"] = shortened
    app.jinja_env.filters["removal"] = shown_removal
    worklist.register(app, database)
    case.register(app, database, settings)
    messages.register(app, database, settings)
    message.register(app, database, settings, intake)
    audit.register(app, database)
    health.register(app, database)
    notify.register(app, database, settings, noticed)
    jwks.register(app, settings)
    app.before_request(_only_reading)
    app.after_request(_harden)
    app.register_error_handler(BadQuery, _bad_query)
    app.register_error_handler(Refused, _not_acted_on)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _broken)
    return app


def _only_reading() -> None:
    if isinstance(request.routing_exception, SecurityError):
        return  # of another host: no address was looked for, and that refusal is raised next
    if request.method not in METHODS and request.method not in WRITING.get(request.endpoint or "", ()):
        abort(405)


def _harden(answer: Response) -> Response:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    # Every page may speak of a patient; the style sheet does not, and is asked for anew.
    answer.headers["Cache-Control"] = "no-cache" if request.endpoint == "static" else "no-store"
    return answer


def _bad_query(error: BadQuery) -> Response:
    return _answer(400, str(error))


def _not_acted_on(error: Refused) -> Response:
    return _answer(error.status, str(error))


def _refused(error: HTTPException) -> Response:
    if isinstance(error, SecurityError):
        # Without a host that is ours no address can be written, so no page either.
        return Response("This is not a name under which the pages answer (PRELIM_HTTP_HOSTS).\n", 400)
    status = error.code or 500
    answer = _answer(status, SENTENCES.get(status, error.name + "."))
    if status == 405:
        allowed = error.valid_methods if isinstance(error, MethodNotAllowed) else None
        answer.headers["Allow"] = ", ".join(allowed or METHODS)
    return answer


def _broken(error: Exception) -> Response:
    # Where it happened and of what kind; the words of an exception may quote a patient.
    steps = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(step.filename).name}:{step.lineno}" for step in reversed(steps[-6:]))
    log.error("A page could not be made: %s at %s", type(error).__name__, where)
    return _answer(500, SENTENCES[500])


def _answer(status: int, sentence: str) -> Response:
    if request.path.startswith("/api/") or request.path.endswith((".ndjson", ".csv")):
        return make_response(jsonify({"error": sentence}), status)
    return make_response(render_template("error.html", status=status, sentence=sentence), status)
