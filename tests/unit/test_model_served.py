"""A vLLM server writes what this process would write, each case apart, or is refused in clear words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from model.fusion.inject import InjectFusion
from model.fusion.places import Places
from model.fusion.repeated import RepeatedFusion
from model.language.asking import Asked
from model.language.local import LocalWriter
from model.language.served import ServedWriter, ServerError, read_table
from model.language.settings import LanguageSettings, ServerSettings
from model.language.words import Words
from model.loading import _writer as _writer_of
from model.study import WeightsError
from tests.decoding_samples import END, SPECIAL, START, WIDTH, adapted, llama, seen, words
from tests.vllm_server import FakeServer, serving

ADAPTERS = ("report-en", "report")
TOKENS = 12


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Words:
    return words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def network() -> Any:
    return adapted(llama(), *ADAPTERS)


@pytest.fixture
def server(network: Any) -> Iterator[FakeServer]:
    with serving(FakeServer(network, ADAPTERS)) as running:
        yield running


def _writer(server: FakeServer, known: Words, **changes: Any) -> ServedWriter:
    table = server.network.get_input_embeddings().weight.detach()
    settings = replace(ServerSettings(server.url, timeout_seconds=20.0), **changes)
    return ServedWriter(settings, table, START, [END], known, ADAPTERS)


@pytest.fixture
def writer(server: FakeServer, known: Words) -> Iterator[ServedWriter]:
    made = _writer(server, known)
    server.bodies.clear()
    server.inputs.clear()
    yield made
    made.close()


def _asked(known: Words) -> list[Asked]:
    texts = ["Lungs:", "Heart: The heart", "Impression:\nSmall left", "Pleura: No"]
    adapters = ["report", "report-en", "", "report-en"]
    return [
        Asked(tuple(known.encode(text)), seen("prefix", seed) if seed else None, adapter, "", TOKENS)
        for seed, (text, adapter) in enumerate(zip(texts, adapters, strict=True))
    ]


def test_answers_are_those_of_this_process_in_the_order_of_asking(
    writer: ServedWriter, network: Any, known: Words
) -> None:
    """Start token, image, prompt, adapter and likelihood mean the same on both sides, whoever ends first."""
    asked = _asked(known)
    served = writer.write(asked)
    network.base_model.enable_adapter_layers()
    local = LocalWriter(network, known).write(asked)
    assert [one.ids for one in served] == [one.ids for one in local]
    assert [one.text for one in served] == [one.text for one in local]
    assert [one.complete for one in served] == [one.complete for one in local]
    for one, other in zip(served, local, strict=True):
        assert math.isclose(one.likelihood, other.likelihood, abs_tol=1e-3)
    assert len({one.ids for one in served}) == len(asked)


def test_a_request_holds_one_case_and_a_salt_of_its_own(
    writer: ServedWriter, server: FakeServer, known: Words
) -> None:
    """No two requests share a salt, and each carries its own image alone, in memory of its own."""
    asked = _asked(known)
    both = torch.cat([seen("prefix", 1).prefix, seen("prefix", 2).prefix])  # type: ignore[union-attr]
    case = replace(asked[1], fused=replace(asked[1].fused, prefix=both[:1]))  # type: ignore[type-var]
    writer.write([case, *asked])
    writer.write(asked)
    salts = [body["cache_salt"] for body in server.bodies]
    assert len(set(salts)) == len(salts) == 2 * len(asked) + 1
    assert all(len(salt) >= 43 for salt in salts)
    lengths = sorted(len(one) for one in server.inputs[:5])
    assert lengths == sorted(1 + len(one.prompt) + (5 if one.fused else 0) for one in [case, *asked])
    assert all(one.shape[1] == WIDTH for one in server.inputs)


def test_a_grammar_goes_with_its_request(writer: ServedWriter, server: FakeServer, known: Words) -> None:
    """The server holds the answer to it; a request without one is free."""
    writer.write([Asked((5,), grammar='root ::= "a"', maximum_tokens=2)])
    writer.write([Asked((5,), maximum_tokens=2)])
    assert server.bodies[0]["structured_outputs"] == {"grammar": 'root ::= "a"'}
    assert "structured_outputs" not in server.bodies[1]
    assert all(body["temperature"] == 0 for body in server.bodies)


def test_special_tokens_are_ruled_out_and_end_an_answer_that_holds_one(
    writer: ServedWriter, server: FakeServer, known: Words
) -> None:
    """They are biased away; if one comes nevertheless, the answer stops there, unfinished."""
    (word,) = known.encode("L")
    server.spoken = [word, SPECIAL, word, END]
    (answer,) = writer.write([Asked((5,), maximum_tokens=8)])
    assert (answer.ids, answer.text, answer.complete) == ((word,), "L", False)
    bias = server.bodies[0]["logit_bias"]
    assert bias[str(SPECIAL)] == bias[str(START)] == bias["447"] == -100
    assert str(END) not in bias
    assert str(word) not in bias


@pytest.mark.parametrize(
    ("spoken", "tokens", "complete"), [([], 1, True), ([7], 1, False), ([7, 8], 2, False)]
)
def test_an_answer_is_complete_when_it_ends_by_itself(
    writer: ServedWriter, server: FakeServer, spoken: list[int], tokens: int, complete: bool
) -> None:
    """One that the limit cut is not, and one of nothing but its end is."""
    server.spoken = [*spoken, END]
    (answer,) = writer.write([Asked((5,), maximum_tokens=tokens)])
    assert (answer.ids, answer.complete) == (tuple(spoken), complete)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("400", "status 400"),
        ("503", "status 503"),
        ("cut", "gave no answer"),
        ("gone", "gave no answer"),
        ("abort", "broke an answer off"),
        ("no ids", "without token ids"),
        ("listless", "no answer or several"),
    ],
)
def test_a_server_that_fails_says_so_and_not_what_was_asked(
    writer: ServedWriter, server: FakeServer, fault: str, said: str
) -> None:
    """Each failure is an error of its own, and what the server tells of the prompt is not told on."""
    server.fault = fault
    with pytest.raises(ServerError, match=said) as raised:
        writer.write([Asked((5, 6), maximum_tokens=2)])
    assert "SECRET" not in str(raised.value)
    server.fault = ""
    assert len(writer.write([Asked((5, 6), maximum_tokens=2)])) == 1


def test_a_token_without_a_probability_is_no_answer(
    writer: ServedWriter, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States that are no numbers end in an error, not in a confident text."""
    monkeypatch.setattr(server, "_continue", lambda *_: ([7, END], [math.nan, -0.5]))
    with pytest.raises(ServerError, match="without a probability"):
        writer.write([Asked((5,), maximum_tokens=2)])


