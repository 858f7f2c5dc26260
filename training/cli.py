"""Commands that `prelim` finds by name when training is installed. torch is imported only when one runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from model.facts import CATALOGUE


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
