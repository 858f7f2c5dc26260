"""Import timm on every build of torch.

timm needs torchvision. The torchvision of the package index is built for CUDA; beside a CPU-only torch
its compiled part cannot load, and its import then fails because it describes operators that nobody
declared. Declaring them mends it: timm's vision transformers never call them.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_DECLARATIONS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: Any = None
"""Held for the life of the process: torch withdraws the declarations with the object."""


def import_timm() -> ModuleType:
    """timm, also beside a torch whose torchvision has no compiled operators."""
    global _library
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        import torch

        library: Any = torch.library.Library
        _library = library("torchvision", "DEF")
        for declaration in _DECLARATIONS:
            _library.define(declaration)
        # What was half imported is imported anew.
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    return importlib.import_module("timm")
