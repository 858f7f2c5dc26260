"""What goes into a drafter and what comes out. No torch here: the plugin imports this."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a draft, the section it stands in, and what supports it."""

    section: str
    text: str
    evidence: tuple[Evidence, ...] = ()


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
    tokens: int = 0
    """Tokens generated."""
    seconds: float = 0.0
    """Time of the whole draft, without loading the model."""

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """(title, text) in reading order."""
        titles = dict.fromkeys(sentence.section for sentence in self.sentences)
        return tuple(
            (title, " ".join(s.text for s in self.sentences if s.section == title)) for title in titles
        )

    @property
    def text(self) -> str:
        """The sections under their titles, without the notice."""
        return "\n\n".join(f"{title}\n{text}" for title, text in self.sections)

    @property
    def sha256(self) -> str:
        """Hash of the text as UTF-8, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Unfit(Exception):
    """These weights cannot do what is asked of them; the message says why, without patient data."""


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
