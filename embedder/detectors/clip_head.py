"""LAION's way: a small head on CLIP image features says how unsafe an image is.

A folder holds a CLIP vision tower as Hugging Face's transformers saves it, and head.safetensors (or head.pt, a plain
state dict): linear layers 0.weight, 0.bias, ... with ReLU between and a sigmoid at the end (LAION-AI/CLIP-based-NSFW-
Detector; its MLP on unit-length ViT-L/14 features). Nothing is unpickled but tensors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn.functional import linear, normalize, relu

from embedder.detectors.classifiers import LIMIT, Card, prepared
from embedder.detectors.onnxfile import folder_digest

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # openai/CLIP, clip.py


class ClipHead:
    """Images -> (N, 1): how unsafe."""

    classes, limits, licence = ("nsfw",), {"nsfw": LIMIT}, "as its files say"

    def __init__(self, folder: Path, tower: Any, head: Path, device: str) -> None:
        self.name, self.digest = f"clip-head:{folder.name}", folder_digest(folder)  # of the tower and of the head
        self.tower, self.layers, self.device = tower, [(w.to(device), b.to(device)) for w, b in layers(head)], device
        self.card = Card(side=tower.config.image_size, mean=MEAN, std=STD, classes=self.classes, limits=self.limits)

    @torch.inference_mode()
    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if not len(images):
            return np.zeros((0, 1), np.float32)
        pixels = torch.cat([prepared(image, self.card) for image in images]).to(self.device)
        features = normalize(self.tower(pixel_values=pixels).image_embeds.float(), dim=1)
        return head_scores(features, self.layers)[:, None].cpu().numpy()


def head_scores(features: torch.Tensor, stack: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """(N, D) unit-length features through the head -> (N,) scores, 0..1."""
    for number, (weight, bias) in enumerate(stack):
        features = linear(features, weight, bias)
        features = relu(features) if number < len(stack) - 1 else torch.sigmoid(features)
    return features[:, 0]


def layers(head: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(weight, bias) of the head's linear layers, in order. Raises ValueError for anything else."""
    try:
        state = load_file(head) if head.suffix == ".safetensors" else torch.load(head, weights_only=True, map_location="cpu")
        names = sorted((int(re.findall(r"\d+", name)[-1]), name) for name in state if name.endswith(".weight"))
        found = [(state[name].float(), state[name.replace(".weight", ".bias")].float()) for _, name in names]
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise ValueError(f"{head} is no stack of linear layers: {str(error).strip().splitlines()[0]}") from error
    widths = [tuple(weight.shape) for weight, _ in found]
    fits = all(len(shape) == 2 for shape in widths) and all(a[0] == b[1] for a, b in pairwise(widths))
    if not fits or not widths or widths[-1][0] != 1:
        raise ValueError(f"{head} is no stack of linear layers that ends in one number: {widths}")
    return found


def load(path: str, device: str) -> ClipHead:
    """Raises ValueError for a folder without a CLIP vision tower or without a head."""
    folder = Path(path).expanduser()
    head = next((one for one in (folder / "head.safetensors", folder / "head.pt") if one.exists()), None)
    if head is None:
        raise ValueError(f"{folder} has no head.safetensors or head.pt")
    try:
        from transformers import CLIPVisionModelWithProjection
    except ImportError:
        raise ValueError("clip-head needs transformers: pip install transformers") from None
    try:
        tower: Any = CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True).eval().to(device)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: {str(error).splitlines()[0]}") from error
    return ClipHead(folder, tower, head, device)
