"""What can go wrong between us and a peer; each class says what to do next.

Every boundary maps the errors of its libraries to one of these in one table. Messages say what was
expected, what came and what to do, and never carry patient data.
"""


class ExchangeError(Exception):
    """Base of everything that an exchange with a peer can raise."""

    next_step = "Read the message."


class Unreachable(ExchangeError):
    """The peer did not answer, or cannot now; nothing is known to be wrong with what we sent."""

    next_step = "Send the same thing again later."

    def __init__(self, *words: object, retry_after_seconds: float | None = None) -> None:
        super().__init__(*words)
        self.retry_after_seconds = retry_after_seconds
        """How long the peer asks to be left alone; None when it does not say."""


class Rejected(ExchangeError):
    """The peer understood and refused: the same thing sent again is refused again."""

    next_step = "Mend what was sent, or the peer's configuration, then replay."


class Malformed(ExchangeError):
    """What came cannot be read as what it should be."""

    next_step = "Ask the sender to mend it; what came is kept."


class Conflict(ExchangeError):
    """Somebody else's version exists: writing would go over it."""

    next_step = "Stop writing; read the other version."
