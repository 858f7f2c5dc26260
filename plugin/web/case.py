"""The page of one case, its JSON twin and its pictures. Looking at a case is itself logged."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, abort, jsonify, render_template, request

from plugin.db import Database, write_leaves
from plugin.settings import Settings
from plugin.tables import Case, DraftRecord, Picture
from plugin.web.dossier import LEAVES, dossier
from plugin.web.parameters import Parameters
from plugin.web.viewer import record_view


def _number(digits: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", digits):
        abort(404)
    return int(digits)


def register(app: Flask, database: Database, settings: Settings) -> None:
    """Add the case page, its twin and its pictures."""
    pages = Blueprint("case", __name__)

    def look(case_id: str) -> dict[str, Any]:
        Parameters(request, ())
        if not re.fullmatch(r"[0-9a-f]{32}", case_id):
            abort(404)
        if request.method == "HEAD":  # nothing is shown, so nobody has seen the case
            with database.read() as session:
                if session.get(Case, case_id) is None:
                    abort(404)
                return {"id": case_id}
        with database.write() as session:
            case = session.get(Case, case_id)
            if case is None:
                abort(404)
            record_view(session, request, settings.web_user_header, case_id)
            write_leaves(session)  # the page shows its own entry
            return dossier(session, case)

    @pages.get("/cases/<case_id>")
    def page(case_id: str) -> str:
        known = look(case_id)
        return "" if request.method == "HEAD" else render_template("case.html", case=known, most=LEAVES)

    @pages.get("/api/cases/<case_id>")
    def twin(case_id: str) -> Response:
        return jsonify(look(case_id))

    @pages.get("/cases/<case_id>/drafts/<number>/pictures/<ordinal>.png")
    def picture(case_id: str, number: str, ordinal: str) -> Response:
        Parameters(request, ())
        with database.read() as session:
            png = session.scalar(
                sa.select(Picture.png)
                .join(DraftRecord, DraftRecord.id == Picture.draft_id)
                .where(
                    DraftRecord.case_id == case_id,
                    DraftRecord.number == _number(number),
                    Picture.ordinal == _number(ordinal),
                )
            )
        if png is None:
            abort(404)
        return Response(png, mimetype="image/png")

    app.register_blueprint(pages)
