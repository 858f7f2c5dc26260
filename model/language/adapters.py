"""LoRA adapters on a base: which base each was trained on, and how they are put on."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

from peft import PeftModel
from peft.utils.hotswap import hotswap_adapter
from torch import nn

from model.study import WeightsError


def add_adapters(network: nn.Module, folders: Mapping[str, Path], base_sha256: str) -> nn.Module:
    """The base with the LoRA adapters of some folders, each under its name; switching reloads nothing.

    Raises WeightsError when one was trained on another base, or does not fit.
    """
    adapted: nn.Module | None = None
    for name, folder in folders.items():
        check_adapter(folder, base_sha256)
        try:
            with warnings.catch_warnings():
                # peft asks transformers by a name that is on its way out.
                warnings.simplefilter("ignore", FutureWarning)
                if adapted is None:
                    adapted = PeftModel.from_pretrained(
                        network, str(folder), adapter_name=name, is_trainable=False, use_safetensors=True
                    )
                else:
                    adapted.load_adapter(str(folder), adapter_name=name, is_trainable=False)  # type: ignore[operator]
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise WeightsError(
                f"expected a LoRA adapter that fits the base in {folder.name}: {error}"
            ) from error
    if adapted is None:
        raise WeightsError("expected at least one adapter, found none")
    return adapted.eval()


def replace_adapter(adapted: nn.Module, name: str, folder: Path, base_sha256: str) -> None:
    """Put other weights under the name of an adapter that is loaded, without loading the base again.

    Raises WeightsError when they were trained on another base or do not fit; the old ones then stay.
    """
    check_adapter(folder, base_sha256)
    try:
        hotswap_adapter(adapted, str(folder), adapter_name=name, torch_device=_device(adapted))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"expected a LoRA adapter that can take {name}'s place: {error}") from error


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


def _device(network: nn.Module) -> str:
    return str(next(network.parameters()).device)
