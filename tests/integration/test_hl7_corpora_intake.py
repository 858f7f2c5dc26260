"""Messages that nobody here wrote, sent to the real listener: what is answered, kept, found and replayed."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.hl7.ack import read_ack
from connectors.hl7.batches import is_batch, split
from connectors.hl7.frames import Deframer, framed
from connectors.hl7.message import NotHl7, parse
from plugin.messages import (
    IN,
    PROCESSED,
    QUARANTINED,
    REFUSED,
    MessageQuery,
    find_messages,
    subjects_of,
)
from plugin.serve import Service
from plugin.settings import Settings
from plugin.tables import Case, Message
from tests.case_samples import fresh_url, holds

WIDEST = ("IPC-1", "OBR-18", "OBR-3", "ORC-3", "TXA-15", "TXA-14")


@dataclass(frozen=True)
class Outcome:
    """What becomes of one message."""

    code: str
    """MSA-1; empty where the sender asked for no acknowledgement."""
    state: str
    words: str = ""
    """Some of the reason."""
    subject: tuple[str, str] = ("", "")
    """Accession and patient identifier by which it is found."""


Expected = Sequence[Outcome]


def taken(accession: str, patient: str, code: str = "AA") -> Outcome:
    return Outcome(code, PROCESSED, subject=(accession, patient))


def refused(code: str, words: str) -> Outcome:
    return Outcome(code, REFUSED, words)


def both(*outcomes: Outcome) -> tuple[Expected, Expected]:
    """The same, wherever accessions are looked for."""
    return outcomes, outcomes


def widest(outcome: Outcome) -> tuple[Expected, Expected]:
    """Refused for want of an accession, unless it is looked for in the widest places."""
    return [NO_ACCESSION], [outcome]


OTHER_TYPE = refused("AR", "this type of message is not taken here; send only ORM^O01, ")
NO_TYPE = refused("AR", "MSH-9 names no type of message; send only ORM^O01, ")
NO_MSH = refused("AR", "begins with MSH, found none; have the sender write MSH first")
BROKEN_HEADER = refused("AR", "found 2; ask the sender to write MSH|^~\\&|")
NO_ACCESSION = refused("AE", "no accession number in IPC-1, OBR-18")
NOT_IMAGING = "no OBR and no IPC segment; it is a {}; send only imaging orders here"
SECOND = Outcome("AE", QUARANTINED, "another message with this MSH-10 was taken before; have the sender give")
SECOND_UNTOLD = Outcome("", QUARANTINED, SECOND.words)

# Under the default accession places, and under the widest. They are sent in this order to one listener, so
# that senders who share MSH-3, MSH-4 and MSH-10 meet, as they would in a hospital.
OUTCOMES: dict[str, tuple[Expected, Expected]] = {
    "dcm4che/ADT_A31-UpdatePersonInfo-Veterinary.hl7": both(taken("", "PID_1")),
    "dcm4che/ADT_A31-UpdatePersonInfo.hl7": both(taken("", "PID_1")),
    "dcm4che/ADT_A40-PatientMerge.hl7": both(taken("", "NEW_PID_1")),
    "dcm4che/ADT_A47-ChangePatientID.hl7": both(taken("", "NEW_PID_1")),
    "dcm4che/OMG_O19-GeneralClinicalOrder-Eyecare.hl7": both(taken("AccessionNumber", "PID_1")),
    "dcm4che/OMI_O23-ImagingOrder.hl7": both(taken("AccessionNumber", "PID_1")),
    "dcm4che/ORM_O01-GeneralOrder.hl7": both(taken("AccessionNumber", "PID_1")),
    "dcm4che/ORU_R01-CDA.hl7": both(taken("AccessionNumber", "PID_1")),
    "dcm4che/ORU_R01-PDF.hl7": both(taken("AccessionNumber", "PID_1")),
    "dcm4che/ORU_R01-SR.hl7": both(taken("AccessionNumber", "PID_1")),
    "dcm4che/SIU_S12-NewAppointmentBooking.hl7": both(OTHER_TYPE),
    "edge/batch/bare-message.hl7": both(OTHER_TYPE),
    "edge/batch/count-mismatch.hl7": both(
        refused("AE", "BTS-1: expected 3 messages, found 2; nothing is taken, send it whole")
    ),
    "edge/batch/malformed-mid-batch.hl7": both(OTHER_TYPE, BROKEN_HEADER, OTHER_TYPE),
    "edge/batch/multi-batch-file.hl7": both(OTHER_TYPE, OTHER_TYPE, OTHER_TYPE),
    "edge/batch/single-batch.hl7": both(OTHER_TYPE, OTHER_TYPE),
    "edge/charset/utf8-name.hl7": both(OTHER_TYPE),
    "edge/datetime/no-timezone-midnight.hl7": both(OTHER_TYPE),
    "edge/datetime/precision-year.hl7": both(OTHER_TYPE),
    "edge/datetime/tz-offset.hl7": widest(taken("FILLDT003", "MRNDT003")),
    "edge/edge-cases/consecutive-delimiters.hl7": both(OTHER_TYPE),
    "edge/edge-cases/crlf-line-endings.hl7": both(OTHER_TYPE),
    "edge/edge-cases/custom-msh-delimiters.hl7": both(OTHER_TYPE),
    "edge/edge-cases/decoded-br.hl7": widest(refused("AE", "PID-3 or PID-2; the sender must value PID-3")),
    "edge/edge-cases/embedded-delimiters.hl7": both(taken("", "MRN77777")),
    "edge/edge-cases/empty-fields.hl7": both(OTHER_TYPE),
    "edge/edge-cases/escape-formatting.hl7": widest(taken("FLR-FM-001", "MRN-FM-001")),
    "edge/edge-cases/escape-highlight.hl7": widest(taken("FLR-HI-001", "MRN-HI-001")),
    "edge/edge-cases/lf-line-endings.hl7": both(OTHER_TYPE),
    "edge/edge-cases/missing-optional-segments.hl7": both(OTHER_TYPE),
    "edge/edge-cases/mixed-line-endings.hl7": both(OTHER_TYPE),
    "edge/edge-cases/no-trailing-newline.hl7": both(OTHER_TYPE),
    "edge/edge-cases/null-fields.hl7": both(OTHER_TYPE),
    "edge/edge-cases/trailing-newline.hl7": both(OTHER_TYPE),
    "edge/edge-cases/truncation-char-msh2.hl7": widest(taken("FLR-V27-001", "MRN-V27-001")),
    "edge/edge-cases/unicode-names.hl7": both(OTHER_TYPE),
    "edge/edge-cases/unknown-escapes.hl7": widest(taken("FLR-UE-001", "MRN-UE-001")),
    "edge/malformed/empty-input.hl7": both(NO_MSH),
    "edge/malformed/invalid-encoding-characters.hl7": both(BROKEN_HEADER),
    "edge/malformed/msh-too-short.hl7": both(BROKEN_HEADER),
    "edge/malformed/no-msh-segment.hl7": both(NO_MSH),
    "edge/stream/large-batch.ndhl7": both(*[OTHER_TYPE] * 12),
    "edge/stream/malformed-mid-stream.hl7": both(OTHER_TYPE, BROKEN_HEADER, taken("", "FAKESTREAM0011")),
    "edge/stream/mixed-terminators.hl7": both(OTHER_TYPE, OTHER_TYPE),
    "edge/stream/split-across-chunks.hl7": both(OTHER_TYPE, OTHER_TYPE),
    "edge/text/formatting-note.hl7": widest(taken("FLR-TXT-001", "MRN-TXT-001")),
    "edge/text/hex-and-delimiters.hl7": widest(taken("FLR-TXT-003", "MRN-TXT-003")),
    "edge/text/highlight.hl7": widest(taken("FLR-TXT-002", "MRN-TXT-002")),
    "edge/text/inject-on-encode.hl7": both(refused("AE", "at least one OBR segment, found none; have the")),
    "edge/vendor-quirks/duplicate-required-segment.hl7": both(OTHER_TYPE, OTHER_TYPE),
    "edge/vendor-quirks/encoding-mismatch.hl7": both(OTHER_TYPE),
    "edge/vendor-quirks/extra-fields.hl7": both(OTHER_TYPE),
    "edge/vendor-quirks/field-whitespace-trimmed.hl7": both(OTHER_TYPE),
    "edge/vendor-quirks/missing-required-field.hl7": both(NO_TYPE),
    "edge/vendor-quirks/mllp-framing-stripped.hl7": both(OTHER_TYPE),
    "edge/vendor-quirks/out-of-order-segment.hl7": both(OTHER_TYPE),
    "edge/vendor-quirks/segment-case.hl7": both(OTHER_TYPE),
    "edge/vendor-quirks/timestamp-fallback-format.hl7": both(OTHER_TYPE),
    "edge/vendor-quirks/unknown-charset.hl7": both(OTHER_TYPE),
    "edge/vendor-quirks/unknown-escape-sequence.hl7": widest(taken("FLR-VQ-003", "MRN-VQ-003")),
    "edge/vendor-quirks/unknown-segment.hl7": both(OTHER_TYPE),
    "edge/vendor-quirks/version-mismatch.hl7": both(OTHER_TYPE),
    "fhir-converter/ADT-A08-01.hl7": both(taken("", "PATID1234")),
    "fhir-converter/ADT-A08-02.hl7": both(SECOND),
    "fhir-converter/ADT-A40-01.hl7": both(taken("", "12345", "")),
    "fhir-converter/ADT-A40-02.hl7": both(SECOND_UNTOLD),
    "fhir-converter/MDM-T02-01.hl7": widest(taken("1-1", "987654321")),
    "fhir-converter/MDM-T02-02.hl7": widest(SECOND),
    "fhir-converter/MDM-T02-03.hl7": both(taken("Placer 1", "3196695816", "CA")),
    "fhir-converter/MDM_01.hl7": both(SECOND),
    "fhir-converter/OMG-O19-01.hl7": both(NO_ACCESSION),
    "fhir-converter/OMG-O19-02.hl7": both(NO_ACCESSION),
    "fhir-converter/ORM-O01-01.hl7": widest(taken("1201", "PATID1234")),
    "fhir-converter/ORM-O01-02.hl7": widest(taken("1201", "PATID1234")),
    "fhir-converter/ORM-O01-03.hl7": widest(SECOND),
    "fhir-converter/ORM-O01-04.hl7": ([refused("AE", NOT_IMAGING.format("diet order"))], [SECOND]),
    "fhir-converter/ORM-O01-05.hl7": (
        [refused("AE", NOT_IMAGING.format("requisition for supplies"))],
        [SECOND],
    ),
    "fhir-converter/ORM-O01-06.hl7": ([refused("AE", NOT_IMAGING.format("pharmacy order"))], [SECOND]),
    "fhir-converter/ORU-R01-01.hl7": both(taken("Placer 1", "14", "CA")),
    "fhir-converter/ORU-R01-RMGEAD.hl7": widest(taken("1045813", "555-44-4444")),
}
STATES = (
    {"AccessionNumber": "SIGNED", "Placer 1": "SUPERSEDED"},
    {
        "AccessionNumber": "SIGNED",
        "Placer 1": "SUPERSEDED",
        "1-1": "SIGNED",
        "1201": "RECEIVED",
        # Final reports that name nobody sign nothing.
        **dict.fromkeys(("FILLDT003", "FLR-FM-001", "FLR-HI-001", "FLR-V27-001", "FLR-UE-001"), "RECEIVED"),
        **dict.fromkeys(("FLR-TXT-001", "FLR-TXT-002", "FLR-TXT-003", "FLR-VQ-003"), "RECEIVED"),
        "1045813": "RECEIVED",
    },
)
"""Where the cases stand afterwards, under the default accession places and under the widest."""


@dataclass
class Run:
    """Every file sent to one listener, and what came of it."""

    service: Service
    expected: int
    """0 under the default accession places, 1 under the widest."""
    codes: dict[str, list[str]] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    """Of the messages in the store, by file."""
    log: list[str] = field(default_factory=list)

    def outcomes(self, name: str) -> Expected:
        return OUTCOMES[name][self.expected]

    def rows(self, name: str) -> list[Message]:
        with self.service.pipeline.database.read() as session:
            return [session.get_one(Message, number) for number in self.numbers[name]]

    def states(self) -> dict[str, str]:
        with self.service.pipeline.database.read() as session:
            return {case.accession: case.state for case in session.scalars(sa.select(Case))}

    def send(self, name: str, raw: bytes) -> None:
        """One frame, as its sender would send it; a file that is framed already goes as it is."""
        before = self._last()
        with socket.create_connection(("127.0.0.1", self.service.mllp_port), 30) as connection:
            connection.sendall(raw if raw.startswith(b"\x0b") else framed(raw))
            connection.shutdown(socket.SHUT_WR)
            answers = list(_frames(connection))
        self.codes[name] = [read_ack(part).code.value for answer in answers for part in _parts(answer)]
        self.numbers[name] = list(range(before + 1, self._last() + 1))

    def _last(self) -> int:
        with self.service.pipeline.database.read() as session:
            return session.scalar(sa.select(sa.func.max(Message.id))) or 0


def _frames(connection: socket.socket) -> Iterator[bytes]:
    deframer = Deframer()
    while data := connection.recv(65536):
        frame = deframer.next(data)
        while frame is not None:
            yield frame
            frame = deframer.next()


def _parts(answer: bytes) -> Sequence[bytes]:
    return split(answer).messages if is_batch(answer) else (answer,)


class _Kept(logging.Handler):
    """Keeps every line as it would be written."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))


