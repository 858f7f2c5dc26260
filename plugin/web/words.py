"""How the pages say things: states, verdicts, moments. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from plugin import messages
from plugin.audit.log import moment
from plugin.cases import CaseState
from plugin.signoff import Verdict

S = CaseState


@dataclass(frozen=True, slots=True)
class StateWords:
    """A state, for a person."""

    label: str
    tone: str
    """Which look the badge has: waiting, working, open, done, stopped or alarm."""
    meaning: str
    """What the state says about the report; shown where the case gives no reason of its own."""
    advice: str = ""
    """What a person does next; {id} stands for the case."""


REPLAY = 'Mend the cause, then run: prelim case replay {id} --why "what was mended"'

STATES: dict[CaseState, StateWords] = {
    S.RECEIVED: StateWords("Received", "waiting", "Waiting for the order or its images."),
    S.READY: StateWords("Ready", "working", "Order and images are here; a draft is due."),
    S.DRAFTED: StateWords("Drafted", "working", "The draft is stored and not yet sent."),
    S.PUBLISHED: StateWords(
        "Published", "open", "The preliminary draft waits for a radiologist to read, change and sign it."
    ),
    S.SIGNED: StateWords("Signed", "done", "A named human finalised the report."),
    S.SUPERSEDED: StateWords("Superseded", "stopped", "A human writes this report; Prelim stays out of it."),
    S.WITHHELD: StateWords(
        "Withheld",
        "stopped",
        "A human's version was there first; the draft is kept and was not sent.",
        "Nothing needs to be done here: the human's report stands.",
    ),
    S.HELD: StateWords(
        "Held",
        "alarm",
        "Nothing leaves until a human decides.",
        "Nothing leaves Prelim for this case until a human decides. " + REPLAY,
    ),
    S.FAILED: StateWords("Failed", "alarm", "Something could not be done.", REPLAY),
    S.CANCELLED: StateWords("Cancelled", "stopped", "The order was cancelled; no report is wanted."),
}

VERDICTS: dict[str, str] = {
    Verdict.SIGNED: "Signed by a named human",
    Verdict.UNATTRIBUTED: "Final, but nobody is named: no signature",
    Verdict.SUPERSEDED: "A human's own report, not final yet",
    Verdict.OURS: "Our own draft, come back",
    Verdict.NOTED: "Noted as it came",
}

CHANNELS = {
    "hl7-oru": "HL7 ORU",
    "hl7-mdm": "HL7 MDM",
    "fhir": "FHIR server",
    "fhircast": "FHIRcast",
    "page": "Prelim page",
}

ROLES = {
    "OBR-32": "principal result interpreter (OBR-32)",
    "OBX-16": "responsible observer (OBX-16)",
    "ORC-11": "verified by (ORC-11)",
    "TXA-22": "authenticator (TXA-22)",
    "TXA-9": "originator (TXA-9)",
    "resultsInterpreter": "results interpreter",
    "performer": "performer",
}
"""What the places of a message, or elements of a resource, make of whom they name."""

MESSAGE_STATES: dict[str, StateWords] = {
    messages.REFUSED: StateWords(
        "Refused",
        "alarm",
        "It could not be taken as it is.",
        "Have the sender mend it and send it again, or mend the setting that the reason names and replay it.",
    ),
    messages.QUARANTINED: StateWords(
        "Quarantined",
        "alarm",
        "Its sender used one MSH-10 for two different messages; this one was not applied.",
        "Compare it with the earlier one under Related messages. Replay it only if what it says is to count.",
    ),
    messages.WAITING: StateWords(
        "Waiting",
        "waiting",
        "It is in the outbox and is sent by itself.",
        "Nothing needs to be done while its receiver answers; prelim doctor says whether it does.",
    ),
    messages.PROCESSED: StateWords("Processed", "done", "It was applied and acknowledged."),
    messages.SENT: StateWords("Sent", "done", "Its receiver acknowledged it."),
    messages.DROPPED: StateWords("Dropped", "stopped", "It was overtaken before it was sent."),
}
"""Those that a person may have to deal with first."""

REFUSED_OUT = StateWords(
    "Refused",
    "alarm",
    "Its receiver refused it.",
    "Mend what the receiver's words name, there or here, then replay it.",
)
"""The words for a message of ours that was refused."""

FETCHED_STATES: dict[str, StateWords] = {
    messages.REFUSED: StateWords(
        "Refused",
        "alarm",
        "It could not be taken as it is.",
        "It is not fetched again: have it mended on the FHIR server, which makes a new version, or mend the "
        "setting or order that the reason names and replay it.",
    ),
    messages.PROCESSED: StateWords("Processed", "done", "It was applied."),
}
"""The words for a resource of the FHIR server, which nobody sent and nobody acknowledges."""

DIRECTIONS = {messages.IN: "In", messages.OUT: "Out"}


def message_words(state: str, direction: str, *, fetched: bool = False) -> StateWords:
    """A message's state, for a person; fetched: it is a resource of the FHIR server."""
    if fetched and state in FETCHED_STATES:
        return FETCHED_STATES[state]
    if (state, direction) == (messages.REFUSED, messages.OUT):
        return REFUSED_OUT
    return MESSAGE_STATES[state]


def shown_moment(at: datetime | None) -> str:
    """A moment as a person reads it, in UTC to the second; a dash when there is none."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "–"


def shown_duration(seconds: float | None) -> str:
    """How long something took, in its two largest units; empty when nobody knows."""
    if seconds is None:
        return ""
    left = int(seconds)
    told: list[str] = []
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number or told or name == "s":
            told.append(f"{number} {name}")
    return " ".join(told[:2])


def machine_moment(at: datetime | None) -> str:
    """A moment as entries of the log write it; empty when there is none."""
    return moment(at) if at else ""


def shown_text(moment_text: str | None) -> str:
    """A moment that is ISO 8601 text already, as a person reads it."""
    return shown_moment(datetime.fromisoformat(moment_text)) if moment_text else "–"


def shown_removal(drop: float) -> str:
    """By how much a probability falls when what the box holds is taken out of the image, in points."""
    points = round(abs(drop) * 100)
    said = "falls" if drop >= 0 else "rises"
    return f"{said} by {points} {'point' if points == 1 else 'points'} when removed"


def shortened(text: str) -> str:
    """A hash by its first digits, anything else as it is."""
    return f"{text[:10]}…" if re.fullmatch(r"[0-9a-f]{64}", text) else text
