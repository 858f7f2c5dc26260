"""The reporting application that a person works in, beside the embedded FHIRcast hub."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Sequence
from typing import Any

from connectors.sandbox.cast_session import Session, anchor, new_event

Resource = dict[str, Any]


class ReportingApplication:
    """Sessions by topic, and what a person does in them. The hub that inherits it tells its subscribers."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._sessions: dict[str, Session] = {}

    def send(self, topic: str, data: str | bytes) -> None:
        """Send anything to everybody who listens to a topic."""
        raise NotImplementedError

    def open(
        self,
        topic: str,
        report: Resource,
        *,
        patient: Resource | None = None,
        studies: Sequence[Resource] = (),
    ) -> str:
        """A person opens a report; the event's id."""
        context = [{"key": "report", "resource": report}]
        context += [{"key": "patient", "resource": patient}] if patient else []
        context += [{"key": "study", "resource": study} for study in studies]
        with self._lock:
            version = secrets.token_hex(8)
            message = new_event(topic, "DiagnosticReport-open", context, version)
            self._sessions[topic] = Session(version, context, {}, message)
        return self._tell(topic, message)

    def share(self, topic: str, *resources: Resource) -> str:
        """The reporting application, or any other, shares resources in the open report."""
        entries = [
            {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
            for one in resources
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        return self._update(topic, f"app-{secrets.token_hex(8)}", bundle)

    def update_final(self, topic: str, **changes: Any) -> str:
        """The person finalises the open report: an update in which its status is final."""
        report = self._sessions[topic].context[0]["resource"]
        return self.share(topic, {**report, "status": "final", **changes})

    def select(self, topic: str) -> str:
        """The person selects something in the open report."""
        return self._tell(topic, self._about(topic, "DiagnosticReport-select"))

    def close(self, topic: str) -> str:
        """The person closes the report; what was shared is disposed of."""
        message = self._about(topic, "DiagnosticReport-close")
        with self._lock:
            self._sessions[topic] = Session()
        return self._tell(topic, message)

    def heartbeat(self, topic: str, period_seconds: float) -> str:
        """A sign of life, and the promise of another within this time."""
        context = [{"key": "period", "decimal": str(period_seconds)}]
        return self._tell(topic, new_event(topic, "Heartbeat", context))

    def _update(self, topic: str, event_id: str, bundle: Resource) -> str:
        with self._changed:
            session = self._sessions[topic]
            for entry in bundle["entry"]:
                session.content[entry["request"]["url"]] = entry["resource"]
            prior, session.version = session.version, secrets.token_hex(8)
            # Who comes late needs the version that stands.
            session.opened["event"]["context.versionId"] = session.version
            context = [anchor(session), {"key": "updates", "resource": bundle}]
            message = new_event(topic, "DiagnosticReport-update", context, session.version)
            message["id"] = event_id
            message["event"]["context.priorVersionId"] = prior
            self._changed.notify_all()
        return self._tell(topic, message)

    def _about(self, topic: str, name: str) -> Resource:
        with self._lock:
            return new_event(topic, name, [anchor(self._sessions[topic])])

    def _tell(self, topic: str, message: Resource) -> str:
        self.send(topic, json.dumps(message))
        return str(message["id"])
