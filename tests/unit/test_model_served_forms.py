"""What goes to a server is exact, and what comes from it keeps to its form, whatever the server did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model.fusion.inject import InjectFusion
from model.fusion.places import FusionModule, Places
from model.fusion.repeated import RepeatedFusion
from model.grammar import findings_grammar, report_grammar, report_parts
from model.language.asking import Asked
from model.language.local import LocalWriter
from model.language.served import ServedWriter
from model.language.settings import LanguageSettings, ServerSettings
from model.language.words import Words
from model.loading import _writer
from model.study import WeightsError
from tests.decoding_samples import END, LABELS, SPECIAL, START, WIDTH, adapted, llama, seen, words
from tests.vllm_server import FakeServer, serving

ORGANS, IMPRESSION = LABELS["en"]
REPORT = report_grammar(ORGANS, IMPRESSION)
PROMPT = (40, 41, 42)
LONG = 150


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Words:
    return words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def network() -> Any:
    return llama(2)


@pytest.fixture
def server(network: Any) -> Iterator[FakeServer]:
    with serving(FakeServer(network, length=512)) as running:
        yield running


@pytest.fixture
def writer(server: FakeServer, known: Words) -> Iterator[ServedWriter]:
    table = server.network.get_input_embeddings().weight.detach()
    made = ServedWriter(ServerSettings(server.url), table, START, [END], known)
    server.bodies.clear()
    yield made
    made.close()


def _asked(grammar: str, tokens: int) -> Asked:
    return Asked(PROMPT, seen("prefix"), "", grammar, tokens)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_arrives_is_the_table_s_rows_and_the_image(
    network: Any, known: Words, server: FakeServer, dtype: torch.dtype
) -> None:
    """To the bit: the start token, what was seen, the prompt; in the precision in which the base lies."""
    table = network.get_input_embeddings().weight.detach().to(dtype)
    made = ServedWriter(ServerSettings(server.url), table, START, [END], known)
    server.inputs.clear()
    image = seen("prefix")
    assert image is not None
    made.write([Asked(PROMPT, image, maximum_tokens=1)])
    made.write([Asked((7,), maximum_tokens=1)])
    made.close()
    whole, plain = server.inputs
    assert whole.dtype == plain.dtype == dtype
    assert torch.equal(whole[:1], table[[START]])
    assert torch.equal(whole[1:6], image.prefix[0].to(dtype))
    assert torch.equal(whole[6:], table[list(PROMPT)])
    assert torch.equal(plain, table[[START, 7]])


@pytest.mark.parametrize("kind", ["repeated", "inject"])
def test_a_model_folder_whose_fusion_no_server_runs_is_refused(
    known: Words, tmp_path: Path, kind: str
) -> None:
    """While it loads, before a server is asked for anything."""
    config = llama().config
    places = Places(3, 2, 4, 6, WIDTH)
    fusion: FusionModule = (
        RepeatedFusion(places, config, 1) if kind == "repeated" else InjectFusion(places, (5, 7), WIDTH, 3)
    )
    language = LanguageSettings.from_json(
        {
            "base": "language",
            "adapters": {"report": {"*": "adapter"}},
            "quantisation": "none",
            "compute_dtype": "float32",
            "maximum_tokens": 9,
            "runner": {"kind": "vllm", "url": "http://127.0.0.1:9"},
        }
    )
    with pytest.raises(WeightsError, match=r"fusion\.kind prefix .* use runner local"):
        _writer(language, tmp_path, {}, "", known, fusion, torch.device("cpu"))


def test_a_report_that_keeps_to_its_form_is_complete(
    writer: ServedWriter, server: FakeServer, known: Words
) -> None:
    """Its tokens are taken as they come, and it ends with the token that ends it."""
    text = "Lungs: No nodule.\nPleura: No pleural effusion.\nHeart: Normal.\n\nImpression:\nNo change."
    ids = known.encode(text)
    server.spoken = [*ids, END]
    (answer,) = writer.write([_asked(REPORT, LONG)])
    assert (answer.ids, answer.text, answer.complete) == (tuple(ids), text, True)


def test_an_end_that_is_only_told_is_an_end(
    writer: ServedWriter, server: FakeServer, known: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may leave the token that ended an answer out of its tokens, and say that it stopped."""
    answer_in_full = server.answer

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        document = answer_in_full(body)
        choice = document["choices"][0]
        del choice["token_ids"][-1], choice["logprobs"]["token_logprobs"][-1]
        return document

    monkeypatch.setattr(server, "answer", answer)
    ids = known.encode("Clear.")
    server.spoken = [*ids, END]
    held, free = (writer.write([_asked(grammar, LONG)])[0] for grammar in ('root ::= "Clear."', ""))
    assert held == free
    assert (held.ids, held.complete) == (tuple(ids), True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Lungs: No nodule",
        "Lungs: No nodule.\nHeart: Normal.",
        "Lungs: No nodule.\nPleura: Clear.\nHeart: Normal.\n\nImpression:\nNo change.\n\nAddendum:\nFinal.",
        "I cannot help with that.",
    ],
    ids=["nothing", "half a sentence", "an organ left out", "a section of its own", "free words"],
)
def test_a_report_that_breaks_its_form_is_closed_and_incomplete(
    writer: ServedWriter, server: FakeServer, known: Words, text: str
) -> None:
    """A server that lost the grammar writes no section of its own, and every section is there."""
    server.spoken = [*known.encode(text), END]
    (answer,) = writer.write([_asked(REPORT, LONG)])
    parts = report_parts(answer.text, ORGANS, IMPRESSION)
    assert [label for label, _ in parts] == [*ORGANS, IMPRESSION]
    assert not answer.complete
    assert len(answer.ids) <= LONG
    assert "Addendum" not in answer.text


