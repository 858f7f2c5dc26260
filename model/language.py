"""A Llama from a local folder, in 4-bit NF4, with a LoRA adapter. Nothing is fetched from a network."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig
from transformers.utils.logging import disable_progress_bar

from model.study import WeightsError

disable_progress_bar()

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """How the language half is loaded and run; travels in drafter.json."""

    base: str
    """Folder of the base, relative to the model folder."""
    adapter: str
    """Folder of the LoRA adapter, relative to the model folder."""
    quantisation: str
    """nf4, or none."""
    compute_dtype: str
    """float32, bfloat16 or float16: what 4-bit weights are multiplied in."""
    maximum_tokens: int
    """No answer is longer."""

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> LanguageSettings:
        """Read the `language` object of drafter.json. Raises WeightsError on anything unexpected."""
        try:
            settings = cls(
                base=str(part["base"]),
                adapter=str(part["adapter"]),
                quantisation=str(part["quantisation"]),
                compute_dtype=str(part["compute_dtype"]),
                maximum_tokens=int(part["maximum_tokens"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"expected language settings in drafter.json: {error!r} is missing or wrong"
            ) from error
        if settings.quantisation not in ("nf4", "none") or settings.compute_dtype not in _DTYPES:
            raise WeightsError("expected language.quantisation nf4 or none and a compute_dtype torch knows")
        if not 1 <= settings.maximum_tokens <= 4096:
            raise WeightsError("expected language.maximum_tokens between 1 and 4096 in drafter.json")
        return settings

    def to_json(self) -> dict[str, Any]:
        """The `language` object of drafter.json."""
        return {
            "base": self.base,
            "adapter": self.adapter,
            "quantisation": self.quantisation,
            "compute_dtype": self.compute_dtype,
            "maximum_tokens": self.maximum_tokens,
        }


class Words:
    """A tokenizer.json, used so that no text can become a special token."""

    def __init__(self, path: Path) -> None:
        """Raises WeightsError when the file is no tokenizer."""
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise WeightsError(f"expected {path.name} to be a tokenizer: {error}") from error
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        added = self.tokenizer.get_added_tokens_decoder()
        self.special = frozenset(i for i, token in added.items() if token.special)

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens written out in the text are ordinary characters."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [i for i in ids if i not in self.special]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


class LanguageModel:
    """A Llama-architecture decoder that continues a prefix of embeddings."""

    def __init__(self, network: nn.Module, words: Words, maximum_tokens: int) -> None:
        """network is a causal language model of transformers, with or without an adapter around it."""
        self.network = network
        self.words = words
        self.maximum_tokens = maximum_tokens
        config: Any = network.config
        self.start = int(config.bos_token_id)
        ends = config.eos_token_id
        self.ends = [int(end) for end in (ends if isinstance(ends, list) else [ends])]
        self.width = int(config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the embeddings live."""
        return self._embeddings.weight.device

    @property
    def _embeddings(self) -> nn.Embedding:
        embeddings = self.network.get_input_embeddings()  # type: ignore[operator]
        assert isinstance(embeddings, nn.Embedding)
        return embeddings

    def inputs(self, prefix: Tensor, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Start token, prefix and prompt of each case as embeddings, padded on the left, and their mask.

        prefix is (batch, length, width); returns (batch, longest, width) and (batch, longest).
        """
        table = self._embeddings
        longest = 1 + prefix.shape[1] + max(len(prompt) for prompt in prompts)
        shape = (len(prompts), longest)
        embedded = torch.zeros((*shape, self.width), device=self.device, dtype=table.weight.dtype)
        mask = torch.zeros(shape, device=self.device, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            start = table(torch.tensor([self.start], device=self.device))
            asked = table(torch.tensor(list(prompt), device=self.device, dtype=torch.long))
            case = torch.cat([start, prefix[row].to(start), asked])
            embedded[row, longest - case.shape[0] :] = case
            mask[row, longest - case.shape[0] :] = 1
        return embedded, mask

    @torch.inference_mode()
    def generate(self, prefix: Tensor, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Greedy continuation of each case, without its end token. prefix is (batch, length, width)."""
        embedded, mask = self.inputs(prefix, prompts)
        config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.maximum_tokens,
            bos_token_id=self.start,
            eos_token_id=self.ends,
            pad_token_id=self.ends[0],
        )
        rows = self.network.generate(  # type: ignore[operator]
            inputs_embeds=embedded, attention_mask=mask, generation_config=config
        )
        return [self._until_end(row.tolist()) for row in rows]

    def _until_end(self, ids: list[int]) -> list[int]:
        stop = next((place for place, token in enumerate(ids) if token in self.ends), len(ids))
        return ids[:stop]


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
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        if config.model_type != "llama":
            raise WeightsError(f"expected a base of the Llama architecture, found {config.model_type}")
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
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"expected a Llama in safetensors in {folder.name}: {error}") from error
    if dtype == torch.float32:
        # The fused kernel of some CPUs multiplies in bfloat16 whatever was named: a draft would depend on
        # the machine and on its batch.
        layers: list[Any] = [m for m in network.modules() if hasattr(m, "support_avx512bf16_for_cpu")]
        for layer in layers:
            layer.support_avx512bf16_for_cpu = False
    return network.eval()


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
