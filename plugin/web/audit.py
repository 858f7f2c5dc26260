"""Searching the audit log, downloading what was found, and checking the whole of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, jsonify, render_template, request, url_for

from plugin.audit.log import SEARCH_LIMIT, Query, search
from plugin.audit.tree import Frontier
from plugin.audit.verify import Checkpoint, Verification, verify
from plugin.db import Database
from plugin.tables import AuditHead, AuditLeaf
from plugin.web.leaf import COLUMNS, csv_row, leaf_fields
from plugin.web.parameters import BadQuery, Parameters

PLAIN = Query()
"""A search for everything."""
NAMES = ("case", "accession", "actor", "action", "signer", "since", "until", "limit", "after")


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to one search."""

    query: Query
    leaves: Sequence[AuditLeaf]
    size: int
    root: str
    following: int | None
    """`after` of the search that reads on; None when all was found."""

    @property
    def checkpoint(self) -> str:
        """SIZE:ROOT, as `prelim audit verify --against` takes it."""
        return f"{self.size}:{self.root}"


def read_query() -> Query:
    """The search that the request's query string asks for. Raises BadQuery."""
    given = Parameters(request, NAMES)
    return Query(
        case_id=given.text("case"),
        accession=given.text("accession"),
        actor=given.text("actor"),
        action=given.text("action"),
        signer=given.text("signer"),
        since=given.moment("since"),
        until=given.moment("until", end_of_day=True),
        limit=given.whole("limit", PLAIN.limit, 1, SEARCH_LIMIT),
        after=given.whole("after", PLAIN.after, -1),
    )


def query_string(query: Query, **other: int) -> str:
    """The query string of a search, with some values replaced; what is not given is left out."""
    values: dict[str, object] = {
        "case": query.case_id,
        "accession": query.accession,
        "actor": query.actor,
        "action": query.action,
        "signer": query.signer,
        "since": query.since.isoformat() if query.since else "",
        "until": query.until.isoformat() if query.until else "",
        "limit": query.limit if query.limit != PLAIN.limit else "",
        "after": query.after if query.after != PLAIN.after else "",
    }
    return urlencode({name: value for name, value in {**values, **other}.items() if value != ""})


def register(app: Flask, database: Database) -> None:
    """Add the audit pages, their downloads and their JSON twins."""
    pages = Blueprint("audit", __name__)

    def look() -> Found:
        query = read_query()
        with database.read() as session:
            leaves = search(session, query)
            last = leaves[-1].position if len(leaves) == query.limit else None
            if last is not None and not search(session, replace(query, after=last, limit=1)):
                last = None
            head = session.get_one(AuditHead, 1)
        tree = Frontier(head.size, tuple(bytes.fromhex(root) for root in head.roots))
        return Found(query, leaves, tree.size, tree.root.hex(), last)

    @pages.get("/audit")
    def page() -> str:
        found = look()
        entries = [leaf_fields(leaf) for leaf in found.leaves]
        permalink = query_string(found.query)
        return render_template(
            "audit.html",
            found=found,
            entries=entries,
            permalink=permalink,
            following=query_string(found.query, after=found.following) if found.following is not None else "",
            newest=query_string(Query(after=max(-1, found.size - 1 - PLAIN.limit))),
            most=SEARCH_LIMIT,
        )

    @pages.get("/audit.csv")
    def as_csv() -> Response:
        found = look()
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        writer.writerows(csv_row(leaf) for leaf in found.leaves)
        return _download(out.getvalue(), "text/csv", "audit.csv", found)

    @pages.get("/audit.ndjson")
    def as_ndjson() -> Response:
        found = look()
        lines = (json.dumps(leaf_fields(leaf), ensure_ascii=False) + "\n" for leaf in found.leaves)
        return _download("".join(lines), "application/x-ndjson", "audit.ndjson", found)

    @pages.get("/api/audit")
    def twin() -> Response:
        found = look()
        following = found.following
        return jsonify(
            {
                "entries": [leaf_fields(leaf) for leaf in found.leaves],
                "size": found.size,
                "root": found.root,
                "next": None
                if following is None
                else f"{url_for('audit.twin')}?{query_string(found.query, after=following)}",
            }
        )

    def check() -> tuple[Verification, str]:
        against = Parameters(request, ("against",)).text("against")
        try:
            checkpoint = Checkpoint.parse(against) if against else None
        except ValueError as error:
            raise BadQuery(str(error)) from None
        with database.read() as session:
            return verify(session, checkpoint), against

    @pages.get("/audit/verify")
    def verification() -> str:
        result, against = check()
        return render_template("verify.html", result=result, against=against)

    @pages.get("/api/audit/verify")
    def verification_twin() -> Response:
        result, against = check()
        return jsonify({**asdict(result), "against": against or None})

    app.register_blueprint(pages)


def _download(body: str, mimetype: str, name: str, found: Found) -> Response:
    answer = Response(body, content_type=f"{mimetype}; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if found.following is not None:
        # RFC 8288: a download that is cut at its limit says where it goes on.
        onward = query_string(found.query, after=found.following)
        answer.headers["Link"] = f'<{request.path}?{onward}>; rel="next"'
    return answer
