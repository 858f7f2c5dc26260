"""Drafts are held against the truth of their phantoms, a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.sections import FINDINGS, IMPRESSION, TITLES
from model.statements import Statement
from model.study import Draft, Evidence, Sentence
from tests.watched_drafter import Oracle, oracle_draft
from training.evaluate import CARD, DOCUMENT, PAGE, evaluate, table, write
from training.facts import Fact, FactRecord
from training.judging.cases import Case, blank_images, judge_cases, unseen_cases
from training.judging.figures import figures
from training.judging.form import COLLAPSED_SHARE, collapsed, form_faults
from training.judging.judged import (
    Judged,
    box_around,
    boxes_overlap,
    judge,
    points_at,
    sentence_right,
    statement_right,
)
from training.plan import TEST_SEEDS

FLUID = FactRecord((Fact("pleural effusion", ("left",), size="small"),))
BOTH = FactRecord((Fact("pleural effusion", ("right", "left"), size="small"),))
HEAD = "pleural effusion, left"


def mask_of(*box: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """The mask of an effusion on the left that fills a box."""
    mask = np.zeros((10, 10, 10), dtype=np.bool_)
    mask[box[0] : box[3], box[1] : box[4], box[2] : box[5]] = True
    return {HEAD: mask}


def shown(box: tuple[int, int, int, int, int, int] | None) -> Draft:
    """A draft of an effusion on the left with that box."""
    draft = oracle_draft(FLUID)
    sentences = [
        replace(s, evidence=(Evidence("image", "pleural effusion", "left", 0.9, 3, box, 0.5),))
        if s.section == FINDINGS and s.evidence
        else s
        for s in draft.sentences
    ]
    return replace(draft, sentences=tuple(sentences))


def test_a_perfect_drafter_is_perfect() -> None:
    """Twelve phantoms: every figure that has a best value reaches it, evidence and all."""
    judged = list(judge_cases(Oracle(), unseen_cases(12), batch=5))
    document = figures(judged, resamples=20)
    for name, figure in document["conditions"]["real"].items():
        assert figure["value"] in (1, None), name
    assert document["conditions"]["written"] == document["conditions"]["real"]
    assert document["form_valid"]["value"] == 1
    assert document["contradictory"]["value"] == 0
    assert document["impression_agrees"]["value"] == 1
    evidence = document["evidence"]
    assert (evidence["pointing"]["value"], evidence["overlap"]["value"], evidence["held"]["value"]) == (
        1,
        1,
        1,
    )
    assert evidence["drop_beyond_random"]["value"] == pytest.approx(0.7)
    assert document["worst"] == []


def test_cases_are_made_and_drafted_a_batch_at_a_time() -> None:
    """Phantoms of a batch are made when the batch is drafted, and not sooner: memory does not grow."""
    made: list[int] = []

    def cases() -> Iterator[Case]:
        for case in unseen_cases(7):
            made.append(case.seed)
            yield case

    oracle, done = Oracle(), []
    judging = judge_cases(oracle, cases(), batch=3, progress=done.append)
    first = next(judging)
    assert first.seed == TEST_SEEDS
    assert len(made) == 3
    assert [first.seed, *(one.seed for one in judging)] == made == list(range(TEST_SEEDS, TEST_SEEDS + 7))
    assert oracle.batches == [3, 3, 1]
    assert done == [3, 3, 1]


def test_orders_do_not_depend_on_the_phantom_and_carry_the_language() -> None:
    """The same seed gives the same case."""
    one, again = next(unseen_cases(1, "de")), next(unseen_cases(1, "de"))
    assert one.context == again.context
    assert one.context.language == "de"
    assert np.array_equal(one.made.volume.voxels, again.made.volume.voxels)


def test_images_that_show_nothing_are_put_before_the_drafter() -> None:
    """Air and water, without noise and with it; one that refuses them says nothing of them."""
    found = blank_images(Oracle())
    assert (found.tried, found.said) == (4, ())


def test_the_middle_of_a_box_must_lie_in_the_true_box() -> None:
    """Just inside the voxel of room around it is a hit, just outside is none, on every axis and side."""
    true = (4, 4, 4, 6, 6, 6)
    for axis in range(3):
        for low, hit in ((2, True), (1, False), (6, True), (7, False)):
            box = [4, 4, 4, 6, 6, 6]
            # Boxes of two voxels: the middle lies one above the lower edge.
            box[axis], box[axis + 3] = low, low + 2
            assert points_at((box[0], box[1], box[2], box[3], box[4], box[5]), true) is hit


def test_boxes_overlap_by_what_they_share() -> None:
    """Equal boxes by 1, apart by 0, half of one in the other by a third; touching is apart."""
    box = (0, 0, 0, 2, 2, 2)
    assert boxes_overlap(box, box) == 1
    assert boxes_overlap(box, (2, 0, 0, 4, 2, 2)) == 0
    assert boxes_overlap(box, (1, 0, 0, 3, 2, 2)) == pytest.approx(1 / 3)


def test_evidence_is_held_against_the_mask() -> None:
    """A box over half of the finding holds half of it; a box elsewhere points at nothing; none is a miss."""
    masks = mask_of(2, 2, 2, 6, 6, 6)
    (half,) = judge(1, shown((2, 2, 2, 4, 6, 6)), FLUID, masks).pointed
    assert (half.hit, half.held, half.overlap, half.drop) == (True, 0.5, 0.5, 0.5)
    (off,) = judge(1, shown((8, 8, 8, 10, 10, 10)), FLUID, masks, earlier={HEAD: (2, 2, 2, 6, 6, 6)}).pointed
    assert (off.hit, off.chance, off.held) == (False, True, 0)
    (none,) = judge(1, shown(None), FLUID, masks).pointed
    assert (none.boxed, none.hit, none.chance) == (False, False, None)


def test_only_rightly_stated_findings_have_evidence_to_judge() -> None:
    """A finding that is not there has no true place."""
    masks = mask_of(2, 2, 2, 6, 6, 6)
    assert judge(1, shown((2, 2, 2, 4, 6, 6)), FactRecord(), masks).pointed == ()
    assert judge(1, oracle_draft(FactRecord()), FLUID, masks).pointed == ()


def test_the_box_around_a_mask_is_the_smallest() -> None:
    """First of each axis, and one past the last."""
    assert box_around(mask_of(1, 2, 3, 4, 5, 6)[HEAD]) == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("There is a left pleural effusion.", True),
        ("There is a right pleural effusion.", False),
        ("There are bilateral pleural effusions.", False),
        ("There is a pleural effusion.", True),
        ("No pleural effusion.", False),
        ("No pneumothorax.", True),
        ("There is a left pleural effusion. There is emphysema.", False),
        ("As before.", True),
    ],
)
def test_a_sentence_is_right_when_all_that_it_says_is(text: str, right: bool) -> None:
    """Of a chest with an effusion on the left."""
    assert sentence_right(text, "en", FLUID) is right


def test_a_side_that_is_denied_must_be_free() -> None:
    """Of an effusion on the left: none on the right is right, none on the left or on both is not."""
    for sides, right in ((("right",), True), (("left",), False), (("right", "left"), False)):
        denied = Statement("pleural effusion", False, sides)
        assert statement_right(denied, FLUID.heads) is right


def test_a_draft_in_due_form_has_no_faults() -> None:
    """Every section, every organ, in order; and each thing that is not so is named."""
    draft = oracle_draft(BOTH)
    assert form_faults(draft) == ()

    def without(keep: tuple[Sentence, ...]) -> tuple[str, ...]:
        return form_faults(replace(draft, sentences=keep))

    every = draft.sentences
    for title in TITLES:
        assert f"no section {title}" in without(tuple(s for s in every if s.section != title))
    assert without(tuple(s for s in every if s.organ != "Heart")) == ("no findings of Heart",)
    assert without(every[::-1])[-2:] == ("sections out of order", "organs out of order")
    assert without((*every, Sentence("Advice", "Treat."))) == ("unknown section Advice",)
    assert without((*every, replace(every[-1], text=" "))) == ("a sentence without words",)
    # A section that comes back is out of order, though each stands once among the titles.
    assert without((*every, every[0])) == ("sections out of order",)


def test_drafts_that_say_the_same_have_collapsed() -> None:
    """Just at the limit they have not, just over it they have; the same facts in other words are the same."""

    def drafted(number: int, text: str, said: FactRecord) -> Judged:
        return replace(judge(number, oracle_draft(said), FLUID, {}), findings_text=text)

    normal = [drafted(i, "Normal.", FactRecord()) for i in range(5)]
    # Others differ in words and in facts.
    names = ("pneumothorax", "consolidation", "atelectasis", "cardiomegaly", "emphysema")
    others = [drafted(i, name, FactRecord((Fact(name),))) for i, name in enumerate(names)]
    assert COLLAPSED_SHARE == 0.5
    assert not collapsed([*normal, *others])
    assert collapsed([*normal, *others[:4]])
    assert collapsed([*[replace(one, findings_text=str(i)) for i, one in enumerate(normal)], *others[:4]])
    assert not collapsed(normal[:1])


def test_a_draft_that_says_and_denies_the_same_is_contradictory() -> None:
    """In the Findings; what the Impression concludes is read by itself."""
    draft = oracle_draft(FLUID)
    denial = Sentence(FINDINGS, "No pleural effusion.", (), "Heart")
    assert judge(1, replace(draft, sentences=(*draft.sentences, denial)), FLUID, {}).contradictory
    found = judge(1, draft, FLUID, {})
    assert not found.contradictory
    assert found.concluded.heads == found.said.heads == {HEAD}
    assert found.text.endswith(next(s.text for s in draft.sentences if s.section == IMPRESSION))


def test_an_evaluation_is_written_as_document_and_page(tmp_path: Path) -> None:
    """The same figures in both, and the short table of the terminal names every condition."""
    document = evaluate(Oracle(), 6)
    text, drawn = write(document, tmp_path / "new" / "folder")
    assert (text.name, drawn.name) == (DOCUMENT, PAGE)
    assert json.loads(text.read_text(encoding="utf-8")) == json.loads(json.dumps(document))
    assert "oracle" in drawn.read_text(encoding="utf-8")
    assert all(name in table(document) for name in document["conditions"])
    assert document["tokens"] == 60
    assert (tmp_path / "new" / "folder" / CARD).read_text(encoding="utf-8").startswith("## Scores\n")