@pytest.mark.parametrize(
    ("change", "words_of_error"),
    [
        ({"prefixes": "True"}, "one case could read another's"),
        ({"prefixes": ""}, "one case could read another's"),
        ({"adapters": ("report",)}, "report-en is missing"),
        ({"takes_embeddings": False}, "to take embeddings of width 64 for base, found status 400"),
        ({"fault": "503"}, "none that answers"),
        ({"fault": "no ids"}, "return_token_ids"),
    ],
)
def test_a_server_that_will_not_do_is_refused_at_once(
    network: Any, known: Words, change: dict[str, Any], words_of_error: str
) -> None:
    """One that keeps prefixes, lacks an adapter or takes no embeddings never sees a case."""
    with (
        serving(replace(FakeServer(network, ADAPTERS), **change)) as running,
        pytest.raises(WeightsError, match=words_of_error) as raised,
    ):
        _writer(running, known)
    assert "--no-enable-prefix-caching" in str(raised.value) or "vLLM 0.11" in str(raised.value)


def test_a_server_that_is_not_there_is_refused(network: Any, known: Words) -> None:
    """A port on which nobody listens is an error that says how to start the server."""
    with serving(FakeServer(network, ADAPTERS)) as gone:
        pass
    with pytest.raises(WeightsError, match=r"ConnectError.*--enable-prompt-embeds"):
        _writer(gone, known)


