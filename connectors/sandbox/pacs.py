"""An image archive on loopback, shaped like Orthanc with its DICOMweb plugin: the demo's and the fast tests'.

Instances live in memory. The DICOM it is given is trusted (the demo's, the tests'); the connectors that
read from it trust nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, request
from pydicom.errors import InvalidDicomError
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from connectors.dicomweb.multipart import Parts, boundary_of
from connectors.errors import ExchangeError
from connectors.sandbox.pacs_store import SERIES_TAGS, STUDY_TAGS, Holdings, Instance, files_in, resource_of

_BOUNDARY = "prelim-sandbox-boundary"
_STUDY_KEYS = ("StudyInstanceUID", "AccessionNumber", "PatientID")


class SandboxPacs:
    """An archive with QIDO-RS, WADO-RS, STOW-RS and a feed of changes; a context manager."""

    def __init__(self, *, announce_stored: bool = False) -> None:
        """`announce_stored` announces a study as stable at each STOW-RS request, without being told to."""
        self._holdings = Holdings()
        self._announce_stored = announce_stored
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> SandboxPacs:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1, on a free port unless one is named."""
        app = _routes(self._holdings, self._announce_stored)
        self._server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, name="sandbox-pacs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; what is held stays."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None

    @property
    def root_url(self) -> str:
        """Where Orthanc's own interface would be: /changes, /studies/ID."""
        if self._server is None:
            raise RuntimeError("the sandbox archive is not started")
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def dicomweb_url(self) -> str:
        """Where DICOMweb is."""
        return f"{self.root_url}/dicom-web"

    def hold(self, source: Path) -> tuple[str, ...]:
        """Add every DICOM file of a folder or a zip file; return the UIDs of the studies they belong to."""
        return self.hold_files(files_in(source))

    def hold_files(self, files: Iterable[bytes]) -> tuple[str, ...]:
        """Add DICOM files; return the UIDs of the studies they belong to."""
        held = (self._holdings.add(data).tags["StudyInstanceUID"] for data in files)
        return tuple(dict.fromkeys(held))

    def announce(self, study_instance_uid: str) -> None:
        """Say in the feed of changes that a held study is stable. Raises KeyError when it is not held."""
        self._holdings.announce(study_instance_uid)


def _routes(holdings: Holdings, announce_stored: bool) -> Flask:
    app = Flask("connectors.sandbox.pacs")

    @app.get("/dicom-web/studies")
    def search_studies() -> Response:  # PS3.18 section 10.6
        with holdings.lock:
            found = [_study_entry(holdings, uid) for uid in holdings.studies if _matches(holdings, uid)]
        start, count = request.args.get("offset", 0, int), request.args.get("limit", len(found), int)
        return _dicom_json(found[start : start + count])

    @app.get("/dicom-web/studies/<study>/series")
    def search_series(study: str) -> Response:
        with holdings.lock:
            held = holdings.studies.get(study, {})
            return _dicom_json([_series_entry(members) for members in held.values()])

    @app.get("/dicom-web/studies/<study>")
    @app.get("/dicom-web/studies/<study>/series/<series>")
    @app.get("/dicom-web/studies/<study>/series/<series>/instances/<instance>")
    def retrieve(study: str, series: str | None = None, instance: str | None = None) -> Response:
        found = holdings.instances(study, series)  # PS3.18 section 10.4
        found = [one for one in found if instance in {None, one.sop_instance_uid}]
        if not found:
            abort(404)
        kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
        return Response(_multipart(found), content_type=kind)

    @app.post("/dicom-web/studies")
    def store() -> Response:  # PS3.18 section 10.5
        try:
            chunks = iter(lambda: request.stream.read(1 << 16), b"")
            bodies = [b"".join(part) for part in Parts(chunks, boundary_of(request.content_type or ""))]
        except ExchangeError:
            abort(400)
        taken, refused = [], 0
        for body in bodies:
            try:
                taken.append(holdings.add(body))
            except InvalidDicomError:
                refused += 1
        if announce_stored:
            for study in dict.fromkeys(instance.tags["StudyInstanceUID"] for instance in taken):
                holdings.announce(study)
        return _stored(taken, refused)

    @app.get("/changes")
    def changes() -> Response:
        with holdings.lock:
            feed = list(enumerate(holdings.changes, 1))
        if "last" in request.args:
            return _json(_page(feed[-1:], len(feed), done=True))
        since, limit = request.args.get("since", 0, int), request.args.get("limit", 100, int)
        later = [change for change in feed if change[0] > since]
        return _json(_page(later[:limit], len(feed), done=len(later) <= limit))

    @app.get("/studies/<resource>")
    def study_resource(resource: str) -> Response:
        with holdings.lock:
            all_tags = [holdings.instances(uid)[0].tags for uid in holdings.studies]
        for tags in all_tags:
            if resource_of(tags["PatientID"], tags["StudyInstanceUID"]) == resource:
                return _json(_resource(resource, tags))
        return _json({"HttpStatus": 404}, 404)

    return app


