"""Whether the service lives, can work, and how much there is to do; never a word about a patient."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, jsonify
from sqlalchemy.orm import Session

from plugin.cases import CaseState
from plugin.db import Database, now
from plugin.migrate import pending
from plugin.tables import AuditHead, Case, Message

WAITING = (CaseState.RECEIVED, CaseState.READY, CaseState.DRAFTED)
"""States in which a case waits for a machine."""
MESSAGE_STATES = ("PROCESSED", "REFUSED", "QUARANTINED")
Sample = tuple[str, float]
"""Labels in braces (or nothing), and a value."""


def not_ready(database: Database) -> str:
    """Why the service cannot work, as a sentence; empty when it can."""
    try:
        if pending(database):
            return "The database is not at this version's schema; start `prelim serve` once to migrate it."
    except sa.exc.SQLAlchemyError as error:
        return f"The database does not answer ({type(error).__name__}); look at PRELIM_DATABASE_URL."
    return ""


def metrics(session: Session) -> str:
    """Counts and ages in the Prometheus text format 0.0.4. Labels are states, never anything of a case."""
    cases = {
        str(state): (int(number), oldest)
        for state, number, oldest in session.execute(
            sa.select(Case.state, sa.func.count(), sa.func.min(Case.updated_at)).group_by(Case.state)
        )
    }
    messages = dict.fromkeys(MESSAGE_STATES, 0)
    for state, number in session.execute(sa.select(Message.state, sa.func.count()).group_by(Message.state)):
        messages[state] = number
    at = now()
    ages = {
        state.value: max(0.0, (at - cases[state.value][1]).total_seconds()) if state.value in cases else 0.0
        for state in WAITING
    }
    size = session.scalar(sa.select(AuditHead.size)) or 0
    families = (
        (
            "prelim_cases",
            "Cases by state.",
            _by_state({s.value: cases.get(s.value, (0,))[0] for s in CaseState}),
        ),
        ("prelim_messages", "HL7 messages by state.", _by_state(messages)),
        ("prelim_audit_entries", "Entries in the audit log.", (("", float(size)),)),
        (
            "prelim_oldest_waiting_case_seconds",
            "Seconds since the longest waiting case of the state last changed; 0 when none waits.",
            _by_state(ages),
        ),
    )
    return "".join(_family(name, meaning, samples) for name, meaning, samples in families)


def _by_state(values: dict[str, int] | dict[str, float]) -> Iterable[Sample]:
    return [(f'{{state="{state}"}}', float(value)) for state, value in values.items()]


def _family(name: str, meaning: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
    lines.extend(f"{name}{labels} {value:.15g}" for labels, value in samples)
    return "\n".join(lines) + "\n"


def register(app: Flask, database: Database) -> None:
    """Add the three addresses that machines ask."""
    pages = Blueprint("health", __name__)

    @pages.get("/healthz")
    def alive() -> Response:
        return jsonify({"alive": True})

    @pages.get("/readyz")
    def ready() -> tuple[Response, int]:
        problem = not_ready(database)
        return jsonify({"ready": not problem, "problem": problem}), 503 if problem else 200

    @pages.get("/metrics")
    def numbers() -> Response:
        with database.read() as session:
            return Response(metrics(session), content_type="text/plain; version=0.0.4; charset=utf-8")

    app.register_blueprint(pages)
