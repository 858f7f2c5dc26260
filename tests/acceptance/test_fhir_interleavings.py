"""What must be impossible stays so, whatever happens in which order: us, people and faults, interleaved.

STEPS says how many steps are taken; with PRELIM_REQUIRE_SERVICES=1, as in continuous integration, 100,000.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.acceptance.hospital_machine import run_shard

STEPS = int(
    os.environ.get("STEPS") or (100_000 if os.environ.get("PRELIM_REQUIRE_SERVICES") == "1" else 4_000)
)
SHARDS = 2


@pytest.mark.timeout(3600)
def test_no_interleaving_finalises_overwrites_doubles_miscredits_or_loses() -> None:
    """No final status of ours, nothing over a human's version, one live draft a case, no signature of ours or
    of nobody, every signature seen once, though subscription, polling and ORU race and answers are lost."""
    share = -(-STEPS // SHARDS)
    with ProcessPoolExecutor(SHARDS, mp_context=get_context("spawn")) as pool:
        taken = list(pool.map(run_shard, range(SHARDS), [share] * SHARDS))
    assert sum(taken) >= STEPS
