"""What a draft may claim: its sentences are compared with the finding heads, the order and the prior report.

The heads decide. Where a head is unsure (DOUBT), the writer of the sentences, who read the image's features
and not only the probability, may say the contrary: the sentence stays and is marked. In this band a
rewritten sentence would be wrong nearly as often as the one it replaces, and a mark costs a glance. Outside
of it the heads are right far more often than the writer, and a sentence that contradicts them is rewritten
by fixed phrases. What no reading can put right (a finding that no head looks for, the side of the order,
words without any claim) is marked; a prior or an organ that does not exist is taken out.

The Findings speak first: the Impression states exactly what they state. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from model.confidence import sentence_confidence
from model.evidence import evidence_of
from model.facts import BY_NAME, ORGANS, SIDES, head_name, split_head_name
from model.guarding.faults import (
    NO_SIDE,
    UNPROVEN,
    Fault,
    denies_everything,
    faults_of,
    sides_of,
)
from model.guarding.order import echoes
from model.guarding.rewriting import denied, findings_in, stated
from model.readings import SEEN, Readings
from model.sections import FINDINGS, IMPRESSION
from model.statements import Statement, speaks_of_prior, statements_of
from model.study import ClinicalContext, Evidence, Sentence
from model.wording import concluded, nothing, present

DOUBT = (0.35, 0.65)
"""Probabilities between which a head does not overrule the writer."""
REWRITTEN, MARKED = "rewritten", "marked"
_GUARDED = (FINDINGS, IMPRESSION)
_PASSES = 4


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A claim of a draft that nothing supports."""

    section: str
    text: str
    reason: str
    """One of the words of model.guarding.faults."""
    finding: str
    """Empty where the whole sentence is meant."""
    marked: bool
    """Whether the sentence is marked, so that a reader knows."""


def guard(
    sentences: Sequence[Sentence], readings: Readings, context: ClinicalContext, language: str
) -> tuple[Sentence, ...]:
    """The sentences with what does not hold rewritten, marked or left out, and what is missing added.

    1. Each head is true or not: by its probability, or in doubt by what the Findings say.
    2. Under every organ what does not hold goes, and what is true and not said is written.
    3. The Impression likewise: it states what is true, and nothing else.
    4. Each sentence gets its evidence, its confidence and its mark.

    Sentences of other sections stay as they are. What agrees is not changed, and a second pass changes
    nothing. Raises nothing, whatever the sentences say; ValueError for a language that is not known.
    """
    result = _guarded(tuple(sentences), readings, context, language)
    # A sentence that goes no longer speaks for or against a head in doubt: "no effusion", where the left is
    # seen, says nothing of the right.
    for _ in range(_PASSES):
        before, result = result, _guarded(result, readings, context, language)
        if result == before:
            break
    return result


def unsupported_claims(
    sentences: Iterable[Sentence], readings: Readings, context: ClinicalContext, language: str
) -> tuple[Unsupported, ...]:
    """Every claim of the Findings and the Impression that the heads, the order and the prior do not support,
    marked ones included. A head is believed from a probability of SEEN on, in doubt or not.
    """
    true = frozenset(head for head, one in readings.items() if one.probability >= SEEN)
    return tuple(
        Unsupported(s.section, s.text, fault.reason, fault.finding, s.guarded == MARKED)
        for s in sentences
        if s.section in _GUARDED and s.text.strip()
        for fault in faults_of(s.text, readings, true, context, language)
        if fault.reason != NO_SIDE
    )


def _guarded(
    sentences: tuple[Sentence, ...], readings: Readings, context: ClinicalContext, language: str
) -> tuple[Sentence, ...]:
    """One pass; its steps are those of `guard`."""
    place = next((i for i, s in enumerate(sentences) if s.section in _GUARDED), len(sentences))
    case = _Case(readings, context, language)
    # 1.
    findings = [s for s in sentences if s.section == FINDINGS and s.text.strip()]
    case.decide(findings)
    # 2.
    told = [one for organ in _organs(findings) for one in case.organ(organ, findings)]
    # 3.
    told += case.impression([s for s in sentences if s.section == IMPRESSION and s.text.strip()])
    # 4.
    others = [s for s in sentences[place:] if s.section not in _GUARDED]
    return (*sentences[:place], *map(case.judged, told), *others)


