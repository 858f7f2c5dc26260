"""One answer while it is written."""

from __future__ import annotations

import math
from collections.abc import Sequence

from model.decoding.grammar import Form
from model.grammar import CUT
from model.language.asking import Answer, Asked
from model.language.words import Words


class Case:
    """What was asked, and how far its answer is."""

    def __init__(self, asked: Asked) -> None:
        """Nothing is looked at yet: see `begin`."""
        self.asked = asked
        self.form: Form | None = None
        self.places = 0
        """Places read so far."""
        self.lead = 0
        """Encodings that stand before them in the blocks of a fusion."""
        self.token = 0
        """Chosen, and not yet read."""
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.done = False
        self._ids: list[int] = []
        self._logs = 0.0

    def begin(self, length: int, width: int, vocabulary: int) -> None:
        """Count its places. Raises ValueError when they do not fit, with its answer, into `length`.

        width is the decoder's and vocabulary the number of its tokens.
        """
        fused = self.asked.fused
        images = 0
        if fused is not None:
            images = fused.prefix.shape[1]
            self.lead = 0 if fused.encodings is None else fused.encodings.shape[1]
            given = [fused.prefix, *fused.injected, *([] if fused.encodings is None else [fused.encodings])]
            if any(one.dim() != 3 or one.shape[0] != 1 or one.shape[2] != width for one in given):
                raise ValueError(f"expected what was seen of one case, of width {width}, came another shape")
            if any(one.shape[1] != images for one in fused.injected):
                raise ValueError(f"expected injected states for {images} places, came another number")
        if not all(0 <= token < vocabulary for token in self.asked.prompt):
            raise ValueError(f"expected a prompt of token ids below {vocabulary}, came another id")
        self.places = 1 + images + len(self.asked.prompt)
        most = self.lead + self.places + self.asked.maximum_tokens
        if self.asked.maximum_tokens < 1 or most > length:
            raise ValueError(
                f"expected an image, a prompt and an answer of at least one token that take at most {length} "
                f"places together, came {most}: shorten the prompt or ask for fewer tokens"
            )

    def take(self, token: int, log: float, ends: Sequence[int], words: Words) -> None:
        """Go on with the best token, or end: by itself, or closed because the tokens run out.

        Raises ValueError when the token has no probability.
        """
        if not math.isfinite(log):
            raise ValueError("expected finite states of this case, came others: look at what was seen of it")
        if token in ends:
            self._end(words, complete=True)
            return
        left = self.asked.maximum_tokens - len(self._ids) - 1
        if not (left >= 0 if self.form is None else self.form.take(token, left)):
            self._end(words, complete=False)
            return
        self._ids.append(token)
        self._logs += log
        self.token = token

    def close(self, words: Words) -> None:
        """End it where it is, incomplete, and closed where it has a form."""
        self._end(words, complete=False)

    def fail(self, error: Exception) -> None:
        """End with an error, which its caller raises."""
        self.error = error
        self.done = True

    def stop(self) -> None:
        """End without an answer: nobody waits for it."""
        self.done = True

    def _end(self, words: Words, complete: bool) -> None:
        """The likelihood is that of the tokens chosen: those that close an answer are nobody's choice."""
        likelihood = self._logs / len(self._ids) if self._ids else 0.0
        closing = self.form.closing() if self.form is not None and not complete else []
        ids = (*self._ids, *closing)
        text = words.decode(ids)
        whole = complete and not (self.form is not None and CUT in text)
        self.answer = Answer(ids, text, whole, likelihood)
        self.done = True
