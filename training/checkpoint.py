"""A phase of training that survives a restart: weights, optimiser and step, as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

EVERY_STEPS = 100


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    unique = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(unique, str(partial), metadata={"format": "pt", **(metadata or {})})
    partial.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""
    with safe_open(str(path), framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}, dict(stored.metadata() or {})  # noqa: SIM118


class Checkpoint:
    """Where one phase keeps its state. A checkpoint of another plan or seed is not taken."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        """identity is what must be equal for the state to be of use, as plain values."""
        self.path = path
        self.identity = json.dumps(identity, sort_keys=True)

    def save(self, step: int, module: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> None:
        """Keep what is trained after so many steps; without an optimiser the phase is finished."""
        tensors = {f"weight/{name}": value for name, value in trained(module).items()}
        if optimiser is not None:
            for index, state in optimiser.state_dict()["state"].items():
                for key, value in state.items():
                    tensors[f"optimiser/{index}/{key}"] = torch.as_tensor(value)
        save_tensors(self.path, tensors, {"identity": self.identity, "step": str(step)})

    def restore(self, module: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> int:
        """Load the state into the module and the optimiser; returns the steps done, 0 when there is none."""
        if not self.path.exists():
            return 0
        tensors, metadata = load_tensors(self.path)
        if metadata.get("identity") != self.identity:
            return 0
        own = trained(module)
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(tensors[f"weight/{name}"])
        if optimiser is not None:
            states: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith("optimiser/"):
                    _, index, key = name.split("/")
                    states.setdefault(int(index), {})[key] = value
            if states:
                optimiser.load_state_dict({**optimiser.state_dict(), "state": states})
        return int(metadata["step"])


def trained(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of a module that take gradients, by name."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}
