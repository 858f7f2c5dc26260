"""`python -m tests.benchmarks`: every benchmark, each figure against its peer in the same run, and a table.

Progress goes to the error output, so that the standard output is the table alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from model.load import SHIPPED_WEIGHTS
from tests.benchmarks import (
    bench_fusion,
    bench_generation,
    bench_images,
    bench_large,
    bench_mllp,
    bench_orders,
    bench_parse,
    bench_publish,
    bench_report,
    bench_search,
)
from tests.benchmarks.machine import facts, load
from tests.benchmarks.peers.catalogue import PEERS
from tests.benchmarks.sender import SHAPES
from tests.benchmarks.table import Row, markdown, plain

NAMES = ("mllp", "orders", "parse", "large", "search", "report", "publish", "generation", "fusion", "images")
LEAST_MESSAGES = max(shape.connections for shape in SHAPES)
LEAST_MIB = 0.01


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add, names, peers = parser.add_argument, ", ".join(NAMES), ", ".join(PEERS)
    add("--only", action="append", choices=NAMES, metavar="NAME", help=f"one of {names}; repeat it")
    add(
        "--peer",
        action="append",
        choices=tuple(PEERS),
        metavar="NAME",
        help=f"only this peer of mllp and orders, one of {peers}; repeat it",
    )
    add("--json", type=Path, metavar="FILE", help="also write the figures and the machine to a file")
    add("--markdown", action="store_true", help="print the table as Markdown, for docs/benchmarks.md")
    add("--turns", type=int, default=bench_orders.TURNS, help="how often each measurement is taken")
    add(
        "--messages",
        type=int,
        default=bench_orders.MESSAGES,
        help=f"messages of one measurement of mllp and orders; {LEAST_MESSAGES} at least",
    )
    add("--parsed", type=int, default=bench_parse.COUNT, help="different messages to parse")
    add("--mebibytes", type=float, default=10.0, help="size of the large message")
    add("--stored", type=int, default=bench_search.STORED, help="messages to search in")
    add("--searches", type=int, default=bench_search.SEARCHES, help="searches of each kind")
    add("--cases", type=int, default=bench_report.CASES, help="cases of the report benchmark")
    add("--reports", type=int, default=bench_publish.REPORTS, help="reports of one measurement of publish")
    add("--slices", type=int, default=bench_images.SHAPE[0], help="slices of the series to fetch")
    add("--model", type=Path, default=SHIPPED_WEIGHTS, help="folder of the model to generate with")
    given = parser.parse_args()
    sizes = (given.turns, given.parsed, given.stored, given.searches, given.cases, given.slices)
    sizes += (given.reports,)
    if given.messages < LEAST_MESSAGES or min(sizes) < 1:
        parser.error(f"expected at least {LEAST_MESSAGES} messages and 1 of everything else")
    if given.mebibytes < LEAST_MIB:
        parser.error(f"expected at least {LEAST_MIB} mebibytes")
    return given


def main() -> None:
    """Run what was asked for and print it."""
    given = _arguments()
    shape = (given.slices, *bench_images.SHAPE[1:])
    peers = tuple(given.peer or PEERS)
    size_bytes = round(given.mebibytes * 1024 * 1024)
    benchmarks: dict[str, Callable[[], list[Row]]] = {
        "mllp": lambda: bench_mllp.run(given.messages, given.turns, _progress, peers),
        "orders": lambda: bench_orders.run(given.messages, given.turns, _progress, peers),
        "parse": lambda: bench_parse.run(given.parsed, given.turns, _progress),
        "large": lambda: bench_large.run(size_bytes, given.turns, _progress),
        "search": lambda: bench_search.run(given.stored, given.searches, _progress),
        "report": lambda: bench_report.run(given.cases, progress=_progress),
        "publish": lambda: bench_publish.run(given.reports, given.turns, _progress),
        "generation": lambda: bench_generation.run(given.model, turns=given.turns, progress=_progress),
        "fusion": lambda: bench_fusion.run(given.model, progress=_progress),
        "images": lambda: bench_images.run(shape, given.turns, _progress),
    }
    before = load()
    rows: list[Row] = []
    for name, run in benchmarks.items():
        if not given.only or name in given.only:
            rows += run()
    machine = facts() | {"load average": f"{before} before, {load()} after"}
    if given.json:
        document = {"machine": machine, "rows": rows}
        given.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    said = [f"{name}: {fact}" for name, fact in machine.items()]
    if given.markdown:
        print("\n".join(f"- {line}" for line in said), markdown(rows), sep="\n\n")
    else:
        print(plain(rows), "\n".join(said), sep="\n\n")


if __name__ == "__main__":
    main()
