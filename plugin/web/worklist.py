"""The worklist: every case, what changed last on top."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, jsonify, render_template, request, url_for
from sqlalchemy.orm import Session

from plugin.cases import CaseState
from plugin.db import Database
from plugin.tables import Case
from plugin.web.parameters import BadQuery, Parameters
from plugin.web.summary import summary

PAGE = 50
"""Cases on one page."""
WORDS = 8
"""Words in one text search."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the reader looks for; everything given must hold."""

    state: str = ""
    accession: str = ""
    text: str = ""
    """Words that each occur in the patient's name or id, the procedure, the accession or the reason."""
    before: str = ""
    """Where the page before ended, as `cursor` writes it."""

    @classmethod
    def read(cls) -> Filters:
        """From the query string of the request. Raises BadQuery."""
        given = Parameters(request, ("state", "accession", "text", "before"))
        filters = cls(
            state=given.choice("state", list(CaseState)),
            accession=given.text("accession"),
            text=given.text("text"),
            before=given.text("before"),
        )
        if len(filters.text.split()) > WORDS:
            raise BadQuery(f"The parameter text takes at most {WORDS} words.")
        if filters.before and not re.fullmatch(r"[0-9]{1,17}-[0-9a-f]{32}", filters.before):
            raise BadQuery("The parameter before must be the one that the link to older cases carries.")
        return filters

    def query(self, **other: str) -> str:
        """The query string of these filters with some replaced; empty values are left out."""
        values = {"state": self.state, "accession": self.accession, "text": self.text, "before": self.before}
        return urlencode({name: value for name, value in {**values, **other}.items() if value})


@dataclass(frozen=True, slots=True)
class Page:
    """One page of cases."""

    cases: tuple[Case, ...]
    older: str
    """`before` of the next page; empty on the last."""


def cursor(case: Case) -> str:
    """The place of a case in the list: microseconds since 1970, and its id where two changed at once."""
    return f"{(case.updated_at - EPOCH) // MICROSECOND}-{case.id}"


def find_cases(session: Session, filters: Filters, limit: int = PAGE) -> Page:
    """The cases that match, last changed first."""
    found = sa.select(Case)
    if filters.state:
        found = found.where(Case.state == filters.state)
    if filters.accession:
        found = found.where(Case.accession == filters.accession)
    for word in filters.text.split():
        found = found.where(_mentions(word))
    if filters.before:
        microseconds, _, case_id = filters.before.partition("-")
        at = EPOCH + int(microseconds) * MICROSECOND
        found = found.where(sa.or_(Case.updated_at < at, sa.and_(Case.updated_at == at, Case.id < case_id)))
    rows = session.scalars(found.order_by(Case.updated_at.desc(), Case.id.desc()).limit(limit + 1)).all()
    shown = tuple(rows[:limit])
    return Page(shown, cursor(shown[-1]) if len(rows) > limit else "")


def _mentions(word: str) -> sa.ColumnElement[bool]:
    places: tuple[sa.ColumnElement[str] | sa.orm.InstrumentedAttribute[str], ...] = (
        Case.accession,
        Case.reason,
        Case.order["patient"]["family_name"].as_string(),
        Case.order["patient"]["given_name"].as_string(),
        Case.order["patient"]["identifier"].as_string(),
        Case.order["procedure"]["text"].as_string(),
        Case.order["procedure"]["code"].as_string(),
        Case.order["modality"].as_string(),
    )
    # SQLite folds the case of ASCII only: MÜLLER is found as müller by asking for each form.
    forms = {word, word.upper(), word.lower(), word.title()}
    return sa.or_(*(place.icontains(form, autoescape=True) for place in places for form in forms))


def count_states(session: Session) -> dict[str, int]:
    """How many cases are in each state; every state is there."""
    counted = session.execute(sa.select(Case.state, sa.func.count()).group_by(Case.state))
    numbers: Mapping[str, int] = {str(row[0]): int(row[1]) for row in counted}
    return {state.value: numbers.get(state.value, 0) for state in CaseState}


def register(app: Flask, database: Database) -> None:
    """Add the worklist and its JSON twin."""
    pages = Blueprint("worklist", __name__)

    def look() -> tuple[Filters, Page, dict[str, int]]:
        filters = Filters.read()
        with database.read() as session:
            return filters, find_cases(session, filters), count_states(session)

    @pages.get("/")
    def page() -> str:
        filters, found, counts = look()
        return render_template(
            "worklist.html",
            filters=filters,
            cases=[summary(case) for case in found.cases],
            older=filters.query(before=found.older) if found.older else "",
            newest=filters.query(before=""),
            counts=counts,
        )

    @pages.get("/api/cases")
    def twin() -> Response:
        filters, found, counts = look()
        answer: dict[str, Any] = {
            "cases": [summary(case) for case in found.cases],
            "counts": counts,
            "next": f"{url_for('worklist.twin')}?{filters.query(before=found.older)}"
            if found.older
            else None,
        }
        return jsonify(answer)

    app.register_blueprint(pages)
