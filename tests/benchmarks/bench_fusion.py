"""The three ways of fusion, trained on the same data with the same budget and judged by what they write.

The shipped vision half looks; a new decoder learns the report task with each fusion, from the same start and
on the same cases. No way is another system: the rows stand beside the prefix, which is what is shipped.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from model.load import SHIPPED_WEIGHTS, load_drafter
from model.study import WeightsError
from tests.benchmarks.machine import release
from tests.benchmarks.table import Progress, Row, figure, skipped

STEPS, PHANTOMS, CASES = 300, 2000, 300


def run(
    model: Path = SHIPPED_WEIGHTS,
    steps: int = STEPS,
    phantoms: int = PHANTOMS,
    cases: int = CASES,
    progress: Progress = print,
) -> list[Row]:
    """Rows for each way: what its decoder states rightly, and how long its training took."""
    if not release("torch"):
        return [skipped("fusion", "torch is not installed: pip install -e '.[bench]'")]
    import torch

    from training.comparing import compare_fusions
    from training.plan import PRESETS, Phase

    try:
        drafter: Any = load_drafter(model)
    except WeightsError as error:
        return [skipped("fusion", f"no weights that can be loaded in {model.name}: {error}")]
    if not hasattr(drafter, "tower"):
        return [skipped("fusion", f"{model.name} looks at no image")]
    threads = torch.get_num_threads()
    # Matrices of this size wait for a second thread longer than it saves.
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            compared = []
            for one in compare_fusions(
                PRESETS["small"],
                drafter.tower,
                drafter.words,
                Path(folder),
                phantoms=phantoms,
                cases=cases,
                phase=Phase(steps, 32, 1.5e-3),
            ):
                progress(f"fusion: {one.kind} trained {steps} steps in {one.seconds:.0f} s")
                compared.append(one)
    finally:
        torch.set_num_threads(threads)
    prefix = compared[0]
    rows = []
    for one in compared:
        peer = [] if one is prefix else [100 * prefix.figures["finding_f1_macro"]]
        name = "" if one is prefix else "prefix, same data and budget"
        ours = [100 * one.figures["finding_f1_macro"]]
        what = f"macro F1 of {one.kind} after {steps} steps, {one.weights / 1e6:.2f} M weights"
        rows.append(figure("fusion", what, "%", ours, peer, name))
        sides = [100 * one.figures["side_accuracy"]]
        rows.append(figure("fusion", f"side accuracy of {one.kind}", "%", sides))
        rows.append(figure("fusion", f"time of training, {one.kind}", "s", [one.seconds]))
    return rows