@pytest.fixture(scope="module", params=[0, 1], ids=["default-places", "widest-places"])
def run(
    request: pytest.FixtureRequest, corpora: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """All files, sent once under each setting."""
    chosen = {"accession_places": WIDEST} if request.param else {}
    url = fresh_url(tmp_path_factory.mktemp("corpora"))
    service = Service(Settings(database_url=url, mllp_port=0, **chosen), ("listen",))
    run = Run(service, request.param)
    kept, root = _Kept(run.log), logging.getLogger()
    with ExitStack() as stack:
        stack.callback(root.removeHandler, kept)
        stack.callback(root.setLevel, root.level)
        root.addHandler(kept)
        root.setLevel(logging.DEBUG)
        service.start()
        stack.callback(service.stop)
        for name in OUTCOMES:
            run.send(name, (corpora / "hl7" / name).read_bytes())
        yield run


def test_every_file_of_the_corpora_is_accounted_for(corpora: Path) -> None:
    """The table and the folder name the same files."""
    files = [path for kind in ("*.hl7", "*.ndhl7") for path in (corpora / "hl7").rglob(kind)]
    assert {path.relative_to(corpora / "hl7").as_posix() for path in files} == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_file_is_answered_and_kept_as_expected(run: Run, corpora: Path, name: str) -> None:
    """One acknowledgement and one row for each message, with the state and the reason that were expected."""
    expected, rows = run.outcomes(name), run.rows(name)
    assert run.codes[name] == [outcome.code for outcome in expected if outcome.code]
    assert [row.state for row in rows] == [outcome.state for outcome in expected]
    for row, outcome in zip(rows, expected, strict=True):
        assert outcome.words in row.reason
        assert bool(outcome.words) == bool(row.reason)
        assert (row.direction, row.channel) == (IN, "default")
    raw = (corpora / "hl7" / name).read_bytes()
    assert all(row.body in raw for row in rows)


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_stored_message_is_found_again(run: Run, name: str) -> None:
    """By its control id, and one that was applied by its accession and its patient too."""
    with run.service.pipeline.database.read() as session:

        def found(query: MessageQuery) -> set[int]:
            return {row.id for row in find_messages(session, query)}

        for row, outcome in zip(run.rows(name), run.outcomes(name), strict=True):
            if row.control_id:
                assert row.id in found(MessageQuery(control_id=row.control_id, limit=1000))
            if outcome.state == PROCESSED:
                accession, patient = outcome.subject
                assert row.id in found(MessageQuery(patient=patient, limit=1000))
                assert row.id in found(MessageQuery(patient=patient, accession=accession, limit=1000))
                assert {s.accession for s in subjects_of(session, row.id)} == {accession}


@pytest.mark.parametrize(
    ("name", "retired"),
    [("dcm4che/ADT_A40-PatientMerge.hl7", "OLD_PID_1"), ("fhir-converter/ADT-A40-01.hl7", "56789")],
)
def test_a_merge_is_found_by_the_identifier_that_it_retires(run: Run, name: str, retired: str) -> None:
    """Whoever asks what became of an old number finds the message that ended it."""
    with run.service.pipeline.database.read() as session:
        found = find_messages(session, MessageQuery(patient=retired, limit=1000))
    assert run.numbers[name][0] in {row.id for row in found}


def test_only_what_has_no_readable_header_has_no_control_id(run: Run) -> None:
    """A message that its sender numbered can be asked for by that number, refused or not."""
    unnumbered = {name for name in OUTCOMES if not all(row.control_id for row in run.rows(name))}
    assert unnumbered == {
        "edge/batch/count-mismatch.hl7",
        "edge/batch/malformed-mid-batch.hl7",
        "edge/malformed/empty-input.hl7",
        "edge/malformed/invalid-encoding-characters.hl7",
        "edge/malformed/msh-too-short.hl7",
        "edge/malformed/no-msh-segment.hl7",
        "edge/stream/malformed-mid-stream.hl7",
    }


def test_no_line_of_the_log_holds_a_word_of_a_name(run: Run, corpora: Path) -> None:
    """Whatever was sent, what was logged on the way names no patient."""
    names = set()
    for name in OUTCOMES:
        names |= _name_words((corpora / "hl7" / name).read_bytes())
    assert len(names) > 20
    assert run.log
    logged = set(re.findall(r"\w+", "\n".join(run.log)))
    assert names & logged == set()


def _name_words(raw: bytes) -> set[str]:
    """The words of PID-5, two letters or more, of every message of a file."""
    found: set[str] = set()
    try:
        messages = split(raw).messages if is_batch(raw) else (raw,)
    except NotHl7:
        return found
    for message in messages:
        try:
            read = parse(message)
        except NotHl7:
            continue
        for pid in (segment for segment in read.segments if segment.name == "PID"):
            found |= set(re.findall(r"[^\W\d_]{2,}", pid.field(5).raw))
    return found


def test_replaying_what_was_applied_changes_no_case_and_the_log_verifies(run: Run) -> None:
    """Each applied message can be taken again, in any order, and every case stays where it was."""
    intake, database = run.service.pipeline.intake, run.service.pipeline.database
    assert holds(database)
    assert run.states() == STATES[run.expected]
    numbers = [
        number
        for name in OUTCOMES
        for number, outcome in zip(run.numbers[name], run.outcomes(name), strict=True)
        if outcome.state == PROCESSED
    ]
    for number in (*numbers, *reversed(numbers)):
        intake.replay(number, "the corpora are sent again", "tester")
        assert run.states() == STATES[run.expected]
    with database.read() as session:
        replays = session.scalars(sa.select(Message).where(Message.replay_of.is_not(None))).all()
    assert {row.state for row in replays} == {PROCESSED}
    assert [row.replay_of for row in replays] == [*numbers, *reversed(numbers)]
    assert holds(database)
