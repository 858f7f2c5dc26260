"""Between connections and intake: what comes while other messages are committed is the next group."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from connectors.hl7 import batches
from connectors.hl7.ack import Answers
from connectors.hl7.batches import BatchFile
from connectors.hl7.message import NotHl7
from connectors.hl7.mllp import Peer
from plugin.incoming import Arrival
from plugin.intake import GROUP, Intake

GROUP_BYTES = 16 * 2**20
"""A group is not made larger than this; a single message may be."""

log = logging.getLogger(__name__)

Replies = tuple[bytes, ...]


class Reception:
    """Takes messages from any number of event loops and hands them to the intake in groups, in their order.

    Nothing waits for a group to fill: the first message is committed alone, and those that come meanwhile
    are the next group.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._waiting: list[tuple[Arrival, asyncio.Future[Replies]]] = []
        self._turn = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="prelim-intake", daemon=True)

    def start(self) -> None:
        """Begin to take messages."""
        self._thread.start()

    def stop(self) -> None:
        """Take what has come so far, then end."""
        with self._turn:
            self._stopping = True
            self._turn.notify()
        self._thread.join()

    def receive(self, body: bytes, peer: Peer) -> asyncio.Future[Replies]:
        """Take one message, in the order of the calls; the future gives what goes back, once committed."""
        future: asyncio.Future[Replies] = asyncio.get_running_loop().create_future()
        arrival = Arrival(body, peer.address, self._intake.rules(peer.listener))
        with self._turn:
            self._waiting.append((arrival, future))
            self._turn.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._turn:
                while not self._waiting and not self._stopping:
                    self._turn.wait()
                if not self._waiting:
                    return
                group = self._waiting[: _fitting([arrival for arrival, _ in self._waiting])]
                del self._waiting[: len(group)]
            self._take(group)

    def _take(self, group: Sequence[tuple[Arrival, asyncio.Future[Replies]]]) -> None:
        try:
            replies: Sequence[Replies | None] = replies_to(self._intake, [arrival for arrival, _ in group])
        except Exception as error:
            # Whatever failed, nothing was acknowledged: the connection tells its sender to send again.
            log.error("%d messages could not be taken: %s.", len(group), type(error).__name__)
            replies = [None] * len(group)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Replies], Replies | None]]] = {}
        for (_, future), reply in zip(group, replies, strict=True):
            by_loop.setdefault(future.get_loop(), []).append((future, reply))
        for loop, done in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, done)
            except RuntimeError:
                log.info("%d messages were stored after their connections had ended.", len(done))


def _fitting(arrivals: Sequence[Arrival]) -> int:
    """How many of the messages that wait make the next group: at least one."""
    total = 0
    for number, arrival in enumerate(arrivals[:GROUP]):
        total += len(arrival.body)
        if total > GROUP_BYTES and number:
            return number
    return min(len(arrivals), GROUP)


def _deliver(done: Sequence[tuple[asyncio.Future[Replies], Replies | None]]) -> None:
    for future, reply in done:
        if future.done():  # its connection is gone
            continue
        if reply is None:
            future.set_exception(NotTaken())
        else:
            future.set_result(reply)


class NotTaken(Exception):
    """The intake failed; nothing was stored."""


def replies_to(intake: Intake, arrivals: Sequence[Arrival]) -> list[Replies]:
    """Take messages and batches; what goes back for each.

    A batch (v2.5.1 section 2.10.3) is taken message by message, and its answers go back as one batch. One
    whose envelope is wrong is refused as a whole before any of it is taken, and kept.
    """
    parts: list[Arrival] = []
    files: list[BatchFile | None] = []
    for arrival in arrivals:
        file = None
        if batches.is_batch(arrival.body):
            try:
                file = batches.split(arrival.body)
            except NotHl7 as error:
                arrival = replace(arrival, refusal=error)
        files.append(file)
        parts += [replace(arrival, body=body) for body in file.messages] if file else [arrival]
    answers = iter(intake.receive_all(parts))
    replies: list[Replies] = []
    for arrival, file in zip(arrivals, files, strict=True):
        if file is not None:
            replies.append(_of_batch(file, [next(answers) for _ in file.messages]))
        else:
            replies.append(_of_one(arrival, next(answers)))
    return replies


def _of_one(arrival: Arrival, answers: Answers) -> Replies:
    if not arrival.body.lstrip().startswith((b"FHS", b"BHS")):
        return answers.in_order
    return tuple(batches.refusal(arrival.body, answer) for answer in answers.in_order)


def _of_batch(file: BatchFile, answers: Sequence[Answers]) -> Replies:
    """Under the sender's envelopes; messages that were only strung together are answered one by one."""
    if not file.header and not any(batch.header for batch in file.batches):
        return tuple(reply for one in answers for reply in one.in_order)
    told = batches.answer(file, [b"".join(one.in_order) for one in answers])
    return (told,) if told else ()
