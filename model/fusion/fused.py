"""What a fusion makes of what was seen, for the decoder to read, and what every fusion can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from model.vision.seen import Seen


@dataclass(frozen=True, slots=True)
class Fused:
    """Images of a batch of cases as the decoder reads them. A fusion fills what it needs."""

    prefix: Tensor
    """(batch, places, language width): stands between the start token and the prompt; places may be 0."""
    injected: tuple[Tensor, ...] = ()
    """Each (batch, places, language width): entry i is added to the states of the prefix's places where
    they enter decoder layer i + 1."""
    encodings: Tensor | None = None
    """(batch, places, language width): stands before the decoder's last states when these pass through the
    fusion's own blocks."""

    def rows(self, index: Sequence[int]) -> Fused:
        """The same of some cases of the batch, in this order."""
        chosen = list(index)
        return Fused(
            self.prefix[chosen],
            tuple(one[chosen] for one in self.injected),
            None if self.encodings is None else self.encodings[chosen],
        )


class Fusion(Protocol):
    """A way in which vision meets text: a torch module."""

    blocks: nn.ModuleList
    """Decoder blocks that the last states pass through together with the encodings; often none."""

    def __call__(self, seen: Seen) -> Fused:
        """What the decoder reads of what was seen."""
        ...

    def features(self, seen: Seen) -> tuple[Tensor, ...]:
        """What training keeps of what was seen."""
        ...

    def project(self, kept: Sequence[Tensor]) -> Fused:
        """The same from `features(seen)`, which training keeps instead of images."""
        ...
