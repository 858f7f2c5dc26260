"""The page of one message, its JSON twin, and the form that replays it. Looking at a message is logged."""

from __future__ import annotations

import re
import threading
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
)
from werkzeug.wrappers import Response as AnyResponse

from plugin.db import Database
from plugin.intake import Intake, UnknownMessage
from plugin.messages import IN
from plugin.outbox import Overtaken
from plugin.settings import Settings
from plugin.tables import Message
from plugin.web.exchange import LEAVES, last_replay, message_dossier, replayable
from plugin.web.forms import Refused, Tokens, check_origin, field
from plugin.web.leaf import leaf_fields
from plugin.web.parameters import Parameters
from plugin.web.viewer import ACTOR, record_message_view, viewer

PURPOSE = "replay"
NOBODY = (
    "A replay needs the name of the person who asks for it, for the log: set PRELIM_WEB_USER_HEADER to the "
    "header in which the site's proxy names the user, or use: prelim message replay"
)


def _number(digits: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,14}", digits):
        abort(404)
    return int(digits)


def register(app: Flask, database: Database, settings: Settings, intake: Intake | None) -> None:
    """Add the message page, its twin, and its replay where there is an intake."""
    pages = Blueprint("message", __name__)
    tokens = Tokens()
    one_at_a_time = threading.Lock()

    def named() -> str:
        """The person who asks; empty where nobody is named."""
        who = viewer(request, settings.web_user_header)
        return "" if who == ACTOR else who

    def refusal(message: Message) -> str:
        """Why this message cannot be replayed here and now; empty when it can."""
        if intake is None:
            return "This part of Prelim replays nothing; use: prelim message replay"
        return replayable(message) or ("" if named() else NOBODY)

    def look(digits: str) -> dict[str, Any]:
        Parameters(request, ())
        number = _number(digits)
        with database.read() as session:
            message = session.get(Message, number)
            if message is None:
                abort(404)
            if request.method == "HEAD":  # nothing is shown, so nobody has seen the message
                return {"id": number}
            charset = intake.rules(message.channel).charset if intake and message.direction == IN else ""
            known = message_dossier(session, message, charset)
            known["replayable"] = not replayable(message)
            known["no_replay"] = refusal(message)
            known["last_replay"] = last_replay(session, number)
        with database.write() as session:
            seen = record_message_view(session, request, settings.web_user_header, number)
        known["views"].append(leaf_fields(seen))
        return known

    @pages.get("/messages/<digits>")
    def page(digits: str) -> Response:
        known = look(digits)
        if request.method == "HEAD":
            return make_response("")
        token = (
            "" if known["no_replay"] else tokens.write(PURPOSE, named(), known["id"], known["last_replay"])
        )
        answer = make_response(render_template("message.html", message=known, token=token, most=LEAVES))
        # With no referrer at all a browser would hide the origin of the form from us as well.
        answer.headers["Referrer-Policy"] = "same-origin"
        return answer

    @pages.get("/api/messages/<digits>")
    def twin(digits: str) -> Response:
        known = look(digits)
        known.pop("last_replay", None)
        return jsonify(known)

    @pages.post("/messages/<digits>/replay")
    def replay(digits: str) -> AnyResponse:
        """Replay a message, once, and show the new one.

        1. Our own page sent the form, and the log can say who did.
        2. The token is of this person, this message, and of what has been done with it so far: a form that is
           sent twice replays once.
        3. The intake replays it, with the reason, in a transaction of its own.
        """
        number = _number(digits)
        check_origin(request, settings.http_hosts)  # 1
        who = named()
        if intake is None or not who:
            raise Refused(NOBODY)
        with one_at_a_time:
            with database.read() as session:
                message = session.get(Message, number)
                if message is None:
                    abort(404)
                cannot, before = replayable(message), last_replay(session, number)
            tokens.check(request.form.get("token", ""), PURPOSE, who, number, before)  # 2
            why = field(request, "why")
            if cannot:
                raise Refused(cannot, 409)
            try:
                intake.replay(number, why, who)  # 3
            except (UnknownMessage, Overtaken) as error:
                raise Refused(str(error), 409) from None
            with database.read() as session:
                new = last_replay(session, number)
        return redirect(f"/messages/{new or number}", 303)

    app.register_blueprint(pages)
