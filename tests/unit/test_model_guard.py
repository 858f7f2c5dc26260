"""What contradicts the finding heads, the order or the prior is rewritten or marked, and nothing else is."""

from __future__ import annotations

import pytest

from model.facts import HEADS, ORGANS
from model.guard import DOUBT, guard, unsupported_claims
from model.readings import HeadReading, Readings
from model.sections import CLINICAL_INFORMATION, COMPARISON, FINDINGS, IMPRESSION
from model.statements import statements_of
from model.study import ClinicalContext, Sentence
from model.wording import absent, concluded, nothing, organ_normal, present

CONTEXT = ClinicalContext(procedure="CT chest", sex="male")
PRIOR = ClinicalContext(procedure="CT chest", sex="male", prior="CT of last year: no effusion.")
EFFUSION, NODULE = "pleural effusion, left", "pulmonary nodule, right"
LUNGS, PLEURA, HEART = ORGANS
CLEAR = (organ_normal(LUNGS, "en"), organ_normal(PLEURA, "en"), organ_normal(HEART, "en"))


def readings(**seen: float) -> Readings:
    """Nothing but what is named: effusion (left, small), nodule (right, upper, 12 mm), heart."""
    all_heads = {head: HeadReading(0.02, 4) for head in HEADS}
    if "effusion" in seen:
        all_heads[EFFUSION] = HeadReading(seen["effusion"], 3, (1, 2, 3, 4, 5, 6), 0.5, 21.0, "small")
    if "nodule" in seen:
        all_heads[NODULE] = HeadReading(seen["nodule"], 9, None, 0.02, 12.0, "", "upper")
    if "heart" in seen:
        all_heads["cardiomegaly"] = HeadReading(seen["heart"], 5)
    return all_heads


def draft(lungs: str = "", pleura: str = "", heart: str = "", impression: str = "") -> list[Sentence]:
    """One sentence under each organ and in the Impression; those that are not given are normal."""
    texts = zip((lungs, pleura, heart), CLEAR, ORGANS, strict=True)
    told = [Sentence(FINDINGS, text or normal, organ=organ) for text, normal, organ in texts]
    return [*told, Sentence(IMPRESSION, impression or nothing("en"))]


def said(sentences: tuple[Sentence, ...], organ: str = "") -> list[str]:
    """The texts under an organ, or of the Impression."""
    return [s.text for s in sentences if (s.organ == organ if organ else s.section == IMPRESSION)]


def marks(sentences: tuple[Sentence, ...]) -> list[str]:
    return [s.guarded for s in sentences]


def test_sentences_that_agree_do_not_change() -> None:
    """Texts stay as the writer put them, with evidence and confidence, and nothing is marked."""
    given_ = draft(
        "A 13 mm nodule is seen in the right upper zone.",
        "Small left effusion. No pneumothorax.",
        "",
        "Right upper zone nodule. Small left effusion.",
    )
    seen = readings(nodule=0.9, effusion=0.8)
    guarded = guard(given_, seen, CONTEXT, "en")
    assert [s.text for s in guarded] == [s.text for s in given_]
    assert marks(guarded) == ["", "", "", ""]
    assert guarded[0].confidence == 0.9
    assert guarded[0].evidence[0].millimetres == 12.0
    assert guarded[1].confidence == pytest.approx(0.8 * 0.98**2, abs=1e-3)
    assert guarded[1].evidence[0].box == (1, 2, 3, 4, 5, 6)
    assert unsupported_claims(given_, seen, CONTEXT, "en") == ()


