"""A Llama in this process that continues a prefix of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from model.language.words import Words


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
