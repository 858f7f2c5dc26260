"""What we write, which is made as FHIR R4, as FHIR R5 has it; and a report of ours from R5 back to R4.

Pure and idempotent. It covers the resources that Prelim writes, in the shapes in which it writes them, and is
no general converter (FHIR R5 diff pages of DiagnosticReport, Provenance, Device and Attachment).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Resource = dict[str, Any]

_ENTITY_ROLES = {"derivation": "source"}
"""Roles of Provenance.entity that R5 no longer has."""
_NAME_TYPES = {
    "udi-label-name": "registered-name",
    "manufacturer-name": "registered-name",
    "model-name": "user-friendly-name",
    "other": "user-friendly-name",
}
"""Types of a device's name that R5 no longer has (device-nametype)."""


def as_r5(document: Resource) -> Resource:
    """The document as R5, whatever lies in it: Bundle entries, contained resources, Parameters."""
    converted: Resource = _converted(document, _TO_R5)
    return converted


def as_r4(document: Resource) -> Resource:
    """A DiagnosticReport of ours that an R5 server gave, alone or inside of another document, as R4."""
    converted: Resource = _converted(document, _TO_R4)
    return converted


def _converted(node: Any, converters: dict[str, Callable[[Resource], Resource]]) -> Any:
    if isinstance(node, list):
        return [_converted(item, converters) for item in node]
    if not isinstance(node, dict):
        return node
    inside = {name: _converted(value, converters) for name, value in node.items()}
    convert = converters.get(str(node.get("resourceType")))
    return convert(inside) if convert else inside


def _renamed(resource: Resource, old: str, new: str) -> Resource:
    """The resource with one element under another name, in its place; what has the new name stays."""
    if old not in resource or new in resource:
        return resource
    return {new if name == old else name: value for name, value in resource.items()}


def _report(resource: Resource) -> Resource:
    renamed = _renamed(resource, "imagingStudy", "study")
    return _with_forms(renamed, lambda size: str(size))  # R5 writes integer64 as a string in JSON


def _report_of_r4(resource: Resource) -> Resource:
    renamed = _renamed(resource, "study", "imagingStudy")
    return _with_forms(renamed, lambda size: int(size) if str(size).isdecimal() else size)


def _with_forms(report: Resource, size: Callable[[Any], Any]) -> Resource:
    forms = report.get("presentedForm")
    if not isinstance(forms, list):
        return report
    sized = [
        {**form, "size": size(form["size"])} if isinstance(form, dict) and "size" in form else form
        for form in forms
    ]
    return {**report, "presentedForm": sized}


def _provenance(resource: Resource) -> Resource:
    resource = _renamed(resource, "reason", "authorization")
    reasons = resource.get("authorization")
    if isinstance(reasons, list):
        # A CodeableReference holds its concept one level deeper than a CodeableConcept.
        wrapped = [
            reason if {"concept", "reference"} & set(reason) else {"concept": reason} for reason in reasons
        ]
        resource = {**resource, "authorization": wrapped}
    entities = resource.get("entity")
    if isinstance(entities, list):
        told = [
            {**entity, "role": _ENTITY_ROLES.get(entity.get("role", ""), entity.get("role"))}
            for entity in entities
        ]
        resource = {**resource, "entity": told}
    return resource


def _device(resource: Resource) -> Resource:
    names = resource.get("deviceName")
    if isinstance(names, list):
        resource = {name: value for name, value in resource.items() if name != "deviceName"}
        resource["name"] = [
            {
                "value": name["name"],
                "type": _NAME_TYPES.get(name.get("type", ""), name.get("type")),
                **({"display": True} if place == 0 else {}),
            }
            for place, name in enumerate(names)
        ]
    kind = resource.get("type")
    return {**resource, "type": [kind]} if isinstance(kind, dict) else resource


_TO_R5: dict[str, Callable[[Resource], Resource]] = {
    "DiagnosticReport": _report,
    "Provenance": _provenance,
    "Device": _device,
}
_TO_R4: dict[str, Callable[[Resource], Resource]] = {"DiagnosticReport": _report_of_r4}