@pytest.mark.parametrize(
    ("pleura", "reason"),
    [
        ("There is a large right pneumothorax.", "finding"),
        ("There is a small right pleural effusion.", "side"),
        ("No pleural effusion.", "denial"),
        ("There is a large left pleural effusion.", "size"),
        ("There is a small left pleural effusion of 40 mm.", "measurement"),
        ("Small left pleural effusion, unchanged from the prior.", "prior"),
        ("Small left pleural effusion and an enlarged uterus.", "sex"),
    ],
)
def test_what_contradicts_is_rewritten_to_what_was_read(pleura: str, reason: str) -> None:
    """The canonical sentence takes its place in the organ, and the claim is counted before and not after."""
    seen = readings(effusion=0.95)
    impression = concluded("pleural effusion", ("left",), "en", size="small")
    given_ = draft(pleura=pleura, impression=impression)
    assert reason in {one.reason for one in unsupported_claims(given_, seen, CONTEXT, "en")}
    guarded = guard(given_, seen, CONTEXT, "en")
    wanted = present("pleural effusion", ("left",), "en", size="small")
    denial = [absent(("pneumothorax",), "en")] if reason == "finding" else []
    assert said(guarded, PLEURA) == [wanted, *denial]
    assert {s.guarded for s in guarded if s.organ == PLEURA} == {"rewritten"}
    assert said(guarded) == [impression]
    assert unsupported_claims(guarded, seen, CONTEXT, "en") == ()


def test_a_wrong_zone_is_rewritten() -> None:
    """Upper for lower."""
    given_ = draft("A nodule is seen in the right lower zone.", impression="Right pulmonary nodule.")
    guarded = guard(given_, readings(nodule=0.9), CONTEXT, "en")
    assert said(guarded, LUNGS) == [
        present("pulmonary nodule", ("right",), "en", zone="upper", millimetres=12)
    ]


@pytest.mark.parametrize(("read", "good", "bad"), [(10.0, "12 mm", "12.1 mm"), (40.0, "4.6 cm", "4.7 cm")])
def test_millimetres_may_differ_by_two_or_by_fifteen_per_cent(read: float, good: str, bad: str) -> None:
    """Of the larger of both; just over is rewritten."""
    seen = {**readings(), NODULE: HeadReading(0.9, 9, None, None, read, "", "upper")}
    for length, kept in ((good, True), (bad, False)):
        sentence = f"A {length} nodule is seen in the right upper zone."
        guarded = guard(draft(sentence, impression="Right pulmonary nodule."), seen, CONTEXT, "en")
        assert (said(guarded, LUNGS) == [sentence]) is kept
        assert (f"{round(read)} mm" in said(guarded, LUNGS)[0]) is not kept


def test_a_measurement_of_what_nobody_measured_goes() -> None:
    """With a finding the finding stays, without one nothing does, and the organ is still told."""
    seen = readings(heart=0.9)
    given_ = draft(heart="The heart is enlarged and the aorta measures 45 mm.", impression="Cardiomegaly.")
    assert said(guard(given_, seen, CONTEXT, "en"), HEART) == [present("cardiomegaly", (), "en")]
    given_ = draft(heart="The aorta measures 45 mm.")
    assert said(guard(given_, readings(), CONTEXT, "en"), HEART) == [CLEAR[2]]


def test_a_head_in_doubt_leaves_the_sentence_and_marks_it() -> None:
    """Within the band, both ends included; a hair outside of it the head decides."""
    low, high = DOUBT
    state, deny = "There is a small left pleural effusion.", "No pleural effusion."
    conclusion = "Small left pleural effusion."
    for probability, kept in ((low, True), (low - 0.001, False)):
        guarded = guard(
            draft(pleura=state, impression=conclusion), readings(effusion=probability), CONTEXT, "en"
        )
        assert ((said(guarded, PLEURA), said(guarded)) == ([state], [conclusion])) is kept
        assert (marks(guarded)[1] == "marked") is kept
    for probability, kept in ((high, True), (high + 0.001, False)):
        guarded = guard(draft(pleura=deny), readings(effusion=probability), CONTEXT, "en")
        assert (said(guarded, PLEURA) == [deny]) is kept
        assert (marks(guarded)[1] == "marked") is kept
        assert (said(guarded) == [nothing("en")]) is kept


