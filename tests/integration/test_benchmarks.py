"""The benchmarks run and give rows, at sizes that say nothing about speed; without Java and Node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import bench_large, bench_mllp, bench_orders, bench_parse, bench_publish, bench_search
from tests.benchmarks.machine import release
from tests.benchmarks.sender import SHAPES, Shape, measure
from tests.benchmarks.table import Row

ROOT = Path(__file__).parents[2]
PYTHON_PEER = ("python-hl7",)
MEBIBYTE = 1024 * 1024


def quiet(line: str) -> None:
    """Takes progress and says nothing."""


def measured(rows: list[Row]) -> list[Row]:
    """The rows with figures; fails when one of them is no figure that can be."""
    figures = [row for row in rows if row["ours"] is not None]
    assert all(row["ours"] is not None and row["ours"] >= 0 and row["spread"] for row in figures)
    return figures


def skipped(rows: list[Row]) -> set[str]:
    """Why rows were skipped."""
    return {row["what"] for row in rows if row["ours"] is None}


def test_the_listener_alone_is_measured_in_every_shape() -> None:
    """Rate, median and tail of our server, and the sender's ceiling with its goal, for each shape."""
    rows = bench_mllp.run(100, 1, quiet, peers=PYTHON_PEER)
    with_peer = bool(release("hl7"))
    assert len(measured(rows)) == len(SHAPES) * (4 if with_peer else 3)
    assert len(skipped(rows)) == (0 if with_peer else 1)
    assert sum(row["goal"] == bench_mllp.CEILING_GOAL for row in rows) == len(SHAPES)


def test_orders_are_measured_against_the_disk_and_each_peer() -> None:
    """Every database and shape has a row beside the floor of the disk, with its goal, and all is kept."""
    rows = bench_orders.run(50, 1, quiet, peers=PYTHON_PEER)
    floors = [row for row in measured(rows) if row["goal"] == bench_orders.FLOOR_GOAL]
    assert len(floors) % len(SHAPES) == 0
    assert floors
    if release("hl7"):
        beside = [row for row in rows if row["goal"] == bench_orders.GOALS["python-hl7"]]
        assert len(beside) == len(floors)
        assert all(row["ratio"] and "commits nothing" in row["peer_version"] for row in beside)


def test_an_order_that_is_not_kept_stops_the_benchmark(tmp_path: Path) -> None:
    """Acknowledged orders are counted in the database: one that is missing is an error, not a figure."""
    url = f"sqlite:///{tmp_path / 'prelim.sqlite'}"
    with bench_orders.prelim(url) as listener:
        sent = measure(listener.port, Shape(1), 5).sent
    bench_orders._check_kept(url, sent)
    with pytest.raises(RuntimeError, match="acknowledged"):
        bench_orders._check_kept(url, sent + 1)


def test_parsing_is_measured_for_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order and a report, parsed only and read as well, each beside every library that is installed."""
    monkeypatch.setattr(bench_parse, "LEAST_SECONDS", 0.001)
    rows = bench_parse.run(1, 1, quiet)
    assert len(measured(rows)) == 4 * (2 if release("hl7") else 1)
    assert all(row["ratio"] for row in measured(rows))


def test_a_library_that_reads_other_words_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading quickly and wrongly is no figure."""
    monkeypatch.setattr(bench_parse, "_our_order", lambda message: ("another accession",))
    with pytest.raises(RuntimeError, match="different words"):
        bench_parse.run(1, 1, quiet)


def test_a_large_message_is_measured_in_memory_and_time() -> None:
    """Growth over the message's size with its goal, the time to its ack, and both beside the peer."""
    rows = bench_large.run(MEBIBYTE // 4, 1, quiet, shared_bytes=MEBIBYTE // 8)
    assert [(row["unit"], row["goal"]) for row in measured(rows)] == [
        ("times", bench_large.GOAL),
        ("s", ""),
        ("times", ""),
        ("s", ""),
    ]
    assert all("hl7apy" in row["peer_version"] for row in rows[2:])


def test_every_kind_of_search_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """By accession, patient and control id, each with its goal, among all that was stored in batches."""
    monkeypatch.setattr(bench_search, "_BATCH", 100)
    said: list[str] = []
    rows = bench_search.run(201, 3, said.append)
    assert [row["goal"] for row in measured(rows)] == [bench_search.GOAL] * 3
    assert "search: 201 of 201 messages stored" in said


def test_a_search_that_finds_nothing_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding nothing is quick and no figure."""
    monkeypatch.setattr(bench_search, "find", lambda session, query: [])
    with pytest.raises(RuntimeError, match="expected one message"):
        bench_search.run(10, 1, quiet)


@pytest.mark.services
def test_publishing_is_measured_beside_the_same_bundles_posted_barely(hapi_url: str) -> None:
    """For one thread and for several: reports a second, the ratio to the bare client, and its goal."""
    rows = bench_publish.run(2, 1, quiet)
    assert len(measured(rows)) == len(bench_publish.THREADS)
    assert all(row["ratio"] and row["goal"] == bench_publish.GOAL for row in rows)


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_prints_the_table_alone() -> None:
    """The table goes to the standard output, the progress to the error output."""
    done = benchmarks("--only", "search", "--stored", "100", "--searches", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("benchmark ")
    assert "by accession, 100 messages" in done.stdout
    assert "2 times by accession" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--messages", "49"),
        ("--stored", "0"),
        ("--searches", "0"),
        ("--parsed", "0"),
        ("--mebibytes", "0"),
        ("--reports", "0"),
    ],
)
def test_the_command_refuses_sizes_that_measure_nothing(arguments: tuple[str, str]) -> None:
    """Fewer messages than connections, and nothing at all, are refused before anything runs."""
    done = benchmarks(*arguments)
    assert done.returncode == 2
    assert "expected at least" in done.stderr
