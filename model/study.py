"""What goes into a drafter and what comes out. No torch here: the plugin imports this."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.headings import organ_in, title_in, uncertain_in
from model.sections import FINDINGS
from model.structured.template import Template

MARKED, REWRITTEN = "marked", "rewritten"
"""What the guard does to a sentence that is not supported."""


@dataclass(frozen=True, slots=True)
class Volume:
    """The pixels of one series, in patient orientation."""

    voxels: NDArray[np.float32]
    """(slices, height, width). Hounsfield units for CT; the stored values after rescale otherwise.
    Slices run from feet to head, rows from the front to the back, columns from the patient's right to
    the patient's left (the usual axial display)."""
    spacing_mm: tuple[float, float, float]
    """Distance between slices, rows and columns, in millimetres."""
    modality: str
    """DICOM modality: CT, MR, ..."""
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class ClinicalContext:
    """What the order says. Untrusted words: the prompt builder escapes them, none is an instruction."""

    procedure: str = ""
    clinical_question: str = ""
    history: str = ""
    modality: str = ""
    sex: str = "unknown"
    age_years: int | None = None
    language: str = ""
    """ISO 639-1 code of the language that the report is asked for in; empty where the order says none."""
    prior: str = ""
    """Text of the prior report that this study is compared with; empty where none is available."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a sentence rests on."""

    kind: str
    """image (a finding head), findings (a person dictated them), order, prior or template."""
    finding: str = ""
    """The finding's name in model.facts words; empty when kind is not image."""
    side: str = ""
    """left, right or empty."""
    probability: float | None = None
    """Between 0 and 1, as the finding head gave it."""
    slice_index: int | None = None
    """Index into Volume.voxels of the slice that shows it best."""
    box: tuple[int, int, int, int, int, int] | None = None
    """First slice, row and column and one past the last of each, as indices into Volume.voxels."""
    drop: float | None = None
    """By how much the probability falls when what the box holds is taken out of the image; None where
    nothing was taken out. A drop near zero: the box is no evidence."""
    millimetres: float | None = None
    """Largest diameter of a nodule or depth of a collection, as measured in the image."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a draft, the section it stands in, and what supports it."""

    section: str
    """A canonical title of model.sections, whatever the language of the draft."""
    text: str
    evidence: tuple[Evidence, ...] = ()
    organ: str = ""
    """A canonical organ of model.facts.ORGANS under which a finding stands; empty outside the Findings."""
    confidence: float | None = None
    """Between 0 and 1: how probable it is that what the sentence says of the image is right; None where it
    says nothing of the image."""
    guarded: str = ""
    """What the guard did: empty, rewritten or marked. A marked sentence must be read with doubt."""
    reason: str = ""
    """Why the guard did it, for the reader and without patient data; empty when it did not say."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Which weights wrote a draft."""

    name: str
    version: str
    weights_sha256: str
    """SHA-256 over the names and hashes of all files of the model folder."""
    prompt_version: str
    notice: str
    """The sentence that must stand on every draft of these weights."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A drafted report: sentences in reading order."""

    sentences: tuple[Sentence, ...]
    card: ModelCard
    findings: dict[str, float] = field(default_factory=dict)
    """Probability of each finding head, for example {"pleural effusion, left": 0.97}."""
    language: str = "en"
    """ISO 639-1 code of the language that the draft is written in."""
    confidence: float | None = None
    """Between 0 and 1: how probable it is that every finding of the draft is right; None where no image was
    read."""
    tokens: int = 0
    """Tokens generated."""
    seconds: float = 0.0
    """Time of the whole draft, without loading the model."""

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """(title, text) in reading order, the titles in the language of the draft.

        Findings that stand under an organ are told a line an organ ("Lungs: ..."). A marked sentence
        ends with the mark of its language.
        """
        titles = dict.fromkeys(sentence.section for sentence in self.sentences)
        return tuple((title_in(title, self.language), self.body_of(title)) for title in titles)

    def body_of(self, section: str) -> str:
        """The text of the section with this canonical title; empty when the draft has none."""
        lines: dict[str, list[str]] = {}
        for sentence in self.sentences:
            if sentence.section == section:
                organ = sentence.organ if section == FINDINGS else ""
                lines.setdefault(organ, []).append(self._told(sentence))
        return "\n".join(
            f"{organ_in(organ, self.language)}: {' '.join(told)}" if organ else " ".join(told)
            for organ, told in lines.items()
        )

    def _told(self, sentence: Sentence) -> str:
        mark = f" {uncertain_in(self.language)}" if sentence.guarded == MARKED else ""
        return f"{sentence.text}{mark}"

    @property
    def text(self) -> str:
        """The sections under their titles, without the notice."""
        return "\n\n".join(f"{title}\n{text}" for title, text in self.sections)

    @property
    def sha256(self) -> str:
        """Hash of the text as UTF-8, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class FilledField:
    """What a report says of one field of a structured template."""

    identifier: str
    """Of the field, in its template."""
    values: tuple[str, ...] = ()
    """Options chosen, one number in the field's unit, or sentences; empty where the report says nothing."""
    evidence: tuple[str, ...] = ()
    """The sentences of the report that say so; never empty where there are values."""
    guarded: str = ""
    """rewritten where the model wrote what the report does not say; empty elsewhere."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A structured template with what a report says of its fields."""

    template: Template
    fields: tuple[FilledField, ...]
    """One for each field of the template, in its order."""
    card: ModelCard
    language: str = "en"
    """ISO 639-1 code of the language of the report."""
    seconds: float = 0.0


class Unfit(Exception):
    """These weights cannot do what is asked of them; the message says why, without patient data."""


class Unsure(Unfit):
    """The images were read and are not understood well enough: the drafter abstains rather than guesses."""


class WeightsError(Exception):
    """A model folder is incomplete, altered or not what it says; the message says which file and why."""


class Drafter(Protocol):
    """Writes a draft from a volume and the words of an order."""

    card: ModelCard

    def draft(self, volume: Volume, context: ClinicalContext) -> Draft:
        """Draft one report. Raises Unfit when the volume cannot be assessed."""
        ...

    def conclude(self, findings: str, context: ClinicalContext) -> Draft:
        """Draft the Impression, and nothing else, of findings that a person dictated.

        Raises Unfit when these weights were not trained for it, or the findings are empty or too long.
        """
        ...

    def detail(self, impression: str, context: ClinicalContext) -> Draft:
        """Draft the Findings, and nothing else, that stand behind an impression which a person dictated.

        Raises Unfit when these weights were not trained for it, or the impression is empty or too long.
        """
        ...

    def fill(self, template: Template, report: str, context: ClinicalContext) -> Filled:
        """Fill a structured template with what a report says; what it does not say is left open.

        Raises Unfit when these weights were not trained for it, or the report is empty or too long.
        """
        ...
