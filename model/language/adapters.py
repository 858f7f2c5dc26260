"""LoRA adapters on a base: which base each was trained on, and how they are put on."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from peft import PeftModel
from torch import nn

from model.study import WeightsError


def add_adapter(network: nn.Module, folder: Path, base_sha256: str) -> nn.Module:
    """The base with the LoRA adapter of a folder. Raises WeightsError when it was trained on another base."""
    check_adapter(folder, base_sha256)
    try:
        with warnings.catch_warnings():
            # peft asks transformers by a name that is on its way out.
            warnings.simplefilter("ignore", FutureWarning)
            adapted: nn.Module = PeftModel.from_pretrained(network, str(folder), is_trainable=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"expected a LoRA adapter that fits the base in {folder.name}: {error}") from error
    return adapted.eval()


def check_adapter(folder: Path, base_sha256: str) -> None:
    """Raise WeightsError unless the adapter is a LoRA whose `revision` is the hash of this base."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"expected adapter_config.json in {folder.name}: {error!r}") from error
    if config.get("peft_type") != "LORA":
        raise WeightsError(f"expected a LoRA adapter, found {config.get('peft_type')!r}")
    named = str(config.get("revision") or "nothing")
    if named != f"sha256:{base_sha256}":
        raise WeightsError(
            f"the adapter names base {named[:19]}…, the folder holds sha256:{base_sha256[:12]}…: "
            "use the adapter with the base that it was trained on"
        )
