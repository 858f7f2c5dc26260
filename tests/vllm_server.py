"""A server that speaks as vLLM's does, on loopback, around a small Llama that truly continues embeddings."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from torch import Tensor


@dataclass
class FakeServer:
    """What it serves, what it was asked, and how it misbehaves."""

    network: Any
    """A LlamaForCausalLM, with adapters in peft where there are any."""
    adapters: Sequence[str] = ()
    prefixes: str = "False"
    """What /metrics says of prefix caching; empty says nothing."""
    length: int = 256
    takes_embeddings: bool = True
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Every request for an answer, in the order of arrival."""
    inputs: list[Tensor] = field(default_factory=list)
    """The embeddings of each."""
    fault: str = ""
    """400, 503, cut (the answer ends in the middle), gone (the connection closes), abort, no ids, listless,
    or empty for none."""
    spoken: list[int] | None = None
    """Tokens to answer with instead of the network's."""
    lock: Any = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """One completion, greedy."""
        embeddings = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)
        assert embeddings.untyped_storage().nbytes() == embeddings.numel() * embeddings.element_size()
        bias = {int(token): value for token, value in body.get("logit_bias", {}).items()}
        with self.lock:
            self.bodies.append(body)
            self.inputs.append(embeddings)
            ids, logs = self._continue(body, embeddings.float(), bias)
        stopped = bool(ids) and ids[-1] in body["stop_token_ids"]
        choice: dict[str, Any] = {
            "index": 0,
            "text": "not read",
            "finish_reason": "abort" if self.fault == "abort" else "stop" if stopped else "length",
            "logprobs": {"token_logprobs": logs, "tokens": ["" for _ in ids]},
            "token_ids": ids,
        }
        if self.fault == "no ids":
            del choice["token_ids"]
        return {"object": "text_completion", "choices": [] if self.fault == "listless" else [choice]}

    @torch.inference_mode()
    def _continue(
        self, body: dict[str, Any], embeddings: Tensor, bias: dict[int, float]
    ) -> tuple[list[int], list[float]]:
        table = self.network.get_input_embeddings()
        if self.adapters:
            if body["model"] in self.adapters:
                self.network.base_model.enable_adapter_layers()
                self.network.set_adapter(body["model"])
            else:
                self.network.base_model.disable_adapter_layers()
        ids: list[int] = []
        logs: list[float] = []
        while len(ids) < body["max_tokens"]:
            states = torch.cat([embeddings, table(torch.tensor(ids, dtype=torch.long))])[None]
            raw = torch.log_softmax(self.network(inputs_embeds=states).logits[0, -1].float(), dim=0)
            biased = raw.clone()
            for token, value in bias.items():
                biased[token] += value
            token = int(biased.argmax()) if self.spoken is None else self.spoken[len(ids)]
            ids.append(token)
            logs.append(float(raw[token]) if token < len(raw) else -1.0)
            if token in body["stop_token_ids"]:
                break
        return ids, logs


@contextmanager
def serving(server: FakeServer) -> Iterator[FakeServer]:
    """The server on a free port of loopback, for as long as it is wanted."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/v1/models":
                names = ["base", *server.adapters]
                cards = [{"id": name, "object": "model", "max_model_len": server.length} for name in names]
                self._send(200, json.dumps({"object": "list", "data": cards}))
            elif self.path == "/metrics":
                label = f'enable_prefix_caching="{server.prefixes}",' if server.prefixes else ""
                self._send(200, f'# HELP\nvllm:cache_config_info{{block_size="16",{label}engine="0"}} 1.0\n')
            else:
                self._send(404, "{}")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not server.takes_embeddings:
                self._send(400, json.dumps({"error": {"message": "Prompt embeddings are not enabled"}}))
            elif server.fault in ("400", "503"):
                self._send(int(server.fault), json.dumps({"error": {"message": "SECRET of the prompt"}}))
            elif server.fault == "gone":
                self.close_connection = True
            else:
                self._send(200, json.dumps(server.answer(body)))

        def _send(self, status: int, text: str) -> None:
            raw = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2] if server.fault == "cut" else raw)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{listener.server_address[1]}"
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
