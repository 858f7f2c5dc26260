"""Whether the service lives, can work, and how much there is to do; never a word about a patient."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, jsonify
from sqlalchemy.orm import Session

from plugin.cases import CaseState
from plugin.db import Database, now
from plugin.messages import DEAD_LETTERS
from plugin.migrate import pending
from plugin.tables import AuditHead, Case
from plugin.tally import count_places, waiting

WAITING = (CaseState.RECEIVED, CaseState.READY, CaseState.DRAFTED)
"""States in which a case waits for a machine."""
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
        (
            "prelim_messages",
            "HL7 messages by direction and state.",
            [
                (f'{{direction="{way}",state="{state}"}}', float(number))
                for (way, state), number in count_places(session).items()
            ],
        ),
        (
            "prelim_oldest_waiting_delivery_seconds",
            "Seconds since the oldest message in the outbox was written; 0 when none waits.",
            (("", oldest_delivery_seconds(session)),),
        ),
        ("prelim_audit_entries", "Entries in the audit log.", (("", float(size)),)),
        (
            "prelim_oldest_waiting_case_seconds",
            "Seconds since the longest waiting case of the state last changed; 0 when none waits.",
            _by_state(ages),
        ),
    )
    return "".join(_family(name, meaning, samples) for name, meaning, samples in families)


def oldest_delivery_seconds(session: Session) -> float:
    """How long the oldest message in the outbox has waited; 0 when none waits."""
    since = [one.since for one in waiting(session)]
    return max(0.0, (now() - min(since)).total_seconds()) if since else 0.0


def dead_letters(session: Session) -> dict[str, object]:
    """What a person may have to deal with: counts by direction and state, and how long the outbox waits."""
    counts: dict[str, dict[str, int]] = {}
    for (way, state), number in count_places(session, DEAD_LETTERS).items():
        counts.setdefault(way, {})[state] = number
    return {**counts, "oldest_waiting_delivery_seconds": round(oldest_delivery_seconds(session), 3)}


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
        if problem:
            return jsonify({"ready": False, "problem": problem}), 503
        with database.read() as session:
            return jsonify({"ready": True, "problem": "", "messages": dead_letters(session)}), 200

    @pages.get("/metrics")
    def numbers() -> Response:
        with database.read() as session:
            return Response(metrics(session), content_type="text/plain; version=0.0.4; charset=utf-8")

    app.register_blueprint(pages)
