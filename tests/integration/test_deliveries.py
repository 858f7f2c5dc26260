"""Drafts on their way to the RIS, with a RIS that answers, refuses, is busy or is down."""

from __future__ import annotations

from pathlib import Path

from connectors.hl7.ack import AckCode
from connectors.sandbox.inbox import Inbox
from tests.site import embedded, new_order, running, sqlite, study_of, until


def test_the_ris_gets_the_draft_once(tmp_path: Path) -> None:
    """A published draft reaches the RIS as one ORU^R01 with status P, and the delivery is recorded."""
    with embedded() as (peers, _, _), Inbox() as inbox:
        with running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{inbox.port}") as site:
            order = new_order()
            site.store(study_of(order))
            site.place(order)
            case = site.comes_to(order, "PUBLISHED")
            until(lambda: site.drafts(case)[0].delivered_at, "the delivery is recorded")
        (message,) = inbox.messages
    assert message.type == "ORU^R01"
    assert message.first("OBR").value(25) == "P"
    assert message.first("OBR").value(18) == order.accession


def test_a_ris_that_is_busy_gets_the_draft_later_under_the_same_id(tmp_path: Path) -> None:
    """AR means later: the same message, with the same MSH-10, is sent until it is taken."""
    with (
        embedded() as (peers, _, _),
        Inbox(AckCode.AR) as inbox,
        running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{inbox.port}") as site,
    ):
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        until(lambda: len(inbox.messages) > 1, "a second attempt")
        assert site.comes_to(order, "PUBLISHED").reason.startswith("Waiting: the RIS answered AR")
        inbox.code = AckCode.AA
        case = site.comes_to(order, "PUBLISHED")
        until(lambda: site.drafts(case)[0].delivered_at, "the delivery is recorded")
    assert len({message.control_id for message in inbox.messages}) == 1


def test_a_ris_that_refuses_is_not_asked_again(tmp_path: Path) -> None:
    """AE means that the message must be mended: the case says so, and it is not sent again."""
    with embedded() as (peers, _, _), Inbox(AckCode.AE) as inbox:
        with running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{inbox.port}") as site:
            order = new_order()
            site.store(study_of(order))
            site.place(order)
            until(
                lambda: site.comes_to(order, "PUBLISHED").reason.startswith("The RIS refused the draft:"),
                "the case says that the RIS refused",
            )
        assert len(inbox.messages) == 1


def test_a_ris_that_is_down_gets_the_draft_when_it_is_back(tmp_path: Path) -> None:
    """While nobody listens the draft waits; the FHIR server has it all the same."""
    with Inbox() as gone:
        port = gone.port
    with embedded() as (peers, _, _), running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{port}") as site:
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        case = site.comes_to(order, "PUBLISHED")
        until(lambda: "Waiting:" in site.comes_to(order, "PUBLISHED").reason, "the case waits")
        assert site.drafts(case)[0].delivered_at is None
        assert len(site.reports(case)) == 1
        with Inbox(port=port) as back:
            until(lambda: site.drafts(case)[0].delivered_at, "the delivery is recorded")
        assert len(back.messages) == 1
