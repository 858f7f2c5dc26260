"""The way of a case, read from its entries."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from plugin.cases import CaseState
from plugin.tables import AuditLeaf
from plugin.web.lifeline import life_line

S = CaseState
START = datetime(2026, 1, 1, tzinfo=UTC)


def leaves(*actions: str) -> list[AuditLeaf]:
    """Entries a minute apart; "case.drafted<DRAFTED" says the state before."""
    made = []
    for minute, action in enumerate(actions):
        name, _, before = action.partition("<")
        entry = json.dumps({"details": {"from": before} if before else {}})
        made.append(AuditLeaf(action=name, at=START + timedelta(minutes=minute), entry=entry))
    return made


def told(found: list[AuditLeaf], state: CaseState) -> list[tuple[CaseState, int | None, str]]:
    steps = life_line(found, state)
    return [(s.state, None if s.at is None else (s.at - START).seconds // 60, s.stage) for s in steps]


def test_a_published_case_has_passed_three_stops_and_has_one_ahead() -> None:
    """Each stop with the time of arrival."""
    found = leaves("case.opened", "order.taken", "case.ready<RECEIVED", "case.drafted", "case.published")
    assert told(found, S.PUBLISHED) == [
        (S.RECEIVED, 0, "done"),
        (S.READY, 2, "done"),
        (S.DRAFTED, 3, "done"),
        (S.PUBLISHED, 4, "now"),
        (S.SIGNED, None, "ahead"),
    ]


def test_a_redone_draft_takes_the_later_stops_back() -> None:
    """The old draft's publication says nothing about the new one."""
    found = leaves("case.opened", "case.ready", "case.drafted", "case.published", "case.ready<PUBLISHED")
    assert told(found, S.READY)[1:3] == [(S.READY, 4, "now"), (S.DRAFTED, None, "ahead")]


def test_a_reason_that_changes_without_a_move_is_no_new_arrival() -> None:
    """The case has been there since it came."""
    assert told(leaves("case.opened", "case.ready", "case.ready<READY"), S.READY)[1] == (S.READY, 1, "now")


def test_a_report_signed_without_a_draft_shows_what_was_not_passed() -> None:
    """A human was faster."""
    assert [stage for _, _, stage in told(leaves("case.opened", "case.signed"), S.SIGNED)] == [
        "done",
        "skipped",
        "skipped",
        "skipped",
        "now",
    ]


def test_a_case_that_left_the_way_ends_where_it_is() -> None:
    """HELD stands in place of what was ahead."""
    found = leaves("case.opened", "case.ready", "case.held<READY")
    assert told(found, S.HELD) == [(S.RECEIVED, 0, "done"), (S.READY, 1, "done"), (S.HELD, 2, "now")]
