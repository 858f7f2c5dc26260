"""How a study is announced: Orthanc's feed of changes, or polling an archive that has no feed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.dicomweb.patients import patient_of
from connectors.dicomweb.peer import Peer
from connectors.dicomweb.uids import checked_uid
from connectors.errors import Malformed
from connectors.exchange import StudyRef

PAGE = 100
"""Changes asked for at once."""
PAGES_AT_MOST = 50
"""Pages read in one call; the next call goes on from there."""
_RESOURCE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}\Z")


def changes(
    orthanc_root_url: str,
    since: int,
    *,
    timeout_seconds: float = 10.0,
    auth: tuple[str, str] | None = None,
) -> tuple[tuple[StudyRef, ...], int]:
    """Read which studies became stable after change number `since` (0: from the beginning).

    Returns the studies, each once and in the order of the feed, and the number to pass next time: store
    it only after the studies are stored. A study that gets more images is announced again. Modalities
    and instance count are not in the feed: find the study by its UID for those.

    Raises Unreachable, Rejected or Malformed.
    """
    with Peer(
        orthanc_root_url,
        "image archive",
        timeout_seconds=timeout_seconds,
        deadline_seconds=6 * timeout_seconds,
        auth=auth,
    ) as peer:
        stable: dict[str, None] = {}
        for _ in range(PAGES_AT_MOST):
            resources, last, done = _page(peer, since)
            if 0 < last < since:
                # The feed ends before the change we know: the archive was set up anew and counts again.
                since = 0
                continue
            stable.update(dict.fromkeys(resources))
            if done or last <= since:
                since = max(since, last)
                break
            since = last
        found = (_study(peer, resource) for resource in stable)
        return tuple(study for study in found if study is not None), since


def newest_change(
    orthanc_root_url: str, *, timeout_seconds: float = 10.0, auth: tuple[str, str] | None = None
) -> int:
    """Return the number of the latest change: where to start on an archive that is already full."""
    with Peer(
        orthanc_root_url,
        "image archive",
        timeout_seconds=timeout_seconds,
        deadline_seconds=timeout_seconds,
        auth=auth,
    ) as peer:
        return _number(_mapping(peer.json("/changes", params={"last": ""})), "Last")


def _page(peer: Peer, since: int) -> tuple[list[str], int, bool]:
    """Return (resources of studies that became stable, number of the last change, whether it was the end)."""
    told = _mapping(peer.json("/changes", params={"since": str(since), "limit": str(PAGE)}))
    listed = told.get("Changes")
    if not isinstance(listed, list) or not all(isinstance(change, dict) for change in listed):
        raise Malformed("expected a list of changes from the image archive: is this the root of an Orthanc?")
    resources = [str(c.get("ID", "")) for c in listed if c.get("ChangeType") == "StableStudy"]
    if not all(_RESOURCE.match(resource) for resource in resources):
        raise Malformed("a change names a study by something that is no Orthanc identifier")
    return resources, _number(told, "Last"), told.get("Done") is True


def _study(peer: Peer, resource: str) -> StudyRef | None:
    """Resolve one study; None when it was deleted since."""
    answer = peer.json(f"/studies/{resource}", absent_ok=True)
    if answer is None:
        return None
    told = _mapping(answer)
    study, person = _mapping(told.get("MainDicomTags")), _mapping(told.get("PatientMainDicomTags"))
    return StudyRef(
        study_instance_uid=checked_uid(_text(study, "StudyInstanceUID"), "study instance UID"),
        patient=patient_of(
            identifier=_text(person, "PatientID"),
            issuer=_text(person, "IssuerOfPatientID"),
            person_name=_text(person, "PatientName"),
            birth_date=_text(person, "PatientBirthDate"),
            sex=_text(person, "PatientSex"),
        ),
        accession=_text(study, "AccessionNumber"),
        description=_text(study, "StudyDescription"),
    )


def _mapping(told: Any) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise Malformed("expected a JSON object from the image archive: is this the root of an Orthanc?")
    return told


def _number(told: dict[str, Any], key: str) -> int:
    value = told.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Malformed(f"expected a whole number {key} in the image archive's changes")
    return value


def _text(told: dict[str, Any], key: str) -> str:
    value = told.get(key)
    return value.strip() if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What polling last saw of one study."""

    instance_count: int
    since_seconds: float
    """When this count was first seen, on the caller's clock."""
    announced: bool = False


def settled(
    found: Iterable[StudyRef],
    sightings: Mapping[str, Sighting],
    *,
    now_seconds: float,
    quiet_seconds: float,
) -> tuple[tuple[StudyRef, ...], dict[str, Sighting]]:
    """Tell which polled studies have stopped growing: for archives that announce nothing.

    A study is ready once its NumberOfStudyRelatedInstances (0020,1208) is above zero and was the same in
    polls at least `quiet_seconds` apart. It is announced once, and again after it has grown and settled
    anew. `sightings` is what the previous call returned, by study instance UID; studies not found this
    time keep theirs. The time is the caller's: nothing here sleeps or reads a clock.
    """
    ready: list[StudyRef] = []
    seen = dict(sightings)
    for study in found:
        count = study.instance_count or 0
        before = seen.get(study.study_instance_uid)
        if before is None or before.instance_count != count:
            seen[study.study_instance_uid] = Sighting(count, now_seconds)
        elif count > 0 and not before.announced and now_seconds - before.since_seconds >= quiet_seconds:
            seen[study.study_instance_uid] = Sighting(count, before.since_seconds, announced=True)
            ready.append(study)
    return tuple(ready), seen
