"""Grammars over a tokenizer's tokens: which may come next, and how an answer is closed in time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xgrammar
from torch import Tensor

from model.grammar import CUT
from model.language.words import Words

_CLOSERS = ("\n", CUT, ".", " ")
"""What is tried, in this order, where an answer must end soon and its grammar leaves a choice."""
_CLOSING_STEPS = 512
_DEARER = 8
"""One token makes the closing of an answer longer by fewer tokens than this."""
_KEPT = 64


class Grammars:
    """Grammars compiled for one tokenizer; each text once."""

    def __init__(self, words: Words, vocabulary: int, ends: Sequence[int]) -> None:
        """vocabulary is the number of logits, which may be more than the tokenizer has tokens."""
        self.words = words
        self.vocabulary = vocabulary
        tokens = [""] * vocabulary
        for token, index in words.tokenizer.get_vocab(with_added_tokens=True).items():
            # A token without text is never allowed: no grammar can write a special token.
            if index < vocabulary and index not in words.special:
                tokens[index] = token
        self.tokens = frozenset(index for index, token in enumerate(tokens) if token)
        info = xgrammar.TokenizerInfo(
            tokens, xgrammar.VocabType.BYTE_LEVEL, vocab_size=vocabulary, stop_token_ids=list(ends)
        )
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self._compiled: dict[str, tuple[xgrammar.CompiledGrammar, int]] = {}

    def form(self, grammar: str) -> Form:
        """A new answer under this grammar. Raises ValueError when the text is no grammar or has no end."""
        if grammar not in self._compiled:
            try:
                compiled = self._compiler.compile_grammar(grammar)
            except RuntimeError as error:
                raise ValueError("expected a grammar in EBNF with a rule root, found another text") from error
            least = len(Form(self, compiled, 0).closing())
            if len(self._compiled) >= _KEPT:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[grammar] = (compiled, least)
        compiled, least = self._compiled[grammar]
        return Form(self, compiled, least)

    def masks(self, rows: int) -> Tensor:
        """(rows, words of 32 tokens) of int32 in which every token is allowed."""
        return xgrammar.allocate_token_bitmask(rows, self.vocabulary)


class Form:
    """One answer on its way through a grammar."""

    def __init__(self, grammars: Grammars, compiled: xgrammar.CompiledGrammar, least: int) -> None:
        """least is the number of tokens of the shortest answer."""
        self._grammars = grammars
        self._matcher = xgrammar.GrammarMatcher(compiled)
        self.least = least
        self._free = 0

    def allow(self, masks: Tensor, row: int) -> None:
        """Write what may come next into one row of `masks`."""
        self._matcher.fill_next_token_bitmask(masks, row)

    def take(self, token: int, left: int) -> bool:
        """Go on with a token that is allowed, unless the answer could then not be closed in the tokens left.

        left counts the tokens that may still follow this one. False leaves the form as it was.
        """
        if left < 0:
            return False
        if not self._matcher.accept_token(token):
            raise RuntimeError("expected a token that the grammar allows")
        # Closing is looked at again only when it may have become too long: a look costs a tenth of a step.
        self._free -= 1
        if self._free < 0:
            spare = left - len(self.closing())
            if spare < 0:
                self._matcher.rollback(1)
                return False
            self._free = spare // _DEARER
        return True

    def closing(self) -> list[int]:
        """Tokens that close the answer soon, without a word that could be taken for a finding.

        Raises ValueError when no end is in reach.
        """
        matcher = self._matcher.fork()
        encode = self._grammars.words.encode
        ids: list[int] = []
        text = ""
        for _ in range(_CLOSING_STEPS):
            if matcher.is_completed():
                return [*ids, *encode(text)]
            piece = _forced(matcher) or next((one for one in _CLOSERS if _fits(matcher, one)), "")
            if piece:
                matcher.accept_string(piece)
                text += piece
                continue
            ids += encode(text)
            text = ""
            ids.append(self._any(matcher))
        raise ValueError("expected a grammar in which an end is near from everywhere, found none")

    def _any(self, matcher: xgrammar.GrammarMatcher) -> int:
        """The first token that fits, by its number: the rest of a character, or where no closer fits."""
        masks = self._grammars.masks(1)
        matcher.fill_next_token_bitmask(masks, 0)
        bits = (masks[0].unsqueeze(1) >> torch.arange(32, dtype=torch.int32)) & 1
        allowed = bits.flatten()[: self._grammars.vocabulary].nonzero().flatten().tolist()
        token = next((int(index) for index in allowed if index in self._grammars.tokens), None)
        if token is None or not matcher.accept_token(token):
            raise ValueError("expected a grammar that this tokenizer can write, found none")
        return token


def _forced(matcher: xgrammar.GrammarMatcher) -> str:
    try:
        return matcher.find_jump_forward_string()
    except UnicodeDecodeError:  # in the middle of a character
        return ""


def _fits(matcher: xgrammar.GrammarMatcher, text: str) -> bool:
    return bool(matcher.fork().accept_string(text))
