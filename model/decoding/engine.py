"""Writes the answers of many cases at once, token by token, in a fixed number of slots.

A case that ends frees its slot, and the next that waits is read into it while the others stand still for one
step. Nothing of a case is kept once it has left its slot, and no case reads another's.

Greedy, and each answer is what it would be alone: a case is read by itself, and where many are written at
once each row's products are added in the order in which they would be added alone. For that a batch
always has a few rows, below which matrix libraries add in another order, and all of its slots where several
threads or a GPU share the work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import xgrammar
from torch import Tensor, nn

from model.decoding.cache import KeyValues
from model.decoding.case import Case
from model.decoding.grammar import Grammars
from model.decoding.layers import fewest_rows
from model.decoding.step import Batch, Turns, decode, prefill
from model.decoding.threads import one_thread
from model.decoding.weights import Decoders
from model.language.asking import Answer, Asked
from model.language.words import Words


class Engine:
    """A Llama that writes many answers at once. Safe to call from many threads."""

    def __init__(
        self,
        network: nn.Module,
        words: Words,
        blocks: Sequence[nn.Module] = (),
        slots: int = 16,
        dense: bool | None = None,
    ) -> None:
        """network is a LlamaForCausalLM of transformers, bare or in peft; blocks are a fusion's.

        slots is how many cases are written at once. dense says whether weights are copied, dequantised and
        with their adapter added; None decides by size and device. Copies are made when an adapter is first
        asked for: call `forget` after its weights change. Raises ValueError for what it cannot run.
        """
        if slots < 1:
            raise ValueError(f"expected at least one slot, came {slots}")
        self._decoders = Decoders(network, blocks, dense)
        config = self._decoders.config
        ends = config.eos_token_id
        self.start = int(config.bos_token_id)
        self.ends = tuple(int(end) for end in (ends if isinstance(ends, list | tuple) else [ends]))
        self.width = int(config.hidden_size)
        self.device = self._decoders.device
        self.length = int(config.max_position_embeddings)
        """Places that one case may take, its answer included."""
        self._words = words
        self._fewest = fewest_rows(self._decoders.dtype, self.device)
        self._slots = -(-slots // self._fewest) * self._fewest
        self._grammars = Grammars(words, self._decoders.vocabulary, self.ends)
        self._banned = torch.ones(self._decoders.vocabulary, dtype=torch.bool, device=self.device)
        self._banned[sorted(self._grammars.tokens | set(self.ends))] = False
        dtype = self._decoders.dtype
        self._kept = [
            KeyValues(self._slots, heads, size, dtype, self.device) for heads, size in self._decoders.shapes
        ]
        self._turns = Turns(self._decoders.rotary, dtype, self.device)
        self._held: list[Case | None] = [None] * self._slots
        self._waiting: deque[Case] = deque()
        self._news = threading.Condition()
        self._driven = False

    def write(self, asked: Sequence[Asked]) -> list[Answer]:
        """Answer all, in their order. Calls of several threads share the slots.

        Raises ValueError when a case does not fit, its grammar cannot be read or its adapter is not loaded;
        the other callers' cases go on.
        """
        cases = [Case(one) for one in asked]
        with self._news:
            self._waiting.extend(cases)
        try:
            while True:
                with self._news:
                    # Whoever drives wakes all when a case is done or when it stops.
                    self._news.wait_for(lambda: not self._driven or all(case.done for case in cases))
                    if all(case.done for case in cases):
                        break
                    self._driven = True
                self._drive(cases)
        finally:
            self._leave(cases)
        for case in cases:
            if case.error is not None:
                raise case.error
        return [case.answer for case in cases if case.answer is not None]

    def forget(self, adapter: str) -> None:
        """Drop what was copied of an adapter; call it after its weights change or it is taken off."""
        with self._news:
            self._news.wait_for(lambda: not self._driven)
            self._decoders.forget(adapter)

    @torch.inference_mode()
    def _drive(self, cases: Sequence[Case]) -> None:
        """Step until these cases are done; then another thread may drive."""
        try:
            with one_thread() if self._decoders.dense and self.device.type == "cpu" else nullcontext():
                while not all(case.done for case in cases):
                    self._admit()
                    self._step()
        except BaseException:
            # A step that was broken off may have gone on with some cases and not with others.
            for case in self._held:
                if case is not None and not case.done:
                    case.fail(RuntimeError("the writing was broken off: ask again"))
            raise
        finally:
            with self._news:
                self._driven = False
                self._news.notify_all()

    def _leave(self, cases: Sequence[Case]) -> None:
        """Take out what an interrupted caller still has in line or in a slot."""
        if all(case.done for case in cases):
            return
        with self._news:
            for case in cases:
                case.stop()
            self._waiting = deque(case for case in self._waiting if not case.done)

    def _admit(self) -> None:
        """Read waiting cases into free slots, the lowest first."""
        for slot, holder in enumerate(self._held):
            while holder is None or holder.done:
                self._held[slot] = None
                with self._news:
                    if not self._waiting:
                        break
                    case = self._waiting.popleft()
                try:
                    self._read(case, slot)
                except Exception as error:  # its caller raises it
                    case.fail(error)
                self._held[slot] = holder = case
                self._tell(case)

    def _read(self, case: Case, slot: int) -> None:
        asked = case.asked
        case.begin(self.length, self.width, self._decoders.vocabulary)
        if asked.grammar:
            case.form = self._grammars.form(asked.grammar)
            if case.form.least > asked.maximum_tokens:
                raise ValueError(
                    f"expected at least {case.form.least} tokens for an answer of this grammar, "
                    f"came {asked.maximum_tokens}"
                )
        self._decoders.check(asked.adapter)
        weights = self._decoders.of(asked.adapter)
        if not weights.blocks:
            case.lead = 0
        most = case.lead + case.places + asked.maximum_tokens
        self._turns.reach(most)
        for room in self._kept:
            room.reach(most)
            room.clear(slot)
        ids = torch.tensor([self.start, *asked.prompt], device=self.device)
        logits = prefill(weights, self._turns, self._kept, slot, ids, asked.fused)
        self._choose([case], [0], logits)

    def _step(self) -> None:
        """One more token of every case, adapter by adapter."""
        groups: dict[str, list[int]] = {}
        for slot, case in enumerate(self._held):
            if case is not None and not case.done:
                groups.setdefault(case.asked.adapter, []).append(slot)
        for adapter, slots in groups.items():
            try:
                self._step_group(adapter, slots, alone=len(groups) == 1)
            except Exception as error:  # their callers raise it
                for slot in slots:
                    if (case := self._held[slot]) is not None:
                        case.fail(error)
            for slot in slots:
                self._tell(self._held[slot])

    def _step_group(self, adapter: str, slots: Sequence[int], alone: bool) -> None:
        rows = self._rows(slots, alone)
        holders = [self._held[slot] if slot < self._slots else None for slot in rows]
        cases = [one if one is not None and not one.done else None for one in holders]
        table = torch.tensor(
            [
                rows,
                [0 if case is None else case.token for case in cases],
                [0 if case is None else case.places for case in cases],
                [0 if case is None else case.lead for case in cases],
            ],
            device=self.device,
        )
        longest = max(case.lead + case.places + 1 for case in cases if case is not None)
        batch = Batch(table[0], alone, table[1], table[2], table[3], longest)
        logits = decode(self._decoders.of(adapter), self._turns, self._kept, batch)
        writing = [(case, row) for row, case in enumerate(cases) if case is not None]
        for case, _ in writing:
            case.places += 1
        self._choose([case for case, _ in writing], [row for _, row in writing], logits)

    def _rows(self, slots: Sequence[int], alone: bool) -> list[int]:
        """The slots of a batch, filled up: by those between where one adapter writes, else by the spare."""
        whole = not self._decoders.dense or self.device.type != "cpu"
        if alone:
            count = self._slots if whole else -(-(slots[-1] + 1) // self._fewest) * self._fewest
            return list(range(count))
        count = self._slots if whole else -(-len(slots) // self._fewest) * self._fewest
        return [*slots, *[self._slots] * (count - len(slots))]

    def _choose(self, cases: Sequence[Case], rows: Sequence[int], logits: Tensor) -> None:
        """Take the best token that each case's grammar allows; rows are the cases' in logits."""
        raw = logits.float()
        allowed = raw.masked_fill(self._banned, -torch.inf)
        if any(case.form is not None for case in cases):
            masks = self._grammars.masks(len(raw))
            for case, row in zip(cases, rows, strict=True):
                if case.form is not None:
                    case.form.allow(masks, row)
            xgrammar.apply_token_bitmask_inplace(allowed, masks.to(self.device))
        best = allowed.argmax(dim=-1, keepdim=True)
        chosen = best.flatten().tolist()
        logs = (raw.gather(1, best).flatten() - raw.logsumexp(dim=-1)).tolist()
        for case, row in zip(cases, rows, strict=True):
            try:
                case.take(chosen[row], logs[row], self.ends, self._words)
            except (ValueError, RuntimeError) as error:
                case.fail(error)

    def _tell(self, case: Case | None) -> None:
        if case is not None and case.done:
            with self._news:
                self._news.notify_all()
