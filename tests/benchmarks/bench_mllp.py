"""Acknowledgements a second of our MLLP server alone, against listeners of others that only answer as well.

Ours parses, answers and commits nothing here, as they do; bench_orders measures it with the commit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from tests.benchmarks.listeners import Listener, answering, started
from tests.benchmarks.peers.catalogue import PEERS, Peer, ready
from tests.benchmarks.sender import SHAPES, Measurement, Shape, measure
from tests.benchmarks.table import Progress, Row, figure, skipped

MESSAGES = 2_000
"""Of one measurement."""
TURNS = 3
"""Each measurement is taken this often, in turn with the peers."""
OURS = "ours"
OUR_WARM_UP = 200
ECHO = "a listener that copies MSH-10 into an answer"
CEILING_GOAL = "≥ 10,000"
"""Acknowledgements a second that the sender must reach, so that it is the listener that is measured."""


def run(
    messages: int = MESSAGES,
    turns: int = TURNS,
    progress: Progress = print,
    peers: Sequence[str] = tuple(PEERS),
) -> list[Row]:
    """Rows for our MLLP server alone, and for how far the sender gets. peers: names of the catalogue."""
    found, absent = ready(peers, progress)
    rows = [skipped("mllp", why) for why in absent]
    with ExitStack() as running:
        ports = {OURS: running.enter_context(answering()).port}
        measure(ports[OURS], Shape(1), OUR_WARM_UP)
        ports |= {name: listener.port for name, listener in start(found, running).items()}
        echo = [sys.executable, "-m", "tests.benchmarks.peers.echo"]
        ports[ECHO] = running.enter_context(started(echo)).port
        for shape in SHAPES:
            taken: dict[str, list[Measurement]] = {name: [] for name in ports}
            for turn in range(turns):
                progress(f"mllp: {shape}, turn {turn + 1} of {turns}")
                for name, port in ports.items():
                    taken[name].append(checked(name, found, measure(port, shape, messages)))
            ceiling = [one.acks_per_second for one in taken.pop(ECHO)]
            rows += ack_rows("mllp", str(shape), taken, found, {})
            rows.append(
                figure(
                    "mllp",
                    f"the sender alone, acks a second, {shape}",
                    "1/s",
                    ceiling,
                    peer_version=ECHO,
                    goal=CEILING_GOAL,
                )
            )
    return rows


def start(peers: Mapping[str, Peer], running: ExitStack) -> dict[str, Listener]:
    """Start the peers until `running` is closed, and let each take the messages that it needs to get warm."""
    listeners = {}
    for name, peer in peers.items():
        listeners[name] = running.enter_context(started(peer.command))
        measure(listeners[name].port, Shape(1), peer.warm_up)
    return listeners


def checked(name: str, peers: Mapping[str, Peer], measurement: Measurement) -> Measurement:
    """The measurement. Raises RuntimeError when answers overtook each other where none may."""
    if measurement.out_of_order and (name not in peers or peers[name].orders_acks):
        raise RuntimeError(f"{name}: {measurement.out_of_order} acknowledgements came out of order")
    return measurement


def ack_rows(
    benchmark: str,
    where: str,
    taken: Mapping[str, Sequence[Measurement]],
    peers: Mapping[str, Peer],
    goals: Mapping[str, str],
    remark: str = "",
) -> list[Row]:
    """The rate beside each peer, then the time to ack beside the first of them.

    where: database and shape. remark: what the name of each peer is followed by.
    """
    rows = [
        figure(
            benchmark,
            f"acks a second, {where}",
            "1/s",
            [one.acks_per_second for one in taken[OURS]],
            [one.acks_per_second for one in taken[name]],
            named(peer, taken[name], remark),
            goal=goals.get(name, ""),
        )
        for name, peer in peers.items()
    ]
    for what, key in (("median time to ack", "median_seconds"), ("95th percentile of it", "p95_seconds")):
        first = next(iter(peers), "")
        rows.append(
            figure(
                benchmark,
                f"{what}, {where}",
                "ms",
                [getattr(one, key) * 1000 for one in taken[OURS]],
                [getattr(one, key) * 1000 for one in taken.get(first, ())],
                named(peers[first], taken[first], remark) if first else "",
                less_is_better=True,
            )
        )
    return rows


def named(peer: Peer, taken: Sequence[Measurement], remark: str) -> str:
    """The peer as the table names it; one whose answers overtook each other did less than was asked."""
    disorder = ", answers out of order" if any(one.out_of_order for one in taken) else ""
    return f"{peer.name}{remark}{disorder}"