def _matches(holdings: Holdings, study: str) -> bool:
    """Whether a study fits the query's keys: single values, * and ? as PS3.4 section C.2.2.2.4 has them."""
    tags = holdings.instances(study)[0].tags
    for key in _STUDY_KEYS:
        wanted = request.args.get(key) or request.args.get(STUDY_TAGS[key][0])
        if wanted and not fnmatchcase(tags[key], wanted.replace("[", "[[]")):
            return False
    return True


def _study_entry(holdings: Holdings, study: str) -> dict[str, Any]:
    instances = holdings.instances(study)
    modalities = sorted({instance.tags["Modality"] for instance in instances})
    return {
        **_attributes(instances[0].tags, STUDY_TAGS),
        "00080061": {"vr": "CS", "Value": modalities},
        "00201206": {"vr": "IS", "Value": [len(holdings.studies[study])]},
        "00201208": {"vr": "IS", "Value": [len(instances)]},
    }


def _series_entry(members: dict[str, Instance]) -> dict[str, Any]:
    tags = next(iter(members.values())).tags
    return {
        **_attributes(tags, {**SERIES_TAGS, "StudyInstanceUID": STUDY_TAGS["StudyInstanceUID"]}),
        "00201209": {"vr": "IS", "Value": [len(members)]},
    }


def _attributes(tags: dict[str, str], wanted: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Write values in the DICOM JSON model (PS3.18 annex F)."""
    return {
        tag: {"vr": vr, "Value": [{"Alphabetic": tags[name]} if vr == "PN" else tags[name]]}
        if tags[name]
        else {"vr": vr}
        for name, (tag, vr) in wanted.items()
    }


def _multipart(instances: list[Instance]) -> Iterator[bytes]:
    for instance in instances:
        yield f"\r\n--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        yield instance.data
    yield f"\r\n--{_BOUNDARY}--\r\n".encode()


def _stored(taken: list[Instance], refused: int) -> Response:
    """Answer as PS3.18 section 10.5.3: 200 all stored, 202 some, 409 none."""
    answer: dict[str, Any] = {}
    if taken:
        answer["00081199"] = {"vr": "SQ", "Value": [_reference(instance) for instance in taken]}
    if refused:
        reason = {"00081197": {"vr": "US", "Value": [0xC000]}}  # Cannot understand (PS3.18 annex I.2.2)
        answer["00081198"] = {"vr": "SQ", "Value": [reason] * refused}
    return _dicom_json(answer, 200 if not refused else 202 if taken else 409)


def _reference(instance: Instance) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [instance.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [instance.sop_instance_uid]},
    }


def _page(changes: list[tuple[int, tuple[str, str]]], newest: int, *, done: bool) -> dict[str, Any]:
    listed = [
        {
            "ChangeType": kind,
            "ID": resource,
            "Path": f"/studies/{resource}",
            "ResourceType": "Study",
            "Seq": seq,
        }
        for seq, (kind, resource) in changes
    ]
    return {"Changes": listed, "Done": done, "Last": changes[-1][0] if changes else newest}


def _resource(resource: str, tags: dict[str, str]) -> dict[str, Any]:
    person = {name: tags[name] for name in STUDY_TAGS if name.startswith("Patient")}
    study = {name: tags[name] for name in STUDY_TAGS if name.startswith("Study") or name == "AccessionNumber"}
    return {
        "ID": resource,
        "IsStable": True,
        "MainDicomTags": study,
        "PatientMainDicomTags": person,
        "Type": "Study",
    }


def _json(body: object, status: int = 200, kind: str = "application/json") -> Response:
    return Response(json.dumps(body), status, content_type=kind)


def _dicom_json(body: object, status: int = 200) -> Response:
    return _json(body, status, "application/dicom+json")


class _Quiet(WSGIRequestHandler):
    """Logs nothing: its lines would hold the URLs, and those name studies."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - werkzeug's name
        pass