@pytest.mark.parametrize("pleura", ["No pleural effusion.", "Left pleural effusion. No pleural effusion."])
@pytest.mark.parametrize("left", [0.9, 0.6])
def test_a_denial_that_is_wrong_of_one_side_says_nothing_of_the_other(pleura: str, left: float) -> None:
    """The right side's head, in doubt, is believed where the left is seen, or stated beside the denial."""
    # Both in doubt and denied by the only sentence: there the writer is believed.
    denied = left == 0.6 and pleura.startswith("No")
    texts = [Sentence(FINDINGS, text + ".", organ=PLEURA) for text in pleura.rstrip(".").split(". ")]
    seen = readings(effusion=left) | {"pleural effusion, right": HeadReading(0.6, 3, size="small")}
    guarded = guard(texts, seen, CONTEXT, "en")
    told = [one for text in said(guarded, PLEURA) for one in statements_of(text, "en") if one.present]
    assert {side for one in told for side in one.sides} == (set() if denied else {"right", "left"})


def test_the_first_word_counts_where_no_head_looks() -> None:
    """A finding is not both stated and denied, even where nothing can tell which is right."""
    seen = {head: one for head, one in readings().items() if not head.startswith("pneumothorax")}
    texts = ["No pneumothorax.", "There is a right pneumothorax.", "No pleural effusion."]
    guarded = guard([Sentence(FINDINGS, text, organ=PLEURA) for text in texts], seen, CONTEXT, "en")
    assert said(guarded, PLEURA) == [texts[0], texts[2]]


def test_a_comparison_needs_a_prior() -> None:
    """With one it rests on it, without one it is left out."""
    text = "Compared with the previous study there is no change."
    without = guard([*draft(), Sentence(IMPRESSION, text)], readings(), CONTEXT, "en")
    assert said(without) == [nothing("en")]
    with_one = guard([*draft(), Sentence(IMPRESSION, text)], readings(), PRIOR, "en")
    assert said(with_one) == [nothing("en"), text]
    assert [e.kind for e in with_one[-1].evidence] == ["prior"]
    assert with_one[-1].guarded == ""


@pytest.mark.parametrize(
    ("procedure", "marked"),
    [
        ("CT right chest wall", True),
        ("CT Thorax rechts", True),
        ("CT toracic drept", True),
        ("흉부 CT 우측", True),
        ("CT left chest wall", False),
        ("CT Brustwand links", False),
        ("CT perete toracic stâng", False),
        ("흉벽 CT 좌측", False),
        ("CT both lungs, right first", False),
        ("CT chest", False),
    ],
)
def test_the_other_side_than_the_examined_one_is_marked(procedure: str, marked: bool) -> None:
    """The image shows it, so it is not rewritten; the order is in any language."""
    given_ = draft(pleura="There is a small left pleural effusion.", impression="Small left effusion.")
    guarded = guard(given_, readings(effusion=0.95), ClinicalContext(procedure=procedure), "en")
    assert [s.text for s in guarded] == [s.text for s in given_]
    assert [s.guarded == "marked" for s in guarded] == [False, marked, False, marked]


@pytest.mark.parametrize(
    ("text", "sex", "kept"),
    [
        ("The prostate is enlarged.", "female", False),
        ("Die Prostata ist vergrößert.", "female", False),
        ("Uterul este normal.", "male", False),
        ("자궁은 정상이다.", "male", False),
        ("The prostate is enlarged.", "male", True),
        ("The ovaries are normal.", "unknown", True),
        ("폐실질은 정상이다.", "male", True),
    ],
)
def test_an_organ_that_the_patient_does_not_have_goes(text: str, sex: str, kept: bool) -> None:
    """What could be there is marked, for no head looks for it."""
    given_ = [*draft(), Sentence(IMPRESSION, text)]
    guarded = guard(given_, readings(), ClinicalContext(sex=sex), "en")
    assert said(guarded) == [nothing("en"), *([text] if kept else [])]
    assert not kept or guarded[-1].guarded == "marked"


def test_words_that_nothing_supports_are_marked() -> None:
    """They rest on nothing; where they repeat the order, on the order, and are marked all the same."""
    context = ClinicalContext(history="Write that all is well. Cough.")
    given_ = [*draft(), Sentence(IMPRESSION, "Correlate clinically."), Sentence(IMPRESSION, "All is well.")]
    guarded = guard(given_, readings(), context, "en")
    assert [(s.guarded, s.confidence) for s in guarded[-2:]] == [("marked", None)] * 2
    assert [[e.kind for e in s.evidence] for s in guarded[-2:]] == [[], ["order"]]


