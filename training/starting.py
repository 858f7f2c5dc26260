"""Encoders that start from weights of timm in a local file, not from chance."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from model.study import WeightsError
from model.vision.settings import VisionSettings
from model.vision.tower import VisionTower


def start_from_checkpoints(tower: VisionTower, settings: VisionSettings) -> int:
    """Load the checkpoint of each encoder that names one; returns how many tensors were taken.

    A tensor that the encoder has in another shape (the first layer of other channels, positions of another
    grid) is left to chance. Raises WeightsError when the file is no safetensors, or nothing of it fits.
    """
    taken = 0
    for encoder, one in zip(tower.encoders, settings.encoders, strict=True):
        if not one.checkpoint:
            continue
        path = Path(one.checkpoint)
        if path.suffix != ".safetensors":
            raise WeightsError(f"expected a checkpoint in safetensors for {one.timm_name}, found {path.name}")
        try:
            tensors = load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"expected a checkpoint of {one.timm_name} in {path.name}: {error}") from error
        network = encoder.network
        assert isinstance(network, nn.Module)
        shapes = {name: value.shape for name, value in network.state_dict().items()}
        fits = {name: value for name, value in tensors.items() if shapes.get(name) == value.shape}
        if not fits:
            raise WeightsError(f"expected weights of {one.timm_name} in {path.name}, found none that fit")
        with torch.no_grad():
            network.load_state_dict(fits, strict=False)
        taken += len(fits)
    return taken
