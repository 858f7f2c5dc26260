"""Many cases at once: each answer is what it would be alone, and no case meets another."""

from __future__ import annotations

import threading

import pytest
import torch

from model.decoding.cache import STRIDE, KeyValues
from model.decoding.engine import Engine
from model.decoding.threads import one_thread
from model.fusion.fused import Fused
from model.grammar import choice_grammar, report_grammar, sentences_grammar
from model.language.asking import Answer, Asked
from model.language.words import Words
from tests.decoding_samples import END, LABELS, WIDTH, adapted, fusion_blocks, llama, seen, words


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Words:
    return words(tmp_path_factory.mktemp("words"))


def questions(count: int, adapters: tuple[str, ...] = ("",)) -> list[Asked]:
    """Cases of every kind: with and without images, free and by a grammar, short and long."""
    kinds = ("none", "prefix", "inject", "repeated")
    organs, impression = LABELS["en"]
    forms = ("", sentences_grammar(), report_grammar(organs, impression))
    return [
        Asked(
            tuple(40 + (one * 7 + place) % 300 for place in range(1 + one * 5 % 70)),
            seen(kinds[one % 4], seed=one),
            adapters[one % len(adapters)],
            forms[one % 3],
            40 + one % 9,
        )
        for one in range(count)
    ]


@pytest.mark.parametrize("dense", [True, False])
def test_an_answer_alone_is_the_answer_in_a_batch(tokenizer: Words, dense: bool) -> None:
    """The same ids and the same likelihood, to the last bit, in any company, slot and order."""
    network = adapted(llama(3, layers=2), "one", "two")
    blocks = list(fusion_blocks(llama(3), 1))
    asked = questions(14, ("one", "", "two"))
    engine = Engine(network, tokenizer, blocks, slots=8, dense=dense)
    together = engine.write(asked)
    assert engine.write(asked[::-1])[::-1] == together
    alone = Engine(network, tokenizer, blocks, slots=8, dense=dense)
    assert [alone.write([one])[0] for one in asked] == together
    assert len({answer.ids for answer in together}) > 10


def test_what_lies_in_a_freed_slot_reaches_no_case(tokenizer: Words) -> None:
    """Slots filled with NaN after they are freed change neither the next case in them nor its neighbours."""
    network = llama(3, layers=2)
    asked = [one for one in questions(12) if one.fused is None or one.fused.encodings is None]
    engine = Engine(network, tokenizer, slots=4)
    clean = engine.write(asked)
    for rubbish in (float("nan"), float("inf"), 1e4):
        with torch.inference_mode():
            for room in engine._kept:
                room.keys.fill_(rubbish)
                room.values.fill_(rubbish)
        assert engine.write(asked) == clean
        with torch.inference_mode():  # free slots among busy ones
            for room in engine._kept:
                room.keys[1:].fill_(rubbish)
        assert engine.write(asked[:1]) == clean[:1]


def test_a_case_without_finite_states_fails_alone(tokenizer: Words) -> None:
    """What was seen of one case is NaN: its caller gets an error, its neighbours and successors answers."""
    engine = Engine(llama(3, layers=2), tokenizer, slots=4)
    asked = questions(3)[:2]
    clean = engine.write(asked)
    broken = Asked((40,), Fused(torch.full((1, 3, WIDTH), float("nan"))), "", sentences_grammar(), 20)
    results, errors = _in_threads(engine, [[asked[0]], [broken], [asked[1]]])
    assert [results[0], results[2]] == [[clean[0]], [clean[1]]]
    assert isinstance(errors[1], ValueError)
    assert "finite" in str(errors[1])
    assert engine.write(asked) == clean


def test_callers_of_many_threads_share_the_slots(tokenizer: Words) -> None:
    """Eight threads with three cases each get the answers that they get one after the other, in order."""
    network = llama(4, layers=2)
    asked = questions(24)
    alone = Engine(network, tokenizer, slots=4).write(asked)
    shares = [asked[3 * one : 3 * one + 3] for one in range(8)]
    results, errors = _in_threads(Engine(network, tokenizer, slots=4), shares)
    assert errors == [None] * 8
    assert [answer for share in results for answer in share or []] == alone


