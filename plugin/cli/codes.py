"""`prelim codes`: the site's procedure codes in LOINC and RadLex, and those that the map lacks."""

from __future__ import annotations

import click

from connectors.fhir.drafts.codes import LOINC, RADLEX
from plugin.cli.output import as_json, document, table
from plugin.cli.stored import stored
from plugin.pipeline import codes as codes_of
from plugin.procedures import unmapped
from plugin.settings import load


@click.group()
def codes() -> None:
    """Show the site's procedure codes in LOINC and RadLex, and which are lacking."""


@codes.command("list")
@as_json
def list_command(as_json: bool) -> None:
    """List what the file of PRELIM_PROCEDURE_CODES says."""
    rows = []
    for (system, code), codings in sorted(codes_of(load()).codes.items()):
        named = {coding.system: coding for coding in codings}
        row = {"system": system, "code": code}
        for name, uri in (("loinc", LOINC), ("radlex", RADLEX)):
            row[name] = named[uri].code if uri in named else ""
            row[f"{name}_display"] = named[uri].text if uri in named else ""
        rows.append(row)
    if as_json:
        document(rows)
        return
    table(
        ("system", "code", "LOINC", "", "RadLex", ""),
        [tuple(row.values()) for row in rows],
    )


@codes.command("unmapped")
@as_json
def unmapped_command(as_json: bool) -> None:
    """List the procedures of cases that the map lacks, the most frequent first."""
    known = codes_of(load())
    with stored() as database, database.read() as session:
        lacking = unmapped(session, known)
    if as_json:
        document(
            [
                {
                    "system": one.procedure.system,
                    "code": one.procedure.code,
                    "text": one.procedure.text,
                    "cases": one.cases,
                    "newest": one.newest.date().isoformat(),
                }
                for one in lacking
            ]
        )
        return
    table(
        ("system", "code", "words of the order", "cases", "newest"),
        [
            (o.procedure.system, o.procedure.code, o.procedure.text, o.cases, o.newest.date().isoformat())
            for o in lacking
        ],
    )
