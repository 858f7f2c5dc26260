"""Drafts on their way to the RIS, with a RIS that answers, refuses, is busy or is down."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from connectors.exchange import Order, OrderAction, ReportStatus
from connectors.hl7.ack import AckCode, acknowledge
from connectors.hl7.message import parse
from connectors.hl7.mllp import MllpServer, Peer
from connectors.hl7.mllp import running as mllp_running
from connectors.sandbox.inbox import Inbox
from connectors.sandbox.ris import order_message
from connectors.tls import server_context
from plugin.listeners import Listener
from tests.certificates import Authority
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


def cancelled(order: Order) -> Order:
    """The same order, cancelled by the placer or the filler."""
    return replace(order, action=OrderAction.CANCEL)


def statuses(inbox: Inbox) -> list[str]:
    """OBR-25 of everything that the RIS got, in order."""
    return [message.first("OBR").value(25) for message in inbox.messages]


def test_a_cancelled_order_takes_its_draft_back_everywhere(tmp_path: Path) -> None:
    """X in the RIS under the same accession, cancelled on the FHIR server, and the case says so."""
    with (
        embedded() as (peers, _, _),
        Inbox() as inbox,
        running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{inbox.port}") as site,
    ):
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        case = site.comes_to(order, "PUBLISHED")
        until(lambda: site.drafts(case)[0].delivered_at, "the delivery is recorded")
        assert site.place(cancelled(order)) == "AA"
        until(lambda: site.drafts(case)[0].withdrawn_at, "the withdrawal is recorded")
        until(lambda: len(inbox.messages) == 2, "the RIS hears of it")
        (report,) = site.reports(case)
        assert report["status"] == "cancelled"
        assert site.comes_to(order, "CANCELLED").reason.endswith("Its draft was withdrawn.")
        assert statuses(inbox) == ["P", "X"]
        assert {m.first("OBR").value(18) for m in inbox.messages} == {order.accession}
        actions = site.actions(case)
    assert actions.index("case.cancelled") < actions.index("draft.withdrawn")


def test_an_order_that_is_placed_again_gets_a_new_draft_over_the_withdrawn_one(tmp_path: Path) -> None:
    """The one report goes from preliminary to cancelled to preliminary, the RIS gets P, X, P."""
    with (
        embedded() as (peers, _, _),
        Inbox() as inbox,
        running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{inbox.port}") as site,
    ):
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        case = site.comes_to(order, "PUBLISHED")
        until(lambda: len(inbox.messages) == 1, "the draft is delivered")
        site.place(cancelled(order))
        until(lambda: site.drafts(case)[0].withdrawn_at, "the withdrawal is recorded")
        site.place(order)
        site.comes_to(order, "PUBLISHED")
        until(lambda: len(inbox.messages) == 3, "the new draft is delivered")
        (report,) = site.reports(case)
    assert report["status"] == "preliminary"
    assert statuses(inbox) == ["P", "X", "P"]


def test_a_draft_that_the_ris_never_got_is_not_taken_back_there(tmp_path: Path) -> None:
    """The RIS was away when the order was cancelled: it hears of neither."""
    with Inbox() as gone:
        port = gone.port
    with (
        embedded() as (peers, _, _),
        running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{port}", retry_seconds=300.0) as site,
    ):
        first, second = new_order(), new_order()
        for order in (first, second):
            site.store(study_of(order))
        site.place(first)
        site.comes_to(first, "PUBLISHED")
        until(lambda: "Waiting:" in site.comes_to(first, "PUBLISHED").reason, "the RIS was tried once")
        site.place(second)
        case = site.comes_to(second, "PUBLISHED")
        site.place(cancelled(second))
        until(lambda: site.drafts(case)[0].withdrawn_at, "the withdrawal is recorded")
        assert [row.state for row in site.messages(second, "out")] == ["DROPPED"]


def test_a_ris_that_is_away_is_tried_with_one_message_and_ever_more_rarely(tmp_path: Path) -> None:
    """Ten drafts that wait are one attempt each time, and the waits between attempts double."""
    with Inbox() as gone:
        port = gone.port
    with (
        embedded() as (peers, _, _),
        running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{port}", retry_seconds=0.05) as site,
    ):
        orders = [new_order() for _ in range(10)]
        for order in orders:
            site.store(study_of(order))
            site.place(order)
        for order in orders:
            site.comes_to(order, "PUBLISHED")
        waits = until(lambda: len(found := site.waits()) >= 6 and found, "six attempts")
        with Inbox(port=port) as back:
            for order in orders:
                case = site.case(order.accession)
                assert case is not None
                until(lambda case=case: site.drafts(case)[0].delivered_at, "each draft is delivered")
            got = [message.control_id for message in back.messages]
    assert all(later > earlier * 1.5 for earlier, later in pairwise(waits[:6]))
    assert len(got) == len(set(got)) == 10


def test_a_draft_goes_out_as_pdf_where_the_site_asks_for_it(tmp_path: Path) -> None:
    """Text and document in one message, or the document alone; each still says P everywhere."""
    with (
        embedded() as (peers, _, _),
        Inbox() as inbox,
        running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{inbox.port}", ris_content=("pdf",)) as site,
    ):
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        until(lambda: inbox.messages, "the draft is delivered")
        (message,) = inbox.messages
    documents = [obx for obx in message.all("OBX") if obx.value(2) == "ED"]
    assert base64.b64decode(documents[0].field(5).component(5)).startswith(b"%PDF")
    assert {obx.value(11) for obx in message.all("OBX")} == {"P"}


def test_the_ris_is_spoken_to_by_tls_where_its_authority_is_given(tmp_path: Path) -> None:
    """With the authority and our certificate the draft arrives; the RIS asks for both."""
    authority = Authority(tmp_path, "ca")
    theirs, ours = authority.issue("ris"), authority.issue("prelim")
    got: list[bytes] = []

    async def take(body: bytes, peer: Peer) -> Sequence[bytes]:
        got.append(body)
        return [acknowledge(parse(body), AckCode.AA)]

    context = server_context(theirs.certificate, theirs.key, authority.certificate)
    with (
        embedded() as (peers, _, _),
        mllp_running(MllpServer("127.0.0.1", 0, take, ssl_context=context)) as port,
        running(
            peers,
            sqlite(tmp_path),
            ris=f"127.0.0.1:{port}",
            ris_ca=authority.certificate,
            ris_certificate=ours.certificate,
            ris_key=ours.key,
        ) as site,
    ):
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        case = site.comes_to(order, "PUBLISHED")
        until(lambda: site.drafts(case)[0].delivered_at, "the delivery is recorded")
    assert len(got) == 1


def test_application_acknowledgements_go_their_own_way_and_are_sent_until_they_arrive(tmp_path: Path) -> None:
    """A sender in enhanced mode gets CA on its connection and AA at the address that its listener names."""
    with Inbox() as gone:
        port = gone.port
    listener = Listener(port=0, application_acks=f"127.0.0.1:{port}")
    with embedded() as (peers, _, _), running(peers, sqlite(tmp_path), listeners=(listener,)) as site:
        body = order_message(new_order(), "ENH1", datetime.now(UTC))
        header, _, rest = body.partition(b"\r")
        parts = header.split(b"|")
        parts[14:16] = [b"AL", b"AL"]
        assert site.ris.send(b"|".join(parts) + b"\r" + rest).code is AckCode.CA
        with Inbox(AckCode.CA, port=port) as back:
            until(lambda: back.messages, "the application acknowledgement comes")
            msa = back.messages[0].first("MSA")
    assert (msa.value(1), msa.value(2)) == ("AA", "ENH1")


def test_findings_without_a_conclusion_get_one_drafted(tmp_path: Path) -> None:
    """A radiologist's findings ask for a conclusion: it reaches the RIS as P, and the case stays theirs."""
    with (
        embedded() as (peers, _, _),
        Inbox() as inbox,
        running(peers, sqlite(tmp_path), ris=f"127.0.0.1:{inbox.port}") as site,
    ):
        order = new_order()
        site.place(order)
        site.sign(order, "Findings:\nSmall left effusion.", status=ReportStatus.PRELIMINARY)
        until(lambda: inbox.messages, "the conclusion is delivered")
        case = site.comes_to(order, "SUPERSEDED")
        (draft,) = site.drafts(case)
        message = inbox.messages[0]
        site.sign(order, "Findings:\nSmall left effusion.\nImpression:\nEffusion.")
        site.comes_to(order, "SIGNED")
    assert draft.task == "conclusion"
    assert [title for title, _ in draft.sections] == ["Impression"]
    assert message.first("OBR").value(25) == "P"


def test_findings_with_a_conclusion_ask_for_nothing(tmp_path: Path) -> None:
    """A complete preliminary report supersedes the draft, and nothing is written beside it."""
    with embedded() as (peers, _, _), running(peers, sqlite(tmp_path)) as site:
        order = new_order()
        site.place(order)
        site.sign(order, "Findings:\nClear.\nImpression:\nNormal.", status=ReportStatus.PRELIMINARY)
        case = site.comes_to(order, "SUPERSEDED")
        assert "conclusion.asked" not in site.actions(case)
        assert case.draft_number == 0
