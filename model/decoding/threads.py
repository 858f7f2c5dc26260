"""How many threads a loop of small matrices runs on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_before = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Run on one thread, and give the process its number of threads back.

    Matrices of a few hundred rows take some ten microseconds: waking a second thread takes as long, and where
    the second core is busy a hundred times longer. On one thread a row's sums are also added in one order,
    whatever stands in the other rows. The number belongs to the process: of callers that overlap, the first
    notes it and each puts it back.
    """
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_num_threads(_before)
