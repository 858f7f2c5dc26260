"""A Llama from a local folder, in 4-bit NF4 where its settings say so. Nothing is fetched from a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig
from transformers.utils.logging import disable_progress_bar

from model.language.settings import LanguageSettings
from model.study import WeightsError

disable_progress_bar()

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def read_config(folder: Path) -> LlamaConfig:
    """The shape of the base in a folder. Raises WeightsError when it is not of the Llama architecture."""
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"expected config.json of a Llama in {folder.name}: {error}") from error
    if not isinstance(config, LlamaConfig):
        raise WeightsError(f"expected a base of the Llama architecture, found {config.model_type}")
    return config


def load_base(folder: Path, settings: LanguageSettings, device: torch.device) -> nn.Module:
    """A Llama-architecture base from its folder (config.json and safetensors), quantised as the settings say.

    Raises WeightsError when the folder holds another architecture or cannot be loaded.
    """
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
            config=read_config(folder),
            dtype=dtype,
            quantization_config=quantised if settings.quantisation == "nf4" else None,
            device_map={"": str(device)},
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"expected a Llama in safetensors in {folder.name}: {error}") from error
    if dtype == torch.float32:
        # The fused kernel of some CPUs multiplies in bfloat16 whatever was named: a draft would depend on
        # the machine and on its batch.
        layers: list[Any] = [m for m in network.modules() if hasattr(m, "support_avx512bf16_for_cpu")]
        for layer in layers:
            layer.support_avx512bf16_for_cpu = False
    return network.eval()
