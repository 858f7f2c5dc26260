"""A Llama from a local folder, in 4-bit NF4 where its settings say so. Nothing is fetched from a network."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig
from transformers.utils.logging import disable_progress_bar

from model.language.settings import LanguageSettings
from model.manifest import EXECUTABLE_SUFFIXES
from model.study import WeightsError

disable_progress_bar()

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def read_config(folder: Path) -> LlamaConfig:
    """The configuration of a base. Raises WeightsError unless it is of the Llama architecture."""
    try:
        # Read as a file: a folder that is not there must not be looked for on a hub.
        document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"expected {CONFIG} of a base in {folder.name}: {error!r}") from error
    kind = document.get("model_type") if isinstance(document, dict) else None
    if kind != "llama":
        raise WeightsError(f"expected a base of the Llama architecture, found {kind}")
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"expected {CONFIG} of a Llama in {folder.name}: {error}") from error
    assert isinstance(config, LlamaConfig)
    return config


def check_weights(folder: Path) -> tuple[Path, ...]:
    """The files of a base's weights: one, or the shards of its index.

    Raises WeightsError when there are none, a shard is missing or lies elsewhere, or the folder holds a file
    that can run code.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in EXECUTABLE_SUFFIXES:
            raise WeightsError(
                f"{path.name} in {folder.name} can run code when loaded: store tensors as safetensors and "
                "remove it"
            )
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        names = sorted({str(name) for name in index["weight_map"].values()})
    except OSError as error:
        raise WeightsError(
            f"expected {WEIGHTS} or {INDEX} in {folder.name}: a base lies in safetensors"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"expected {INDEX} in {folder.name} to map tensors to files: {error!r}") from error
    for name in names:
        if PurePosixPath(name).name != name or not name.endswith(".safetensors"):
            raise WeightsError(f"expected {INDEX} in {folder.name} to name safetensors beside it")
        if not (folder / name).is_file():
            raise WeightsError(
                f"expected {name} in {folder.name}, as its index says: copy the whole folder again"
            )
    return tuple(folder / name for name in names)


def load_base(folder: Path, settings: LanguageSettings, device: torch.device) -> nn.Module:
    """A Llama-architecture base from its folder (config.json and safetensors), quantised as the settings say.

    The weights may lie in one file or in shards. On a GPU that has bfloat16, 4-bit weights are best
    multiplied in it; on a CPU in float32, where batches and machines then agree to the bit.
    Raises WeightsError when the folder holds another architecture or cannot be loaded.
    """
    config = read_config(folder)
    check_weights(folder)
    dtype = _DTYPES[settings.compute_dtype]
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    try:
        network: nn.Module = AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            quantization_config=quantised if settings.quantisation == "nf4" else None,
            device_map={"": str(device)},
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"expected a Llama in safetensors in {folder.name}: {error}") from error
    if dtype == torch.float32:
        # The fused kernel of some CPUs multiplies in bfloat16 whatever was named: a draft would depend on
        # the machine and on its batch.
        layers: list[Any] = [m for m in network.modules() if hasattr(m, "support_avx512bf16_for_cpu")]
        for layer in layers:
            layer.support_avx512bf16_for_cpu = False
    return network.eval()
