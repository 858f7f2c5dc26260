"""LoRA adapters on a base: which base each was trained on, how they are put on, and how one is replaced."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import nn

from model.manifest import EXECUTABLE_SUFFIXES, file_sha256
from model.study import WeightsError

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_TRIED = "on trial"
"""The name of an adapter that is on the network only to see whether it fits. No folder is named so."""
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, []),
    "layer_replication": (None, []),
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
}
"""What a plain LoRA has under these keys. Anything else changes more than the products of its layers."""


def check_adapter(folder: Path, base_sha256: str) -> None:
    """Raise WeightsError unless a folder holds a plain LoRA in safetensors, trained on the base of this hash.

    The adapter names its base under `revision`.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in EXECUTABLE_SUFFIXES:
            raise WeightsError(
                f"{path.name} in {folder.name} can run code when loaded: store tensors as safetensors and "
                "remove it"
            )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"expected {CONFIG} in {folder.name}: {error!r}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise WeightsError(f"expected a LoRA adapter in {folder.name}, found {kind!r}")
    for key, plain in _PLAIN.items():
        if config.get(key) not in plain:
            raise WeightsError(
                f"expected a plain LoRA in {folder.name}, found {key} {config[key]!r}: train it without"
            )
    named = str(config.get("revision") or "nothing")
    if named != f"sha256:{base_sha256}":
        raise WeightsError(
            f"the adapter in {folder.name} names base {named[:19]}…, the folder holds "
            f"sha256:{base_sha256[:12]}…: use the adapter with the base that it was trained on"
        )
    if not (folder / TENSORS).is_file():
        raise WeightsError(f"expected {TENSORS} in {folder.name}: an adapter lies in safetensors")


def add_adapters(network: nn.Module, folders: Mapping[str, Path], base_sha256: str) -> nn.Module:
    """The base with the LoRA adapters of these folders, by name; none is read again when another writes.

    Raises WeightsError when one was trained on another base, does not fit or is no plain LoRA.
    """
    adapted: nn.Module = network
    for name, folder in folders.items():
        check_adapter(folder, base_sha256)
        adapted = _put_on(adapted, name, folder)
    return adapted.requires_grad_(requires_grad=False).eval()


def replace_adapter(
    network: nn.Module, name: str, folder: Path, files: Mapping[str, str], base_sha256: str
) -> None:
    """Put the adapter of a folder in the place of the one that has this name, on a network that runs.

    files are the SHA-256 that its files must have, by name. No answer may be in work meanwhile, and the
    engine must `forget` the name afterwards. Raises WeightsError when no adapter has the name, a hash is
    missing or wrong, or the adapter does not fit; the old one is then as it was.
    """
    if not isinstance(network, PeftModel) or name not in network.peft_config:
        known = ", ".join(sorted(network.peft_config)) if isinstance(network, PeftModel) else "none"
        raise WeightsError(f"expected the name of an adapter that is loaded ({known}), came another")
    check_files(folder, files)
    check_adapter(folder, base_sha256)
    active = list(network.active_adapters)
    # On the network under another name first: what does not fit has then touched nothing. peft's own
    # hotswap_adapter would also set to zero every adapter whose name contains this one.
    _put_on(network, _TRIED, folder)
    with warnings.catch_warnings():
        # peft warns that the active adapter is another one in between.
        warnings.simplefilter("ignore")
        network.delete_adapter(name)
        _put_on(network, name, folder)
        if name in active:
            network.set_adapter(name, inference_mode=True)
        network.delete_adapter(_TRIED)
    network.requires_grad_(requires_grad=False)
    network.eval()


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise WeightsError unless a folder holds these files, with these SHA-256, and no others."""
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    if unpinned := sorted(present - files.keys()):
        raise WeightsError(
            f"{unpinned[0]} in {folder.name} has no SHA-256 to be checked by: add it or remove it"
        )
    if missing := sorted(files.keys() - present):
        raise WeightsError(
            f"expected {PurePosixPath(missing[0])} in {folder.name}: copy the whole folder again"
        )
    for name, expected in files.items():
        found = file_sha256(folder / name)
        if found != expected:
            raise WeightsError(
                f"{name} in {folder.name} has SHA-256 {found[:12]}…, expected {expected[:12]}…: the file was "
                "altered, copy the folder again from its source"
            )


def _put_on(network: nn.Module, name: str, folder: Path) -> nn.Module:
    """The network in peft with one more adapter; it is taken off again when it does not fit."""
    device = str(next(network.parameters()).device)
    adapted: nn.Module
    try:
        with warnings.catch_warnings():
            # peft asks transformers by a name that is on its way out, and tells of missing tensors in words:
            # see _check_tensors.
            warnings.simplefilter("ignore")
            if isinstance(network, PeftModel):
                network.load_adapter(str(folder), name, is_trainable=False, torch_device=device)
                adapted = network
            else:
                adapted = PeftModel.from_pretrained(
                    network, str(folder), name, is_trainable=False, torch_device=device
                )
        _check_tensors(adapted, name, folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, WeightsError) as error:
        if isinstance(network, PeftModel) and name in network.peft_config:
            network.delete_adapter(name)
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"expected a LoRA adapter that fits the base in {folder.name}: {error}") from error
    return adapted


def _check_tensors(adapted: nn.Module, name: str, folder: Path) -> None:
    """Raise WeightsError unless the file holds exactly the tensors that the configuration speaks of."""
    # Without embeddings: peft would look for the base on a hub to see whether they were changed.
    wanted = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)
    with safe_open(folder / TENSORS, framework="pt") as stored:
        found = set(stored.keys())
        if odd := sorted(found ^ wanted.keys()):
            state = "holds" if odd[0] in found else "lacks"
            raise WeightsError(
                f"expected {TENSORS} in {folder.name} to fit its {CONFIG}: it {state} {odd[0]}, use both of "
                "one training"
            )
        if not all(stored.get_tensor(key).isfinite().all() for key in found):
            raise WeightsError(f"expected finite numbers in {TENSORS} in {folder.name}, found others")
