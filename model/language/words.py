"""The tokenizer of a language base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from model.study import WeightsError


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
