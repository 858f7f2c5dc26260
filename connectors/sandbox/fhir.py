"""An embedded FHIR R4 server on loopback: the demo's FHIR server, and the fast tests'.

In memory, versioned, threaded. A browser that opens a resource's URL gets a page to read; every other
caller gets JSON, and an OperationOutcome for every failure.
"""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from werkzeug.exceptions import HTTPException
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Request, Response

from connectors.sandbox.fhir_page import resource_page
from connectors.sandbox.fhir_search import Refusal, in_part
from connectors.sandbox.fhir_statement import Lack, refuse_what_lacks, statement
from connectors.sandbox.fhir_store import FhirStore, Version
from connectors.sandbox.fhir_subscriptions import FhirSubscriptions

Resource = dict[str, Any]

JSON = "application/fhir+json"
MAX_BODY_BYTES = 16 * 2**20
DEFAULT_PAGE = 50
KEPT_SEARCHES = 64
"""Searches whose further pages are kept; an older one answers 410, as a real server's cache does."""


class FhirServer:
    """A FHIR server on 127.0.0.1. Use start and stop, or a with block.

    port: 0 takes a free one.
    lacks: what this server cannot do, for tests of clients that have to do without.
    store: where the resources are kept; a fresh one unless given.
    """

    def __init__(
        self, *, port: int = 0, lacks: frozenset[Lack] = frozenset(), store: FhirStore | None = None
    ) -> None:
        self.store = store or FhirStore()
        self.lacks = lacks
        self.subscriptions = FhirSubscriptions(self.store, lambda: self.base_url)
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._searches: OrderedDict[str, list[Resource]] = OrderedDict()
        self._searches_lock = threading.Lock()

    @property
    def base_url(self) -> str:
        """The base URL of the service, once started."""
        return f"http://127.0.0.1:{self._port}/fhir"

    def start(self) -> FhirServer:
        """Listen, and serve on a thread of its own."""
        self._server = _Server("127.0.0.1", self._port, self.application, handler=_QuietHandler)
        self._port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="sandbox-fhir",
            daemon=True,
        )
        self._thread.start()
        self.subscriptions.start()
        return self

    def stop(self) -> None:
        """Stop listening and drop open connections; what was stored stays for another start."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server.drop_connections()
        self._thread.join()
        self._server = self._thread = None
        self.subscriptions.stop()

    def __enter__(self) -> FhirServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The server as WSGI, for callers that need no socket."""
        request = Request(environ)
        request.max_content_length = MAX_BODY_BYTES
        # Read whatever came before answering: an unread body would be taken for the next request.
        try:
            body = request.get_data(cache=True)
            response = self._route(request, body)
        except Refusal as refusal:
            response = _answer(refusal.status, refusal.outcome)
        except RecursionError:
            response = _answer(400, Refusal(400, "too-long", "Nested too deeply.").outcome)
        except Exception as error:
            status = (error.code or 500) if isinstance(error, HTTPException) else 500
            response = _answer(status, Refusal(status, "exception", "The server failed.").outcome)
            response.headers["Connection"] = "close"
        return response(environ, start_response)

    def _route(self, request: Request, body: bytes) -> Response:
        if request.path != "/fhir" and not request.path.startswith("/fhir/"):
            raise Refusal(404, "not-found", "The service is below /fhir.")
        parts = [part for part in request.path.removeprefix("/fhir").split("/") if part]
        refuse_what_lacks(self.lacks, request.method, parts)
        match request.method, parts:
            case "GET", ["metadata"]:
                return _answer(200, statement(self.lacks))
            case "GET", [] if "_getpages" in request.args:
                return self._page(request.args["_getpages"], _number(request, "_getpagesoffset", 0), request)
            case "POST", []:
                return self._transaction(_resource(request, body), request)
            case "GET", [kind]:
                return self._search(kind, request, _params(request))
            case "GET" | "POST", ["Subscription", identity, "$status"]:
                return _answer(200, self.subscriptions.answer_status(identity))
            case "GET" | "POST", ["Subscription", identity, "$events"]:
                bounds = _bounds(request, body)
                return _answer(200, self.subscriptions.answer_events(identity, *bounds))
            case "POST", [kind, "_search"]:
                return self._search(kind, request, _params(request))
            case "POST", [kind]:
                return self._create(kind, _resource(request, body), request)
            case "GET", [kind, identity]:
                return self._show(self.store.read(kind, identity), request)
            case "GET", [kind, identity, "_history"]:
                return _answer(200, self._history(kind, identity))
            case "GET", [kind, identity, "_history", number]:
                return self._show(self.store.vread(kind, identity, number), request)
            case "PUT", [kind, identity]:
                if_match = None if Lack.IF_MATCH in self.lacks else request.headers.get("If-Match")
                version, new = self.store.update(kind, identity, _resource(request, body), if_match=if_match)
                return self._stored(version, 201 if new else 200, request)
            case "DELETE", [kind, identity]:
                self.store.delete(kind, identity)
                return Response(status=204)
        raise Refusal(405, "not-supported", "This server does not do that.")

    def _create(self, kind: str, resource: Resource, request: Request) -> Response:
        if resource.get("resourceType") != kind:
            raise Refusal(400, "invariant", "The type of the resource differs from the URL.")
        condition = request.headers.get("If-None-Exist")
        # A server that knows no condition creates without looking (FHIR R4 http.html#ccreate leaves it open).
        ignored = Lack.CONDITIONAL_CREATE in self.lacks
        version, new = self.store.create(resource, if_none_exist=None if ignored else condition)
        return self._stored(version, 201 if new else 200, request)

    def _stored(self, version: Version, status: int, request: Request) -> Response:
        minimal = "return=minimal" in request.headers.get("Prefer", "")
        response = Response(status=status) if minimal else _answer(status, version.resource or {})
        self._mark(response, version)
        response.headers["Location"] = f"{self.base_url}/{_location(version)}"
        return response

    def _show(self, version: Version, request: Request) -> Response:
        best = request.accept_mimetypes.best_match([JSON, "application/json", "text/html"], default=JSON)
        if best == "text/html" and "_format" not in request.args and version.resource is not None:
            response = resource_page(version.resource, self.base_url)
        else:
            response = _answer(200, version.resource or {})
        return self._mark(response, version)

    def _mark(self, response: Response, version: Version) -> Response:
        response.headers["ETag"] = f'W/"{version.number}"'
        response.headers["Vary"] = "Accept"
        return response

    def _history(self, kind: str, identity: str) -> Resource:
        versions = self.store.history(kind, identity)
        entries = []
        for version in versions:
            entry: Resource = {
                "fullUrl": f"{self.base_url}/{kind}/{identity}",
                "request": {
                    "method": version.method,
                    "url": kind if version.method == "POST" else f"{kind}/{identity}",
                },
                "response": {"status": "200", "etag": f'W/"{version.number}"', "lastModified": version.at},
            }
            if version.resource is not None:
                entry["resource"] = version.resource
            entries.append(entry)
        return {"resourceType": "Bundle", "type": "history", "total": len(entries), "entry": entries}

    def _search(self, kind: str, request: Request, params: list[tuple[str, str]]) -> Response:
        found = [version.resource for version in self.store.search(kind, params) if version.resource]
        if elements := dict(params).get("_elements"):
            found = [in_part(resource, elements) for resource in found]
        name = uuid.uuid4().hex
        with self._searches_lock:
            self._searches[name] = found
            while len(self._searches) > KEPT_SEARCHES:
                self._searches.popitem(last=False)
        return self._page(name, 0, request)

    def _page(self, name: str, offset: int, request: Request) -> Response:
        with self._searches_lock:
            found = self._searches.get(name)
        if found is None:
            raise Refusal(410, "not-found", "The pages of that search are no longer kept.")
        count = max(1, _number(request, "_count", DEFAULT_PAGE))
        bundle: Resource = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "link": [{"relation": "self", "url": self._page_url(name, offset, count)}],
            "entry": [
                {
                    "fullUrl": f"{self.base_url}/{resource['resourceType']}/{resource['id']}",
                    "resource": resource,
                    "search": {"mode": "match"},
                }
                for resource in found[offset : offset + count]
            ],
        }
        if offset + count < len(found):
            bundle["link"].append({"relation": "next", "url": self._page_url(name, offset + count, count)})
        return _answer(200, bundle)

    def _page_url(self, name: str, offset: int, count: int) -> str:
        query = urlencode({"_getpages": name, "_getpagesoffset": offset, "_count": count})
        return f"{self.base_url}?{query}"

    def _transaction(self, bundle: Resource, request: Request) -> Response:
        if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
            raise Refusal(400, "invalid", "Expected a transaction.", expression="Bundle.type")
        whole = "return=representation" in request.headers.get("Prefer", "")
        entries: list[Resource] = []
        for found, status in self.store.transaction(bundle):
            if isinstance(found, list):
                entries.append({"response": {"status": "200 OK"}, "resource": self._searchset(found)})
                continue
            response = {
                "status": {200: "200 OK", 201: "201 Created"}[status],
                "location": _location(found),
                "etag": f'W/"{found.number}"',
                "lastModified": found.at,
            }
            reads = bundle["entry"][len(entries)]["request"]["method"] == "GET"
            shown = {"resource": found.resource} if whole or reads else {}
            entries.append({"response": response, **shown})
        return _answer(200, {"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    def _searchset(self, found: list[Version]) -> Resource:
        entries = [
            {
                "fullUrl": f"{self.base_url}/{version.kind}/{version.id}",
                "resource": version.resource,
                "search": {"mode": "match"},
            }
            for version in found
        ]
        return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}


class _QuietHandler(WSGIRequestHandler):
    """Logs nothing: a request line can name a patient."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the parent's word
        pass


class _Server(ThreadedWSGIServer):
    """Keeps count of open connections, so that a stopped server is really gone."""

    daemon_threads = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _answer(status: int, resource: Resource) -> Response:
    return Response(
        json.dumps(resource, ensure_ascii=False), status=status, content_type=f"{JSON};charset=utf-8"
    )


def _location(version: Version) -> str:
    return f"{version.kind}/{version.id}/_history/{version.number}"


def _resource(request: Request, body: bytes) -> Resource:
    if request.mimetype not in {JSON, "application/json"}:
        raise Refusal(415, "not-supported", "This server reads JSON.")
    try:
        resource = json.loads(body)
    except ValueError:
        raise Refusal(400, "structure", "The body is not JSON.") from None
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise Refusal(400, "structure", "The body is not a resource.")
    return resource


def _params(request: Request) -> list[tuple[str, str]]:
    return [
        (name, value) for given in (request.args, request.form) for name, value in given.items(multi=True)
    ]


def _bounds(request: Request, body: bytes) -> tuple[str, str]:
    """eventsSinceNumber and eventsUntilNumber, from the URL or from Parameters; empty where not given."""
    given = dict(request.args)
    if request.method == "POST":
        for parameter in _resource(request, body).get("parameter", []):
            given[parameter["name"]] = str(
                parameter.get("valueString") or parameter.get("valueInteger64", "")
            )
    return given.get("eventsSinceNumber", ""), given.get("eventsUntilNumber", "")


def _number(request: Request, name: str, default: int) -> int:
    text = request.values.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 7 else default
