"""Commands that `prelim` finds by name when training is installed. torch is imported only when one runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from model.facts import CATALOGUE
from model.study import WeightsError
from model.wording import LANGUAGES

PRESET_NAMES = ("small", "tiny")
FUSION_NAMES = ("prefix", "repeated", "inject")
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--preset", type=click.Choice(PRESET_NAMES), default="small", show_default=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run."
)
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the learning.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Processes that make phantoms meanwhile.",
)
@click.option("--fusion", type=click.Choice(FUSION_NAMES), help="How vision meets text; the preset's own.")
@click.option("--version", default="1", show_default=True, help="Version that the model card names.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def train(
    preset: str,
    out: Path,
    seed: int,
    threads: int,
    workers: int,
    fusion: str | None,
    version: str,
    as_json: bool,
) -> None:
    """Train a drafter on synthetic chests; OUT/model is the folder to serve.

    A run that was stopped goes on from OUT/state when it is started again with the same options. Losses
    are written to OUT/losses.jsonl as the run goes and drawn in OUT/losses.svg at its end. The same options
    with one thread give the same weights on the same kind of processor.
    """
    from dataclasses import replace

    import torch

    from model.fusion.settings import FusionSettings
    from training.finetune import steps_of
    from training.finetune import train as run
    from training.plan import PRESETS

    torch.set_num_threads(threads)
    plan = PRESETS[preset]
    if fusion:
        plan = replace(plan, fusion=FusionSettings(fusion))
    with click.progressbar(length=steps_of(plan), label="learning to see", file=sys.stderr) as bar:

        def progress(label: str, steps: int) -> None:
            if label:
                bar.label = label
            bar.update(steps)

        folder = run(plan, seed, out, version, progress, workers)
    if as_json:
        click.echo(json.dumps({"model": str(folder), "losses": str(out / "losses.jsonl")}))
    else:
        click.echo(f"model folder: {folder}")


@click.command()
@click.option("--model", type=FOLDER, help="A model folder; the shipped one when left out.")
@click.option("--count", type=click.IntRange(min=2), default=200, show_default=True, help="Unseen phantoms.")
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    default="en",
    show_default=True,
    help="Language of the orders and the drafts.",
)
@click.option("--unseen-wordings", is_flag=True, help="Orders in words that no training saw either.")
@click.option("--out", type=FOLDER, help="Also write the figures, a page and a model card's scores into it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def evaluate(
    model: Path | None, count: int, language: str, unseen_wordings: bool, out: Path | None, as_json: bool
) -> None:
    """Judge a drafter on unseen phantoms by the facts that its drafts state.

    Real images are compared with shuffled ones, blank ones, and a drafter that calls everything normal.
    Every figure comes with a 95 % interval.
    """
    from model.load import load_drafter
    from training.evaluate import evaluate as run
    from training.evaluate import table, write

    try:
        drafter: Any = load_drafter(model)
    except WeightsError as error:
        raise click.ClickException(str(error)) from error
    if not hasattr(drafter, "watch_many"):
        raise click.ClickException("expected weights that look at images; this drafter has none to judge")
    with click.progressbar(length=count, label="drafting", file=sys.stderr) as bar:
        document = run(drafter, count, language, unseen_wordings=unseen_wordings, progress=bar.update)
    if out:
        _, drawn = write(document, out)
        click.echo(f"page: {drawn}", err=True)
    click.echo(json.dumps(document) if as_json else table(document))


@click.group()
def data() -> None:
    """Make data to train and to try with."""


@data.command()
@click.option("--seed", type=click.IntRange(min=0), required=True, help="One seed makes one chest.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder for the DICOM files, or one archive when the name ends with .zip.",
)
@click.option("--finding", type=click.Choice([f.name for f in CATALOGUE]), help="Only this finding.")
@click.option("--side", type=click.Choice(["left", "right"]), help="Its side.")
@click.option("--patient-name", default="PHANTOM^SYNTHETIC", show_default=True)
@click.option("--patient-id", default="PHANTOM", show_default=True)
@click.option("--issuer", default="", help="Issuer of the patient id.")
@click.option("--accession", default="", help="Accession number.")
@click.option("--study-uid", default="", help="Study Instance UID; derived from the seed when left out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def phantom(
    seed: int,
    out: Path,
    finding: str | None,
    side: str | None,
    patient_name: str,
    patient_id: str,
    issuer: str,
    accession: str,
    study_uid: str,
    as_json: bool,
) -> None:
    """Write one synthetic chest as a CT series. It shows no patient."""
    import numpy as np

    from model.facts import BY_NAME
    from training.dicom import StudyLabels, write_dicom, write_zip
    from training.facts import FactRecord, draw_fact
    from training.phantoms import phantom as make

    if side and not finding:
        raise click.UsageError("--side needs --finding")
    record = None
    if finding:
        if side and not BY_NAME[finding].lateral:
            raise click.UsageError(f"{finding} has no side: leave --side out")
        fact = draw_fact(np.random.default_rng(seed), finding, (side,) if side else ())
        record = FactRecord((fact,))
    made = make(seed, record)
    labels = StudyLabels(
        patient_name=patient_name,
        patient_id=patient_id,
        issuer_of_patient_id=issuer,
        accession=accession,
        study_instance_uid=study_uid,
    )
    if out.suffix == ".zip":
        write_zip(made.volume, out, labels)
    else:
        write_dicom(made.volume, out, labels)
    facts = [
        {"finding": fact.finding, "sides": list(fact.sides), "size": fact.size, "zone": fact.zone}
        for fact in made.record.facts
    ]
    if as_json:
        click.echo(json.dumps({"out": str(out), "slices": made.volume.voxels.shape[0], "facts": facts}))
        return
    words = ", ".join(f"{f['size']} {f['finding']} {' and '.join(f['sides'])}".strip() for f in facts)
    click.echo(f"{made.volume.voxels.shape[0]} slices in {out}: {words or 'nothing abnormal'}")