class _Case:
    """One draft under guard: its readings, and which heads count as true."""

    def __init__(self, readings: Readings, context: ClinicalContext, language: str) -> None:
        self.readings, self.context, self.language = readings, context, language
        self.seen = frozenset(head for head, one in readings.items() if one.probability >= SEEN)
        self.true = self.seen
        self.unproven: dict[str, bool] = {}
        self.open: set[str] = set()

    def decide(self, findings: Sequence[Sentence]) -> None:
        """Let the Findings speak where a head is in doubt; a finding both stated and denied is the head's."""
        votes: dict[str, set[bool]] = {}
        for sentence in findings:
            said = self._said(sentence)
            for one in () if denies_everything(said) else said:
                for head in self._voted(one):
                    votes.setdefault(head, set()).add(one.present)
        self.true = frozenset(head for head in self.readings if self._holds(head, votes.get(head, set())))
        # A finding that no head looks for is what the first sentence says of it.
        for sentence in findings:
            for one in self._said(sentence):
                if not sides_of(one.finding, self.readings):
                    self.unproven.setdefault(one.finding, one.present)
        # What a sentence that goes has said is not there is still to be said.
        for sentence in findings:
            if not denies_everything(self._said(sentence)) and not self._holds_up(sentence):
                self.open |= {one.finding for one in self._said(sentence)} & self._absent()

    def organ(self, organ: str, findings: Sequence[Sentence]) -> list[Sentence]:
        """What stands under one organ; a sentence that came without one stands under that of its finding."""
        own = [replace(s, organ=organ) for s in findings if (s.organ or self._organ(s)) == organ]
        kept = [s for s in own if self._holds_up(s)]
        names = set(findings_in(organ))
        said = [one for s in kept for one in self._said(s)]
        wanted = {head for head in self.true if split_head_name(head)[0] in names}
        texts = stated(wanted - _heads_stated(said), self.true, self.readings, self.language, present)
        texts += denied(self.open & names - {one.finding for one in said}, organ, self.language)
        if names and not texts and not any(one.finding in names for one in said):
            texts = denied(names, organ, self.language)
        return self._placed(own, kept, [Sentence(FINDINGS, t, organ=organ, guarded=REWRITTEN) for t in texts])

    def impression(self, sentences: Sequence[Sentence]) -> list[Sentence]:
        """What the Impression says."""
        kept = [s for s in sentences if self._holds_up(s)]
        said = [one for s in kept for one in self._said(s)]
        texts = stated(self.true - _heads_stated(said), self.true, self.readings, self.language, concluded)
        if not texts and not said and not self.true:
            texts = [nothing(self.language)]
        return self._placed(sentences, kept, [Sentence(IMPRESSION, t, guarded=REWRITTEN) for t in texts])

    def judged(self, sentence: Sentence) -> Sentence:
        """A sentence with its evidence, its confidence and what was done to it."""
        said = self._said(sentence)
        faults = faults_of(sentence.text, self.readings, self.seen, self.context, self.language)
        doubted = any(fault.reason != NO_SIDE for fault in faults)
        sure = sentence_confidence(said, self.readings)
        return replace(
            sentence,
            evidence=self._evidence(sentence, said),
            confidence=None if sure is None else round(sure, 4),
            guarded=MARKED if doubted else REWRITTEN if sentence.guarded == REWRITTEN else "",
        )

    def _evidence(self, sentence: Sentence, said: Sequence[Statement]) -> tuple[Evidence, ...]:
        found = evidence_of(sentence.text, self.readings, self.language) if said else ()
        if self.context.prior.strip() and speaks_of_prior(sentence.text, self.language):
            found = (*found, Evidence(kind="prior"))
        order = (self.context.procedure, self.context.clinical_question, self.context.history)
        return found or ((Evidence(kind="order"),) if echoes(sentence.text, *order) else ())

    def _holds(self, head: str, votes: set[bool]) -> bool:
        probability = self.readings[head].probability
        if len(votes) == 1 and DOUBT[0] <= probability <= DOUBT[1]:
            return True in votes
        return probability >= SEEN

    def _holds_up(self, sentence: Sentence) -> bool:
        """Whether a sentence may stay: no fault that can be put right, and nothing that another denies."""
        if any(fault.reason not in UNPROVEN for fault in self._faults(sentence)):
            return False
        return all(self.unproven.get(one.finding, one.present) is one.present for one in self._said(sentence))

    def _faults(self, sentence: Sentence) -> tuple[Fault, ...]:
        return faults_of(sentence.text, self.readings, self.true, self.context, self.language)

    def _said(self, sentence: Sentence) -> tuple[Statement, ...]:
        return statements_of(sentence.text, self.language)

    def _voted(self, one: Statement) -> list[str]:
        """The heads that a statement speaks of; without a side it does not say which one is there."""
        known = sides_of(one.finding, self.readings)
        if "" in known or (one.present and not one.sides):
            return [one.finding] if "" in known else []
        return [head_name(one.finding, side) for side in one.sides or SIDES if side in known]

    def _absent(self) -> set[str]:
        return {name for name in BY_NAME if sides_of(name, self.readings) and not sides_of(name, self.true)}

    def _organ(self, sentence: Sentence) -> str:
        """The organ of a sentence that stands under none: that of the first finding it speaks of."""
        return next((BY_NAME[one.finding].organ for one in self._said(sentence)), "")

    def _placed(
        self, own: Sequence[Sentence], kept: Sequence[Sentence], written: Sequence[Sentence]
    ) -> list[Sentence]:
        """The kept sentences, each once, and the written ones where the first that went has stood."""
        gone = next((i for i, s in enumerate(own) if not self._holds_up(s)), len(own))
        place = sum(self._holds_up(s) for s in own[:gone])
        once: dict[str, Sentence] = {}
        for sentence in (*kept[:place], *written, *kept[place:]):
            once.setdefault(" ".join(sentence.text.casefold().split()), sentence)
        return list(once.values())


def _organs(findings: Iterable[Sentence]) -> tuple[str, ...]:
    """Sentences that stand under no organ and speak of none come first, unknown organs last."""
    return tuple(dict.fromkeys(("", *ORGANS, *(s.organ for s in findings))))


def _heads_stated(said: Iterable[Statement]) -> set[str]:
    """The heads that statements say are true."""
    return {
        head_name(one.finding, side)
        for one in said
        if one.present
        for side in (one.sides if BY_NAME[one.finding].lateral else ("",))
    }
