"""NSFW classifiers from local files: ONNX or TorchScript with a card beside it, or a Hugging Face folder.

The card, NAME.json beside NAME.onnx or NAME.pt, has: side (pixels), mean and std (3 numbers each, of 0..1 RGB), classes,
limits (class -> score from which it is unsafe), licence, activation ("softmax", "sigmoid" or "none"), and resample
("bicubic" or "bilinear", both with antialiasing).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from embedder.detectors import onnxfile

Floats = NDArray[np.float32]
UNSAFE = ("nsfw", "porn", "hentai", "sexy", "unsafe", "explicit")  # labels that count as unsafe where no card says so
LIMIT = 0.5
_KEYS = ("side", "mean", "std", "classes", "limits", "licence", "activation", "resample")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What has to be known of a classifier besides its weights."""

    side: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    classes: tuple[str, ...]
    limits: Mapping[str, float]
    licence: str = "unknown"
    activation: str = "softmax"
    resample: str = "bicubic"


class Classifier:
    """Images -> (N, classes) scores. logits: (N, 3, side, side) float tensor -> (N, classes) array."""

    def __init__(self, name: str, digest: str, card: Card, logits: Callable[[torch.Tensor], Floats]) -> None:
        self.name, self.digest, self.licence = name, digest, card.licence
        self.classes, self.limits, self.card, self.logits = card.classes, card.limits, card, logits

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Floats:
        if not len(images):
            return np.zeros((0, len(self.classes)), np.float32)
        out = torch.from_numpy(np.asarray(self.logits(torch.cat([prepared(i, self.card) for i in images])), np.float32))
        activate: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "softmax": lambda x: x.softmax(1), "sigmoid": torch.sigmoid, "none": lambda x: x,
        }  # fmt: skip
        return activate[self.card.activation](out).numpy()


def prepared(image: NDArray[np.uint8], card: Card) -> torch.Tensor:
    """(H, W, 3) RGB -> (1, 3, side, side), squashed, normalised."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    small = interpolate(pixels, size=(card.side, card.side), mode=card.resample, antialias=True).float() / 255
    return (small - torch.tensor(card.mean).view(3, 1, 1)) / torch.tensor(card.std).view(3, 1, 1)


def load_file(path: Path, device: str) -> Classifier:
    """An ONNX or TorchScript classifier. Raises ValueError for a missing or unusable card or file."""
    card, data = _card(path), path.read_bytes()
    if path.suffix == ".onnx":
        session = _opened(path, data, device)
        name = session.get_inputs()[0].name
        return Classifier(path.stem, onnxfile.digest(data), card, lambda x: session.run(None, {name: x.numpy()})[0])
    try:
        model: Any = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise ValueError(f"{path} is no TorchScript file: {str(error).splitlines()[0]}") from error
    return Classifier(path.stem, onnxfile.digest(data), card, lambda x: _run(model, x.to(device)))


def _opened(path: Path, data: bytes, device: str) -> Any:
    try:
        return onnxfile.session(data, device)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@torch.inference_mode()
def _run(model: Any, pixels: torch.Tensor) -> Floats:
    return model(pixels).float().cpu().numpy()


def _card(path: Path) -> Card:
    beside = path.with_suffix(".json")
    try:
        told = json.loads(beside.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} needs a card, {beside.name}: {error}") from error
    unknown = [key for key in told if key not in _KEYS]
    if unknown:
        raise ValueError(f"{beside}: no key {unknown[0]}; there are {', '.join(_KEYS)}")
    try:
        lists = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
        card = Card(**lists)
    except TypeError as error:
        raise ValueError(f"{beside}: {error}") from error
    if not set(card.limits) <= set(card.classes) or card.activation not in ("softmax", "sigmoid", "none"):
        raise ValueError(f"{beside}: limits must name classes, activation softmax, sigmoid or none")
    if card.resample not in ("bicubic", "bilinear"):
        raise ValueError(f"{beside}: resample must be bicubic or bilinear")
    return card


def load_folder(folder: Path, device: str) -> Classifier:
    """An image classifier as Hugging Face's transformers saves it. Raises ValueError if it cannot be loaded offline.

    Differs: where the folder's preparation crops the centre, the image is squashed, so that nothing of it goes unseen.
    """
    try:
        from transformers import AutoModelForImageClassification
    except ImportError:
        raise ValueError(f"{folder} is a Hugging Face folder: pip install transformers") from None
    try:
        model: Any = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval().to(device)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: {str(error).splitlines()[0]}") from error
    classes = tuple(str(model.config.id2label[n]) for n in range(model.config.num_labels))
    card = folder_card(folder, classes)
    return Classifier(
        folder.name, onnxfile.folder_digest(folder), card, lambda x: _run(lambda y: model(y).logits, x.to(device))
    )


def folder_card(folder: Path, classes: tuple[str, ...]) -> Card:
    """What preprocessor_config.json says of side, statistics and filter; a class is unsafe by its name."""
    beside = folder / "preprocessor_config.json"
    try:
        told = json.loads(beside.read_text())
        size = told["size"]
        side = int(size if isinstance(size, int) else size.get("height") or size["shortest_edge"])
        statistics = {name: tuple(map(float, told.get(f"image_{name}", (0.5, 0.5, 0.5)))) for name in ("mean", "std")}
        resample = {2: "bilinear", 3: "bicubic"}[told.get("resample", 2)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder} needs a usable {beside.name}: {error!r}") from error
    limits = {name: LIMIT for name in classes if name.lower() in UNSAFE}
    return Card(side=side, classes=classes, limits=limits, resample=resample, **statistics)
