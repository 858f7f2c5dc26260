"""Places before the text: each finding head with its logit, then the tokens (RAD3D-Prefix's shape)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from model.fusion.fused import Fused
from model.fusion.places import FusionModule


class PrefixFusion(FusionModule):
    """What was seen stands between the start token and the prompt."""

    def project(self, kept: Sequence[Tensor]) -> Fused:
        """(batch, heads + tokens, language width) as the prefix."""
        return Fused(self.places(*self._two(kept)))
