"""From a verified model folder to the halves of a drafter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from model.confidence import Calibration
from model.fusion.making import make_fusion
from model.fusion.places import FusionModule
from model.fusion.prefix import PrefixFusion
from model.fusion.settings import FusionSettings
from model.language.adapters import add_adapters, check_adapter
from model.language.asking import Writer
from model.language.base import load_base, read_config
from model.language.local import LocalWriter
from model.language.served import ServedWriter
from model.language.settings import VLLM, LanguageSettings
from model.language.words import Words
from model.manifest import Manifest, folder_sha256
from model.observing import Observer, SizeSettings
from model.preprocess import ImageSettings
from model.prompts import PROMPT_VERSION
from model.study import WeightsError
from model.vision.settings import VisionSettings
from model.vision.tower import VisionTower

VISION_FILE = "vision/model.safetensors"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Parts:
    """The halves of a drafter, and what travels with them."""

    image: ImageSettings
    tower: VisionTower
    fusion: FusionModule
    observer: Observer
    calibration: Calibration
    language: LanguageSettings
    words: Words
    writer: Writer
    device: torch.device


def load_parts(manifest: Manifest) -> Parts:
    """Load the halves of a verified model folder.

    1. Every setting can be read, and the prompt is the one that the weights were trained with.
    2. Every adapter names the base that lies in the folder.
    3. The vision half and the fusion load, and their widths fit the base.
    4. The language half loads: base in 4-bit, adapters, tokenizer; or its server is there.

    Raises WeightsError when one of these does not hold.
    """
    # 1.
    if manifest.prompt_version != PROMPT_VERSION:
        raise WeightsError(
            f"the weights were trained with prompt {manifest.prompt_version}, this release builds "
            f"{PROMPT_VERSION}: use the release that they were made for"
        )
    image = ImageSettings.from_json(manifest.part("image"))
    vision = VisionSettings.from_json(manifest.part("vision"))
    fusing = FusionSettings.from_json(manifest.part("fusion"))
    language = LanguageSettings.from_json(manifest.part("language"))
    calibration = Calibration.from_json(manifest.part("calibration"), vision.heads)
    sizes = SizeSettings.from_json(manifest.part("sizes"))

    # 2.
    base = manifest.folder / language.base
    sha256 = base_sha256(manifest, language.base)
    folders = {folder: manifest.folder / folder for folder in language.folders}
    for folder in folders.values():
        check_adapter(folder, sha256)

    # 3.
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tower = VisionTower(vision, image.shape)
    fusion = make_fusion(fusing, len(vision.heads), tower, read_config(base))
    try:
        tensors = load_file(str(manifest.path(VISION_FILE)))
        whole = torch.nn.ModuleDict({"tower": tower, "fusion": fusion})
        whole.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (RuntimeError, SafetensorError) as error:
        raise WeightsError(f"expected {VISION_FILE} to fit drafter.json: {error}") from error
    whole.requires_grad_(requires_grad=False).to(device).eval()

    # 4.
    words = Words(manifest.path(f"{language.base}/{TOKENIZER_FILE}"))
    writer = _writer(language, base, folders, sha256, words, fusion, device)
    observer = Observer(image, vision.heads, calibration, sizes)
    return Parts(image, tower, fusion, observer, calibration, language, words, writer, device)


def base_sha256(manifest: Manifest, base: str) -> str:
    """The hash by which an adapter names its base: over the names and hashes of the base's files."""
    prefix = f"{base}/"
    files = {
        name.removeprefix(prefix): digest
        for name, digest in manifest.files.items()
        if name.startswith(prefix)
    }
    if not files:
        raise WeightsError(f"expected files of the language base under {base}, found none pinned")
    return folder_sha256(files)


def _writer(
    language: LanguageSettings,
    base: Path,
    folders: Mapping[str, Path],
    sha256: str,
    words: Words,
    fusion: FusionModule,
    device: torch.device,
) -> Writer:
    if language.runner == VLLM:
        if not isinstance(fusion, PrefixFusion):
            raise WeightsError(
                "expected fusion.kind prefix in drafter.json for runner vllm, found another: a server runs "
                "its own layers alone, use runner local"
            )
        return ServedWriter.from_folder(language.server, base, words, list(folders))
    network = load_base(base, language, device)
    network = add_adapters(network, folders, sha256)
    return LocalWriter(network, words, list(fusion.blocks))