def test_a_bad_case_reaches_its_caller_only(tokenizer: Words) -> None:
    """A prompt too long, an unknown adapter and no grammar are errors of those who asked."""
    engine = Engine(llama(4, layers=1), tokenizer, slots=4)
    good = questions(1)
    answers = engine.write(good)
    bad = [Asked((40,) * 600), Asked((40,), adapter="other"), Asked((40,), grammar="root")]
    results, errors = _in_threads(engine, [[bad[0]], good, [bad[1]], good, [bad[2]]])
    assert [results[1], results[3]] == [answers, answers]
    assert [type(error) for error in errors] == [ValueError, type(None), ValueError, type(None), ValueError]


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (Asked((40,) * 490, maximum_tokens=22), "at most 512 places together, came 513"),
        (Asked((40,), maximum_tokens=0), "at least one token"),
        (Asked((448,)), "ids below 448"),
        (Asked((-1,)), "ids below 448"),
        (Asked((40,), Fused(torch.zeros(2, 3, WIDTH))), "of one case, of width 64"),
        (Asked((40,), Fused(torch.zeros(1, 3, 32))), "of one case, of width 64"),
        (Asked((40,), Fused(torch.zeros(1, 3, WIDTH), (torch.zeros(1, 2, WIDTH),))), "for 3 places"),
        (Asked((40,), adapter="x"), r"adapters \(none\)"),
        (Asked((40,), grammar=choice_grammar(["뷁뷁"]), maximum_tokens=5), "at least 6 tokens"),
    ],
)
def test_what_cannot_be_answered_is_an_error_that_says_why(
    tokenizer: Words, asked: Asked, match: str
) -> None:
    """Each limit is checked before anything is computed."""
    with pytest.raises(ValueError, match=match):
        Engine(llama(4, layers=1), tokenizer, slots=4).write([asked])


def test_the_limits_themselves_are_allowed(tokenizer: Words) -> None:
    """All places of the network, and the shortest answer of a grammar."""
    engine = Engine(llama(4, layers=1), tokenizer, slots=4)
    first = Asked((40,) * 489, maximum_tokens=22)
    second = Asked((40,), grammar=choice_grammar(["뷁뷁"]), maximum_tokens=6)
    answers = engine.write([first, second])
    assert len(answers[0].ids) == 22
    assert not answers[0].complete
    assert (answers[1].text, answers[1].complete) == ("뷁뷁", True)


def test_special_tokens_are_never_written(tokenizer: Words) -> None:
    """Random weights, free of any grammar, choose words alone: no special token, no number without a word."""
    engine = Engine(llama(6, layers=1), tokenizer)
    answers = engine.write([Asked((40 + one,), maximum_tokens=60) for one in range(32)])
    written = {token for answer in answers for token in answer.ids}
    assert len(written) > 100
    assert not written & tokenizer.special
    assert max(written) < tokenizer.tokenizer.get_vocab_size()


def test_an_answer_ends_at_any_end_token(tokenizer: Words) -> None:
    """A network may have several; none stands in the answer, which is complete."""
    network = llama(6, layers=1)
    free = Engine(network, tokenizer).write([Asked((40,), maximum_tokens=30)])[0]
    place = next(place for place, token in enumerate(free.ids) if token not in free.ids[:place] and place > 3)
    network.config.eos_token_id = [END, free.ids[place]]
    answer = Engine(network, tokenizer).write([Asked((40,), maximum_tokens=30)])[0]
    assert (answer.ids, answer.complete) == (free.ids[:place], True)


def test_the_likelihood_is_the_mean_log_probability(tokenizer: Words) -> None:
    """Of the chosen tokens, by the whole network of transformers, whatever the grammar allowed."""
    network = llama(7, layers=2)
    asked = Asked((40, 41), grammar=choice_grammar(["There is a nodule.", "No nodule."]))
    answer = Engine(network, tokenizer).write([asked])[0]
    ids = torch.tensor([[0, *asked.prompt, *answer.ids]])
    with torch.inference_mode():
        logs = network(input_ids=ids).logits[0].log_softmax(-1)
    expected = logs[2:-1].gather(1, ids[0, 3:, None]).mean()
    assert answer.likelihood == pytest.approx(float(expected), abs=1e-4)
    assert answer.likelihood < -1


def test_the_threads_of_the_process_are_given_back(tokenizer: Words) -> None:
    """One thread while it writes, then as many as there were, also where callers overlap or fail."""
    torch.set_num_threads(2)
    try:
        Engine(llama(7, layers=1), tokenizer).write([Asked((40,), maximum_tokens=3)])
        assert torch.get_num_threads() == 2
        first, second = one_thread(), one_thread()
        first.__enter__()
        assert torch.get_num_threads() == 1
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_room_grows_without_losing_what_it_holds() -> None:
    """Lengths are whole strides; what a slot holds stays in its place."""
    room = KeyValues(2, 1, 4, torch.float32, torch.device("cpu"))
    room.reach(1)
    held = torch.randn(3, 1, 4)
    room.fill(1, held, 2 * held)
    assert room.length == STRIDE
    room.reach(STRIDE + 1)
    assert room.length == 2 * STRIDE
    keys, values = room.read(torch.tensor([1]), False, 3)
    torch.testing.assert_close(keys[0, 0], held[:, 0])
    torch.testing.assert_close(values[0, 0], 2 * held[:, 0])


def _in_threads(
    engine: Engine, shares: list[list[Asked]]
) -> tuple[list[list[Answer] | None], list[Exception | None]]:
    results: list[list[Answer] | None] = [None] * len(shares)
    errors: list[Exception | None] = [None] * len(shares)
    gate = threading.Barrier(len(shares))

    def ask(index: int) -> None:
        gate.wait()
        try:
            results[index] = engine.write(shares[index])
        except Exception as error:
            errors[index] = error

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(shares))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results, errors
