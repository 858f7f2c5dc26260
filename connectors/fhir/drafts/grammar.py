"""The few elements that a draft is written in, so that they are seen to be FHIR R4 at once.

Pure. Narrower than R4 everywhere: whatever it takes is valid, which a test holds against `fhir.resources`.
Of what it does not take it says nothing; `resources.validated` asks the whole of R4 then. It exists because
that costs twenty times as much, for every draft.
"""

# pydantic reads the hints when the classes are made: they stay expressions here.
from datetime import date, datetime
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

_CLOSED = ConfigDict(extra="forbid", strict=True)


def _instant(value: str) -> str:
    datetime.fromisoformat(value)
    return value


def _date(value: str) -> str:
    date.fromisoformat(value)
    return value


Text = Annotated[str, StringConstraints(pattern=r"^[ \r\n\t\S]*\S[ \r\n\t\S]*$")]
Code = Annotated[str, StringConstraints(pattern=r"^[^\s]+(\s[^\s]+)*$")]
Uri = Annotated[str, StringConstraints(pattern=r"^\S+$")]
Base64 = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$", min_length=4),
]
Instant = Annotated[
    str,
    StringConstraints(pattern=r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"),
    AfterValidator(_instant),
]
Date = Annotated[str, StringConstraints(pattern=r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_date)]


class _Closed(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]


class Coding(_Closed):
    system: NotRequired[Uri]
    code: NotRequired[Code]
    display: NotRequired[Text]


class Concept(_Closed):
    coding: NotRequired[Annotated[list[Coding], Field(min_length=1)]]
    text: NotRequired[Text]


class Identifier(_Closed):
    use: NotRequired[Literal["official"]]
    type: NotRequired[Concept]
    system: Uri
    value: Text


class Reference(_Closed):
    reference: NotRequired[Text]
    type: NotRequired[Uri]
    identifier: NotRequired[Identifier]
    display: NotRequired[Text]


class Extension(_Closed):
    url: Uri
    valueCode: Code


class Extended(_Closed):
    extension: Annotated[list[Extension], Field(min_length=1)]


class Meta(_Closed):
    security: NotRequired[list[Coding]]
    tag: NotRequired[list[Coding]]


class Narrative(_Closed):
    status: Literal["additional"]
    div: Text


class Attachment(_Closed):
    contentType: Code
    language: Code
    data: Base64
    size: Annotated[int, Field(ge=0, le=2**31 - 1)]
    hash: Base64
    title: Text
    creation: Instant


class HumanName(_Closed):
    family: NotRequired[Text]
    given: NotRequired[list[Text]]
    extension: NotRequired[list[Extension]]


class Patient(_Closed):
    resourceType: Literal["Patient"]
    identifier: list[Identifier]
    name: list[HumanName]
    gender: Literal["male", "female", "other", "unknown"]
    birthDate: NotRequired[Date]


class DeviceName(_Closed):
    name: Text
    type: Literal["model-name"]


class DeviceVersion(_Closed):
    type: Concept
    value: Text


class Device(_Closed):
    resourceType: Literal["Device"]
    identifier: list[Identifier]
    status: Literal["active"]
    manufacturer: Text
    deviceName: list[DeviceName]
    type: Concept
    version: list[DeviceVersion]


class DiagnosticReport(_Closed):
    resourceType: Literal["DiagnosticReport"]
    id: NotRequired[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]]
    meta: Meta
    text: Narrative
    identifier: list[Identifier]
    basedOn: list[Reference]
    status: Literal["preliminary", "partial"]
    category: list[Concept]
    code: Concept
    subject: Reference
    encounter: NotRequired[Reference]
    effectiveDateTime: NotRequired[Date]
    _effectiveDateTime: NotRequired[Extended]
    issued: Instant
    result: NotRequired[list[Reference]]
    imagingStudy: list[Reference]
    conclusion: NotRequired[Text]
    conclusionCode: NotRequired[list[Concept]]
    presentedForm: list[Attachment]


class Agent(_Closed):
    type: Concept
    who: Reference


class Entity(_Closed):
    role: Literal["source"]
    what: Reference


class Provenance(_Closed):
    resourceType: Literal["Provenance"]
    target: Annotated[list[Reference], Field(min_length=1)]
    recorded: Instant
    reason: list[Concept]
    agent: Annotated[list[Agent], Field(min_length=1)]
    entity: list[Entity]


class Quantity(_Closed):
    value: Annotated[float, Field(ge=0, le=1)]
    unit: Text
    system: Uri
    code: Code


class Component(_Closed):
    code: Concept
    valueCodeableConcept: NotRequired[Concept]
    valueQuantity: NotRequired[Quantity]


class Annotation(_Closed):
    text: Text


class Observation(_Closed):
    resourceType: Literal["Observation"]
    meta: Meta
    identifier: list[Identifier]
    basedOn: list[Reference]
    status: Literal["preliminary"]
    category: list[Concept]
    code: Concept
    subject: Reference
    encounter: NotRequired[Reference]
    effectiveDateTime: NotRequired[Date]
    _effectiveDateTime: NotRequired[Extended]
    issued: Instant
    valueCodeableConcept: Concept
    note: list[Annotation]
    bodySite: NotRequired[Concept]
    device: Reference
    derivedFrom: list[Reference]
    component: NotRequired[list[Component]]


class Request(_Closed):
    method: Literal["POST", "PUT"]
    url: Uri
    ifNoneExist: NotRequired[Text]
    ifMatch: NotRequired[Text]


Written = Annotated[
    Patient | Device | DiagnosticReport | Provenance | Observation, Field(discriminator="resourceType")
]


class Entry(_Closed):
    fullUrl: Uri
    resource: Written
    request: Request


class Bundle(_Closed):
    resourceType: Literal["Bundle"]
    type: Literal["transaction"]
    entry: Annotated[list[Entry], Field(min_length=1)]


_BUNDLE = TypeAdapter(Bundle)


def is_plainly_valid(bundle: object) -> bool:
    """Whether a Bundle is written in these elements alone, and so is valid; False says nothing."""
    try:
        _BUNDLE.validate_python(bundle)
    except ValidationError:
        return False
    return True
