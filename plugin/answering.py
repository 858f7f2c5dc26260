"""What goes back for a message: the verdict on it, as its sender asked to hear of it. Pure."""

from __future__ import annotations

from connectors.errors import Malformed
from connectors.hl7 import ack
from connectors.hl7.ack import AckError, Answers, Verdict
from connectors.hl7.message import NotHl7
from connectors.hl7.salvage import salvaged
from plugin.incoming import Incoming

_UNSUPPORTED = 200


def answers_to(one: Incoming, refusal: Malformed | None, verdict: Verdict | None = None) -> Answers:
    """The acknowledgements that the sender asked for; none for a resource, which nobody sent.

    verdict: as `verdict_on` says, unless it is given.
    """
    if one.is_resource:
        return Answers()
    rules = one.arrival.rules
    return ack.answers(
        one.message,
        verdict or verdict_on(one, refusal),
        AckError.of(refusal) if refusal else None,
        # A batch is no message: the MSH in it is that of a part, which is not what is refused.
        raw=b"" if one.arrival.refusal else one.arrival.body,
        mode=rules.ack_mode,
        elsewhere=bool(rules.application_acks),
    )


def verdict_on(one: Incoming, refusal: Malformed | None) -> Verdict:
    """What becomes of a message.

    One without a readable MSH, or of a type that is not taken, is rejected. Any other refusal is an error in
    its content (HL7 v2.5.1 section 2.9.2.2), which it would have again; so is a batch that does not hold what
    it counts.
    """
    if refusal is None:
        return Verdict.ACCEPT
    if one.arrival.refusal is not None:
        return Verdict.ERROR
    unreadable = one.message is None and salvaged(one.arrival.body) is None
    unsupported = isinstance(refusal, NotHl7) and refusal.code == _UNSUPPORTED
    return Verdict.REJECT if unreadable or unsupported else Verdict.ERROR
