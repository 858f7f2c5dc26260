"""`prelim draft`: one draft from files, without a server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from connectors.dicomweb.pixels import read_series
from connectors.errors import ExchangeError
from connectors.exchange import Coding, Order, OrderAction
from connectors.hl7.message import parse
from connectors.hl7.orders import orders
from model.load import load_drafter
from model.study import Unfit, WeightsError
from plugin import translate
from plugin.cli.output import Failure, as_json, document
from plugin.drafting import MAX_VOXELS
from plugin.identity import disagreements
from plugin.pipeline import places
from plugin.settings import load


@click.command()
@click.argument("folder", metavar="DICOM_DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--order",
    "order_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="HL7 file with the order of this study; its patient must be the images' patient.",
)
@as_json
def draft(folder: Path, order_file: Path | None, as_json: bool) -> None:
    """Write one draft from a folder of DICOM files; nothing is stored or sent."""
    settings = load()
    try:
        series = read_series(
            folder,
            memory_bytes=settings.parse_bytes,
            deadline_seconds=settings.parse_seconds,
            max_voxels=MAX_VOXELS,
        )
        if order_file:
            found = orders(parse(order_file.read_bytes()), places(settings))
            order = next((o for o in found if o.accession == series.accession), found[0])
        else:
            order = Order(
                OrderAction.PLACE, series.accession, series.patient, Coding(text=series.description)
            )
        differing = disagreements(
            "the order",
            "the images",
            patients=(order.patient, series.patient),
            accessions=(order.accession, series.accession),
            studies=(order.study_instance_uid, series.study_instance_uid),
        )
        if order_file and differing:
            raise Failure(f"No draft: {' '.join(differing)}")
        written = load_drafter(settings.model).draft(
            translate.volume(series), translate.context(order, series)
        )
    except ExchangeError as error:
        raise Failure(f"{error} {error.next_step}") from None
    except (Unfit, WeightsError) as error:
        raise Failure(str(error)) from None
    if as_json:
        document(
            {**asdict(written), "notice": written.card.notice, "text": written.text, "sha256": written.sha256}
        )
    else:
        click.echo(f"{written.card.notice}\n\n{written.text}")
