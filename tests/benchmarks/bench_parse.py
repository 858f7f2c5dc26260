"""What reading one message costs, against python-hl7 and hl7apy on the same messages in the same run.

Each reads the bytes of a message twice over: only parsed, and parsed with the words of the order or of the
report read from it. All three must read the same words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hl7apy.parser import parse_message

from connectors.hl7 import orders, results
from connectors.hl7.message import parse
from tests.benchmarks.machine import release
from tests.benchmarks.messages import RESULT_LINES, imaging_order, result
from tests.benchmarks.table import Progress, Row, figure, skipped

COUNT = 50
"""Different messages of each kind."""
TURNS = 3
"""Each measurement is taken this often, in turn with the peers."""
LEAST_SECONDS = 0.2
"""The same messages are read again until so long has passed: less would be noise."""

Words = tuple[str, ...]
"""What a case is opened or matched with, in the order of the readers below."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """One library: how it parses, and how the words are read from what it parsed."""

    name: str
    parse: Callable[[bytes], Any]
    order: Callable[[Any], Words]
    report: Callable[[Any], Words]


def run(count: int = COUNT, turns: int = TURNS, progress: Progress = print) -> list[Row]:
    """Rows for an order and for a report. Raises RuntimeError when two readers read different words."""
    ours = _Reader("ours", parse, _our_order, _our_report)
    peers = [_Reader(f"hl7apy {release('hl7apy')}", _hl7apy, _hl7apy_order, _hl7apy_report)]
    rows: list[Row] = []
    if release("hl7"):
        peers.insert(0, _Reader(f"python-hl7 {release('hl7')}", _python_hl7, _hl7_order, _hl7_report))
    else:
        rows.append(skipped("parse", "the peer python-hl7 is not installed: pip install -e '.[bench]'"))
    for what, make, words in (
        ("OMI^O23", imaging_order, "order"),
        (f"ORU^R01 of {RESULT_LINES} OBX", result, "report"),
    ):
        messages = [make(f"p{number}") for number in range(count)]
        for peer in peers:
            _check_same(ours, peer, words, messages[0])
        size = f"{what}, {len(messages[0]) / 1000:.1f} kB"
        for reads, task in (("parse", _parsing), (f"parse and read the {words}", _reading)):
            taken: dict[str, list[float]] = {reader.name: [] for reader in (ours, *peers)}
            for turn in range(turns):
                progress(f"parse: {size}, {reads}, turn {turn + 1} of {turns}")
                for reader in (ours, *peers):
                    taken[reader.name].append(_microseconds(task(reader, words), messages))
            for peer in peers:
                rows.append(
                    figure(
                        "parse",
                        f"{reads}, {size}",
                        "µs",
                        taken[ours.name],
                        taken[peer.name],
                        peer.name,
                        less_is_better=True,
                    )
                )
    return rows


def _parsing(reader: _Reader, words: str) -> Callable[[bytes], Any]:
    return reader.parse


def _reading(reader: _Reader, words: str) -> Callable[[bytes], Any]:
    read = getattr(reader, words)
    return lambda raw: read(reader.parse(raw))


def _microseconds(task: Callable[[bytes], Any], messages: Sequence[bytes]) -> float:
    """Microseconds a message."""
    done = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < LEAST_SECONDS:
        for message in messages:
            task(message)
        done += len(messages)
    return elapsed / done * 1e6


def _check_same(ours: _Reader, peer: _Reader, words: str, message: bytes) -> None:
    if _reading(ours, words)(message) != _reading(peer, words)(message):
        raise RuntimeError(f"{peer.name} and ours read different words from the same {words}")


def _our_order(message: Any) -> Words:
    (order,) = orders.orders(message)
    provider = order.ordering_provider
    return (
        order.accession,
        order.patient.identifier,
        order.patient.family_name,
        order.patient.given_name,
        order.procedure.code,
        order.placer_order_number,
        order.filler_order_number,
        order.requested_procedure_id,
        order.study_instance_uid,
        order.modality,
        order.priority,
        order.clinical_question,
        order.history,
        provider.family_name if provider else "",
    )


def _our_report(message: Any) -> Words:
    (report,) = results.signed_reports(message)
    signer = report.signer
    return (
        report.accession,
        report.patient.identifier,
        report.patient.family_name,
        report.patient.given_name,
        report.text,
        signer.family_name if signer else "",
    )


def _python_hl7(raw: bytes) -> Any:
    import hl7  # type: ignore[import-not-found,unused-ignore]

    return hl7.parse(raw)


def _hl7_order(message: Any) -> Words:
    read = message.extract_field
    notes = [read("NTE", number, 3).strip() for number in range(1, len(message.segments("NTE")) + 1)]
    return (
        read("IPC", 1, 1),
        read("PID", 1, 3),
        read("PID", 1, 5),
        read("PID", 1, 5, 1, 2),
        read("OBR", 1, 4),
        read("ORC", 1, 2),
        read("ORC", 1, 3),
        read("IPC", 1, 2),
        read("IPC", 1, 3),
        read("IPC", 1, 5),
        read("TQ1", 1, 9),
        read("OBR", 1, 31, 1, 2).strip(),
        "\n".join(notes),
        read("ORC", 1, 12, 1, 2),
    )


def _hl7_report(message: Any) -> Words:
    read = message.extract_field
    lines = [read("OBX", number, 5) for number in range(1, len(message.segments("OBX")) + 1)]
    return (
        read("OBR", 1, 18),
        read("PID", 1, 3),
        read("PID", 1, 5),
        read("PID", 1, 5, 1, 2),
        "\n".join(lines),
        read("OBR", 1, 32, 1, 1, 2),
    )


def _hl7apy(raw: bytes) -> Any:
    return parse_message(raw.decode("utf-8"))


def _hl7apy_order(message: Any) -> Words:
    pid, order = message.omi_o23_patient.pid, message.omi_o23_order
    orc, obr, ipc = order.orc, order.obr, order.ipc
    return (
        ipc.ipc_1.ei_1.value,
        pid.pid_3.cx_1.value,
        pid.pid_5.xpn_1.value,
        pid.pid_5.xpn_2.value,
        obr.obr_4.ce_1.value,
        orc.orc_2.ei_1.value,
        orc.orc_3.ei_1.value,
        ipc.ipc_2.ei_1.value,
        ipc.ipc_3.ei_1.value,
        ipc.ipc_5.ce_1.value,
        order.omi_o23_timing.tq1.tq1_9.cwe_1.value,
        obr.obr_31.ce_2.value.strip(),
        "\n".join(note.nte_3.value.strip() for note in order.nte),
        orc.orc_12.xcn_2.value,
    )


def _hl7apy_report(message: Any) -> Words:
    group = message.oru_r01_patient_result
    pid, observed = group.oru_r01_patient.pid, group.oru_r01_order_observation
    obr = observed.obr
    return (
        obr.obr_18.value,
        pid.pid_3.cx_1.value,
        pid.pid_5.xpn_1.value,
        pid.pid_5.xpn_2.value,
        "\n".join(one.obx.obx_5.value for one in observed.oru_r01_observation),
        obr.obr_32.value.split("&")[1],
    )
