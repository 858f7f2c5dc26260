"""What comes from a server keeps to its form, whatever the server did with the grammar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from model.grammar import findings_grammar, report_grammar, report_parts
from model.language.asking import Asked
from model.language.local import LocalWriter
from model.language.served import ServedWriter
from model.language.settings import ServerSettings
from model.language.words import Words
from model.study import WeightsError
from tests.decoding_samples import END, LABELS, SPECIAL, START, adapted, llama, seen, words
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


def test_a_report_that_keeps_to_its_form_is_complete(
    writer: ServedWriter, server: FakeServer, known: Words
) -> None:
    """Its tokens are taken as they come, and it ends with the token that ends it."""
    text = "Lungs: No nodule.\nPleura: No pleural effusion.\nHeart: Normal.\n\nImpression:\nNo change."
    ids = known.encode(text)
    server.spoken = [*ids, END]
    (answer,) = writer.write([_asked(REPORT, LONG)])
    assert (answer.ids, answer.text, answer.complete) == (tuple(ids), text, True)


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
