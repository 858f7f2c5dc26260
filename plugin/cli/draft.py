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
from model.load import load_drafter
from model.structured.render import as_html, as_text
from model.structured.template import Template
from model.study import ClinicalContext, Draft, Drafter, Filled, Unfit, WeightsError
from model.wording import LANGUAGES
from plugin import translate
from plugin.cli.output import Failure, as_json, document
from plugin.drafting import MAX_VOXELS
from plugin.identity import disagreements
from plugin.pipeline import places
from plugin.settings import Settings, load
from plugin.templates import site_templates

REPORT, CONCLUSION, DETAIL, STRUCTURE = "report", "conclusion", "detail", "structure"
"""A report of images, the conclusion of findings, detailed findings of an impression, a filled template."""
_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("folder", metavar="[DICOM_DIR]", type=_folder, required=False)
@click.option(
    "--task",
    type=click.Choice((REPORT, CONCLUSION, DETAIL, STRUCTURE)),
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
@click.option("--findings", type=_file, help="Text file with the findings to conclude from, or to fill in.")
@click.option("--impression", type=_file, help="Text file with the impression to detail.")
@click.option("--template", metavar="ID", help="Identifier of the template to fill (--task structure).")
@click.option("--templates", type=_folder, help="Folder of templates; wins over PRELIM_TEMPLATES.")
@as_json
def draft(
    folder: Path | None,
    task: str,
    order_file: Path | None,
    language: str | None,
    prior: Path | None,
    findings: Path | None,
    impression: Path | None,
    template: str | None,
    templates: Path | None,
    as_json: bool,
) -> None:
    """Write one draft from a folder of DICOM files, or from text; nothing is stored or sent.

    --task structure fills a template with what the text of --findings says, or a report of the images.
    """
    settings = load()
    given = {"DICOM_DIR": folder, "--findings FILE": findings, "--impression FILE": impression}
    _check_inputs(task, {name for name, path in given.items() if path is not None})
    form = _template(task, template, templates, settings)
    try:
        series = None if folder is None else _series(folder, settings)
        context = _context(_order(order_file, series, settings), series, settings)
        context = replace(
            context,
            language=language or context.language,
            prior=_words(prior) if prior else context.prior,
        )
        text = "".join(_words(file) for file in (findings, impression) if file)
        written = _written(task, load_drafter(settings.model), series, text, form, context)
    except ExchangeError as error:
        raise Failure(f"{error} {error.next_step}") from None
    except (Unfit, WeightsError) as error:
        raise Failure(str(error)) from None
    if as_json:
        document(_filled(written) if isinstance(written, Filled) else _told(written))
    elif isinstance(written, Filled):
        click.echo(as_text(written))  # with the notice
    else:
        click.echo(f"{written.card.notice}\n\n{written.text}")


def _written(
    task: str,
    drafter: Drafter,
    series: Series | None,
    text: str,
    form: Template | None,
    context: ClinicalContext,
) -> Draft | Filled:
    if task == CONCLUSION:
        return drafter.conclude(text, context)
    if task == DETAIL:
        return drafter.detail(text, context)
    if series is not None:
        report = drafter.draft(translate.volume(series), context)
        if form is None:
            return report
        text = report.text
    assert form is not None, "a task without images that is no text task fills a template"
    return drafter.fill(form, text, context)


_READS = {
    REPORT: ("DICOM_DIR",),
    CONCLUSION: ("--findings FILE",),
    DETAIL: ("--impression FILE",),
    STRUCTURE: ("DICOM_DIR", "--findings FILE"),
}
"""What each task reads; one of several."""


def _check_inputs(task: str, given: set[str]) -> None:
    """Raises Failure unless exactly one thing is given, and the task reads it: nothing is left out unsaid."""
    reads = " or ".join(_READS[task])
    if not given & set(_READS[task]):
        raise Failure(f"--task {task} needs {reads}.")
    if len(given) > 1:
        raise Failure(f"--task {task} reads {reads} alone; leave out what it does not read.")


def _template(task: str, identifier: str | None, folder: Path | None, settings: Settings) -> Template | None:
    """The template to fill; None for a task that fills none. Raises Failure, which says which there are."""
    if task != STRUCTURE:
        if identifier or folder:
            raise Failure(f"--task {task} fills no template; leave --template and --templates out.")
        return None
    found = site_templates(settings, folder)
    if identifier not in found:
        raise Failure(f"--task {task} needs --template ID, one of {', '.join(found)}.")
    return found[identifier]


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


def _filled(written: Filled) -> dict[str, Any]:
    """A filled template as JSON: every field with what the report says of it, and where."""
    fields = zip(written.template.fields, written.fields, strict=True)
    return {
        "template": written.template.identifier,
        "title": written.template.title,
        "language": written.language,
        "notice": written.card.notice,
        "card": asdict(written.card),
        "fields": [{**asdict(filled), "label": field.path, "unit": field.unit} for field, filled in fields],
        "text": as_text(written),
        "html": as_html(written),
        "seconds": written.seconds,
    }
