"""`prelim draft`: one draft from files, without a server."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from connectors.dicomweb.pixels import Series, read_series
from connectors.errors import ExchangeError
from connectors.exchange import Coding, Order, OrderAction, Patient
from connectors.hl7.message import parse
from connectors.hl7.orders import orders
from model.headings import LANGUAGES
from model.load import load_drafter
from model.study import ClinicalContext, Draft, Unfit, WeightsError
from plugin import translate
from plugin.cli.output import Failure, as_json, document
from plugin.drafting import MAX_VOXELS
from plugin.identity import disagreements
from plugin.pipeline import places
from plugin.settings import Settings, load

REPORT, CONCLUSION, DETAIL = "report", "conclusion", "detail"
"""A report of images, the conclusion of findings, detailed findings of an impression."""
_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("folder", metavar="[DICOM_DIR]", type=_folder, required=False)
@click.option(
    "--task",
    type=click.Choice((REPORT, CONCLUSION, DETAIL)),
    default=REPORT,
    show_default=True,
    help="What to draft.",
)
@click.option(
    "--order",
    "order_file",
    type=_file,
    help="HL7 file with the order; its patient must be the images' patient.",
)
@click.option(
    "--language", type=click.Choice(LANGUAGES), help="Of the draft; wins over the order's and the site's."
)
@click.option("--prior", type=_file, help="Text file with the prior report; wins over the order's.")
@click.option("--findings", type=_file, help="Text file with the findings to conclude from.")
@click.option("--impression", type=_file, help="Text file with the impression to detail.")
@as_json
def draft(
    folder: Path | None,
    task: str,
    order_file: Path | None,
    language: str | None,
    prior: Path | None,
    findings: Path | None,
    impression: Path | None,
    as_json: bool,
) -> None:
    """Write one draft from a folder of DICOM files, or from text; nothing is stored or sent."""
    settings = load()
    _check_inputs(task, {"DICOM_DIR": folder, "--findings FILE": findings, "--impression FILE": impression})
    try:
        series = None if folder is None else _series(folder, settings)
        order = _order(order_file, series, settings)
        context = _context(order, series, settings)
        if language:
            context = replace(context, language=language)
        if prior:
            context = replace(context, prior=_words(prior))
        drafter = load_drafter(settings.model)
        if series is not None:
            written = drafter.draft(translate.volume(series), context)
        elif findings is not None:
            written = drafter.conclude(_words(findings), context)
        else:
            assert impression is not None
            written = drafter.detail(_words(impression), context)
    except ExchangeError as error:
        raise Failure(f"{error} {error.next_step}") from None
    except (Unfit, WeightsError) as error:
        raise Failure(str(error)) from None
    if as_json:
        document(_told(written))
    else:
        click.echo(f"{written.card.notice}\n\n{written.text}")


_NEEDED = {REPORT: "DICOM_DIR", CONCLUSION: "--findings FILE", DETAIL: "--impression FILE"}


def _check_inputs(task: str, given: dict[str, Path | None]) -> None:
    """Raises Failure unless exactly that is given which the task reads: nothing is left out unsaid."""
    needed = _NEEDED[task]
    if given[needed] is None:
        raise Failure(f"--task {task} needs {needed}.")
    for name, path in given.items():
        if name != needed and path is not None:
            raise Failure(f"--task {task} reads {needed} and no {name}; leave it out.")


def _series(folder: Path, settings: Settings) -> Series:
    return read_series(
        folder,
        memory_bytes=settings.parse_bytes,
        deadline_seconds=settings.parse_seconds,
        max_voxels=MAX_VOXELS,
    )


def _order(file: Path | None, series: Series | None, settings: Settings) -> Order | None:
    """The order of a file; None without a file. Raises Failure when it is not that of the images."""
    if file is None:
        return None
    found = orders(parse(file.read_bytes()), places(settings))
    if series is None:
        return found[0]
    order = next((o for o in found if o.accession == series.accession), found[0])
    differing = disagreements(
        "the order",
        "the images",
        patients=(order.patient, series.patient),
        accessions=(order.accession, series.accession),
        studies=(order.study_instance_uid, series.study_instance_uid),
    )
    if differing:
        raise Failure(f"No draft: {' '.join(differing)}")
    return order


def _context(order: Order | None, series: Series | None, settings: Settings) -> ClinicalContext:
    """What the order says; without one, what the images say of themselves."""
    if series is None:
        order = order or Order(OrderAction.PLACE, "", Patient(""), Coding())
        return translate.order_context(order, settings.language)
    said = Coding(text=series.description)
    order = order or Order(OrderAction.PLACE, series.accession, series.patient, said)
    return translate.context(order, series, settings.language)


def _words(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"{file} must be text in UTF-8; it is not.") from None


def _told(written: Draft) -> dict[str, Any]:
    """A draft as JSON: every sentence with its confidence and evidence."""
    return {
        **asdict(written),
        "notice": written.card.notice,
        "sections": [{"title": title, "text": text} for title, text in written.sections],
        "text": written.text,
        "sha256": written.sha256,
    }