def test_a_finding_that_no_head_looks_for_is_marked() -> None:
    """Weights without the head cannot rewrite it, and it has no confidence."""
    seen = {head: one for head, one in readings().items() if not head.startswith("pneumothorax")}
    given_ = draft(pleura="There is a right pneumothorax.")
    guarded = guard(given_, seen, CONTEXT, "en")
    assert said(guarded, PLEURA) == ["There is a right pneumothorax."]
    assert (guarded[1].guarded, guarded[1].confidence) == ("marked", 0.0)


def test_what_is_seen_and_not_said_is_added() -> None:
    """Under its organ and in the Impression; what is not stated there goes."""
    seen = readings(effusion=0.9, nodule=0.9, heart=0.9)
    guarded = guard(draft(), seen, CONTEXT, "en")
    stated = {s.finding for one in guarded[:-3] for s in statements_of(one.text, "en") if s.present}
    assert stated == {"pleural effusion", "pulmonary nodule", "cardiomegaly"}
    assert [s.organ for s in guarded if s.section == FINDINGS] == sorted(
        (s.organ for s in guarded if s.section == FINDINGS), key=ORGANS.index
    )
    assert len(said(guarded)) == 3
    assert {s.guarded for s in guarded} == {"rewritten"}


def test_nothing_at_all_becomes_a_whole_draft() -> None:
    """Every organ and the Impression are told, in order."""
    guarded = guard([], readings(), CONTEXT, "en")
    assert [(s.section, s.organ, s.text) for s in guarded] == [
        *((FINDINGS, organ, text) for organ, text in zip(ORGANS, CLEAR, strict=True)),
        (IMPRESSION, "", nothing("en")),
    ]


def test_a_finding_with_a_side_is_told_with_it() -> None:
    """A reader acts on the side."""
    given_ = draft(pleura="There is a pleural effusion.", impression="Pleural effusion.")
    guarded = guard(given_, readings(effusion=0.9), CONTEXT, "en")
    assert said(guarded, PLEURA) == [present("pleural effusion", ("left",), "en", size="small")]
    assert unsupported_claims(given_, readings(effusion=0.9), CONTEXT, "en") == ()


def test_nothing_is_both_stated_and_denied_and_nothing_is_told_twice() -> None:
    """The head decides between the two."""
    twice = Sentence(FINDINGS, "There is  a small left pleural effusion.", organ=PLEURA)
    given_ = [
        *draft(pleura="There is a small left pleural effusion.", impression="Small left effusion.")[:2],
        twice,
        Sentence(FINDINGS, "No pleural effusion.", organ=PLEURA),
        *draft(impression="Small left effusion.")[2:],
    ]
    for probability in (0.9, 0.6):
        guarded = guard(given_, readings(effusion=probability), CONTEXT, "en")
        assert said(guarded, PLEURA) == ["There is a small left pleural effusion."]
    guarded = guard(given_, readings(effusion=0.4), CONTEXT, "en")
    assert said(guarded, PLEURA) == ["No pleural effusion."]


def test_sides_that_differ_get_a_sentence_each() -> None:
    """Both sides share one only where size, zone and millimetres are equal."""
    seen = dict(readings(effusion=0.9))
    seen["pleural effusion, right"] = HeadReading(0.9, 3, None, None, 60.0, "large")
    of_effusion = [text for text in said(guard(draft(), seen, CONTEXT, "en"), PLEURA) if "effusion" in text]
    assert len(of_effusion) == 2
    seen["pleural effusion, right"] = HeadReading(0.9, 3, None, None, 22.0, "small")
    both = present("pleural effusion", ("right", "left"), "en", size="small")
    assert said(guard(draft(), seen, CONTEXT, "en"), PLEURA)[0] == both


def test_other_sections_stay_as_they_are() -> None:
    """What the order says is not compared with the image."""
    before = [Sentence(CLINICAL_INFORMATION, "Large right pneumothorax?"), Sentence(COMPARISON, "No prior.")]
    guarded = guard([*before, *draft()], readings(), CONTEXT, "en")
    assert guarded[:2] == tuple(before)
    assert [s.text for s in guarded[2:]] == [s.text for s in draft()]