def test_a_special_token_ends_a_form_as_well(writer: ServedWriter, server: FakeServer, known: Words) -> None:
    """What follows it is not read."""
    server.spoken = [*known.encode("Lungs: Clear."), SPECIAL, *known.encode("\nPleura: Effusion."), END]
    (answer,) = writer.write([_asked(REPORT, LONG)])
    assert answer.text.startswith("Lungs: Clear.\nPleura: …")
    assert not answer.complete


@pytest.mark.parametrize("tokens", [40, 60, 90])
def test_a_report_that_its_tokens_do_not_suffice_for_is_closed_as_in_this_process(
    writer: ServedWriter, server: FakeServer, network: Any, known: Words, tokens: int
) -> None:
    """The same words, closed at the same place with the same tokens, as the engine writes."""
    grammar = findings_grammar(ORGANS)
    local = LocalWriter(network, known)
    (free,) = local.write([_asked(grammar, 400)])
    (cut,) = local.write([_asked(grammar, tokens)])
    assert len(free.ids) > tokens
    assert not cut.complete
    server.spoken = [*free.ids, END]
    (answer,) = writer.write([_asked(grammar, tokens)])
    assert (answer.ids, answer.text, answer.complete) == (cut.ids, cut.text, False)


@pytest.mark.parametrize("grammar", ["no grammar", REPORT], ids=["no grammar", "too few tokens"])
def test_a_form_that_cannot_be_written_is_refused_before_it_is_sent(
    writer: ServedWriter, server: FakeServer, grammar: str
) -> None:
    """A text that is no grammar, and a report in three tokens."""
    with pytest.raises(ValueError, match="expected"):
        writer.write([_asked(grammar, 3)])
    assert server.bodies == []


def test_an_adapter_may_be_served_under_another_name(known: Words) -> None:
    """Where drafter.json names one, that name is asked for; where not, the folder's."""
    network = adapted(llama(), "english", "adapters/conclusion")
    table = network.get_input_embeddings().weight.detach()
    with serving(FakeServer(network, ("english", "adapters/conclusion"))) as running:
        settings = ServerSettings.from_json(
            {"kind": "vllm", "url": running.url, "models": {"adapters/report-en": "english"}}
        )
        folders = ("adapters/report-en", "adapters/conclusion")
        made = ServedWriter(settings, table, START, [END], known, folders)
        running.bodies.clear()
        for folder in folders:
            made.write([Asked(PROMPT, adapter=folder, maximum_tokens=1)])
        assert [body["model"] for body in running.bodies] == ["english", "adapters/conclusion"]
        made.close()
        assert ServerSettings.from_json(settings.to_json()) == settings
        with pytest.raises(WeightsError, match=r"adapters/report-en is missing"):
            ServedWriter(ServerSettings(running.url), table, START, [END], known, folders)


@pytest.mark.parametrize("models", [["english"], {"adapters/report-en": ""}, {"adapters/report-en": 1}])
def test_names_on_a_server_that_are_none_are_refused(models: Any) -> None:
    """They map folders to names, none of them empty."""
    with pytest.raises(WeightsError, match=r"runner\.models"):
        ServerSettings.from_json({"kind": "vllm", "url": "http://localhost:8000", "models": models})
