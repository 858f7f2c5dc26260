"""The sentences of a draft as the case page tells them: what each rests on and how sure it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.facts import head_name
from model.headings import organ_in, title_in
from model.readings import SEEN
from model.sections import FINDINGS
from model.study import MARKED, REWRITTEN
from plugin.tables import DraftRecord

Pictures = Mapping[tuple[int, str], int]
"""(slice index, finding head) -> ordinal of the picture; the head is empty for a picture that names none."""

_IMAGE = "image"
_GUARDED = {
    MARKED: ("Uncertain", "What it says is not well supported by the images and the order."),
    REWRITTEN: ("Rewritten", "The model's own words did not agree with the images or the order."),
}


def sections(row: DraftRecord, pictures: Pictures) -> list[dict[str, Any]]:
    """Each section with its sentences; slices are counted from 1."""
    sentences: dict[str, list[dict[str, Any]]] = {}
    for kept in row.sentences:
        title = title_in(kept["section"], row.language)
        sentences.setdefault(title, []).append(_sentence(kept, row.language, pictures))
    return [
        {
            "title": title,
            "text": text,
            "sentences": _under_organs(sentences.get(title) or [_sentence(_plain(text), "", {})]),
        }
        for title, text in row.sections
    ]


def _plain(text: str) -> dict[str, Any]:
    """A section of which no sentences were kept."""
    return {"section": "", "text": text, "evidence": []}


def _under_organs(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sentences in the order of the text: those of an organ together, where its first one stands."""
    organs = list(dict.fromkeys(sentence["organ"] for sentence in told))
    return sorted(told, key=lambda sentence: organs.index(sentence["organ"]))


def _sentence(kept: Mapping[str, Any], language: str, pictures: Pictures) -> dict[str, Any]:
    """One sentence. Drafts that were stored before organs and confidence were told have no such keys."""
    guarded = kept.get("guarded", "")
    label, why = _GUARDED.get(guarded, ("", ""))
    organ = kept.get("organ", "") if kept["section"] == FINDINGS else ""
    return {
        "text": kept["text"],
        "organ": organ_in(organ, language) if organ else "",
        "confidence": kept.get("confidence"),
        "guarded": guarded,
        "guarded_label": label,
        "why": kept.get("reason") or why if label else "",
        "evidence": [_evidence(one, pictures) for one in kept["evidence"]],
    }


def _evidence(one: Mapping[str, Any], pictures: Pictures) -> dict[str, Any]:
    # A finding that was not seen has no slice to look at, and nothing to be taken out.
    seen = (one["probability"] or 0.0) >= SEEN
    index: int | None = one["slice_index"] if seen else None
    head = head_name(one["finding"], one["side"])
    box = one.get("box") if seen else None
    return {
        "kind": one["kind"],
        "finding": one["finding"],
        "side": one["side"],
        "probability": one["probability"],
        "slice": None if index is None else index + 1,
        "picture": None if index is None else pictures.get((index, head), pictures.get((index, ""))),
        "box": box,
        "drop": one.get("drop") if seen else None,
        "millimetres": one.get("millimetres") if seen else None,
        "no_evidence": seen and one["kind"] == _IMAGE and "box" in one and box is None,
    }