def test_no_proxy_of_the_environment_sees_a_prompt(
    server: FakeServer, known: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that was named is asked, whatever the environment says of proxies."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with_proxy = _writer(server, known)
    assert with_proxy.write([Asked((5,), maximum_tokens=1)])
    with_proxy.close()


@pytest.mark.parametrize("kind", ["inject", "repeated"])
def test_what_enters_the_decoder_s_layers_cannot_be_served(writer: ServedWriter, kind: str) -> None:
    """A server runs its own layers alone: the other fusions are refused, not left out in silence."""
    with pytest.raises(WeightsError, match="runs the prefix fusion alone, use runner local"):
        writer.write([Asked((5,), seen(kind), maximum_tokens=2)])


@pytest.mark.parametrize("kind", ["inject", "repeated"])
def test_a_model_folder_that_a_server_cannot_run_is_refused_before_it_is_asked(
    known: Words, tmp_path: Path, kind: str
) -> None:
    """A fusion that enters the decoder's layers and a server do not go together in one drafter.json."""
    places = Places(2, 2, 2, 8, WIDTH)
    config = LlamaConfig(hidden_size=WIDTH, intermediate_size=64, num_attention_heads=4)
    fusion = InjectFusion(places, (8,), WIDTH, 2) if kind == "inject" else RepeatedFusion(places, config, 1)
    language = LanguageSettings("base", {}, "nf4", "float32", 8, "vllm", ServerSettings("http://127.0.0.1:9"))
    with pytest.raises(WeightsError, match=r"expected fusion\.kind prefix in drafter\.json for runner vllm"):
        _writer_of(language, tmp_path, {}, "", known, fusion, torch.device("cpu"))


def test_a_case_fits_or_is_refused_before_it_is_sent(writer: ServedWriter, server: FakeServer) -> None:
    """Start token, image, prompt and answer take 256 places at most."""
    image = seen("prefix")
    longest = 256 - 1 - 5 - 2
    assert writer.write([Asked((5,) * longest, image, maximum_tokens=2)])
    sent = len(server.bodies)
    for asked in (
        Asked((5,) * (longest + 1), image, maximum_tokens=2),
        Asked((5,), maximum_tokens=0),
        Asked((448,), maximum_tokens=2),
        Asked((-1,), maximum_tokens=2),
        Asked((5,), adapter="reports", maximum_tokens=2),
        Asked((5,), replace(image, prefix=torch.zeros(1, 5, 32)), maximum_tokens=2),  # type: ignore[type-var]
        Asked((5,), replace(image, prefix=torch.full((1, 5, 64), math.nan))),  # type: ignore[type-var]
    ):
        with pytest.raises(ValueError, match="expected"):
            writer.write([asked])
    assert len(server.bodies) == sent


def test_the_table_is_read_without_the_rest(tmp_path: Path) -> None:
    """From one file or from shards; a base without it is refused."""
    network: Any = llama()
    table = network.get_input_embeddings().weight
    network.save_pretrained(tmp_path / "one")
    network.save_pretrained(tmp_path / "many", max_shard_size="60KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    for name in ("one", "many"):
        torch.testing.assert_close(read_table(tmp_path / name), table.detach())
    (tmp_path / "one" / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="to be safetensors"):
        read_table(tmp_path / "one")


def test_a_folder_and_a_server_make_a_writer(server: FakeServer, known: Words, tmp_path: Path) -> None:
    """Width, start and ends are those of the base in the folder."""
    server.network.get_base_model().save_pretrained(tmp_path)
    made = ServedWriter.from_folder(ServerSettings(server.url), tmp_path, known, ADAPTERS)
    assert (made.width, made.start, made.ends) == (WIDTH, START, (END,))
    assert made.device == torch.device("cpu")
    made.close()
