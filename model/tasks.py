"""What the language half can be asked for: what each task reads, and under which title it writes.

No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.sections import FINDINGS, IMPRESSION

REPORT = "report"
CONCLUSION = "conclusion"
DETAIL = "detail"
STRUCTURE = "structure"
FACTS = "facts"
"""The plain list of what is seen and not seen, which a base learns from; no draft is asked for so."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task: what it reads and what it writes."""

    name: str
    image: bool
    """Whether it reads the images."""
    order: bool
    """Whether it reads the words of the order."""
    text: str
    """What it reads that a person wrote: FINDINGS, IMPRESSION, REPORT, or empty for none."""
    title: str
    """Title under which the answer starts: canonical of model.sections, or empty where it is no section."""
    sections: tuple[str, ...]
    """Canonical titles of the sections that the answer holds."""


_ALL = (
    Task(REPORT, True, True, "", FINDINGS, (FINDINGS, IMPRESSION)),
    Task(CONCLUSION, False, True, FINDINGS, IMPRESSION, (IMPRESSION,)),
    Task(DETAIL, False, True, IMPRESSION, FINDINGS, (FINDINGS,)),
    # The value of a field must stand in the report: the words of the order could only mislead.
    Task(STRUCTURE, False, False, REPORT, "", ()),
    Task(FACTS, True, True, "", "", ()),
)
BY_NAME = {task.name: task for task in _ALL}
TASKS = (REPORT, CONCLUSION, DETAIL, STRUCTURE)
"""What drafter.json can name: a report of images; the conclusion of findings that a person dictated; detailed
findings of an impression; the fields of a structured template from the words of a report."""


def task(name: str) -> Task:
    """The task of this name. Raises ValueError, which says which there are."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise ValueError(f"expected a task of {', '.join(BY_NAME)}, found {name!r}") from None
