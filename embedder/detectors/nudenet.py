"""NudeNet 3.4's detector (320n.onnx, a YOLOv8), as a scorer: the best score of each of its 18 classes.

The nudenet package is only the carrier of the file; its code and weights are AGPL-3.0. Preprocessing follows what the
package feeds the network: padded right and below to a square with black, resized to 320, the channels swapped to BGR.

What is special: boxes matter only where a better box of another class may suppress one. So the network is cut in two, and
the part that makes boxes (a fifth of the arithmetic) runs only for images in which more than one class is found.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.detectors import onnxfile
from embedder.detectors.boxes import survivors
from embedder.detectors.pixels import planes, resize_bilinear

SIDE = 320
CLASSES = (
    "FEMALE_GENITALIA_COVERED", "FACE_FEMALE", "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED", "ANUS_EXPOSED", "FEET_EXPOSED", "BELLY_COVERED", "FEET_COVERED", "ARMPITS_COVERED",
    "ARMPITS_EXPOSED", "FACE_MALE", "BELLY_EXPOSED", "MALE_GENITALIA_EXPOSED", "ANUS_COVERED", "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)  # fmt: skip
LIMITS: Mapping[str, float] = {
    "FEMALE_GENITALIA_EXPOSED": 0.4,
    "MALE_GENITALIA_EXPOSED": 0.4,
    "ANUS_EXPOSED": 0.4,
    "FEMALE_BREAST_EXPOSED": 0.4,
    "BUTTOCKS_EXPOSED": 0.5,
}
"""Classes that make an image unsafe. Its recall on nudity was not measured here; lower them where misses cost more."""
FLOOR, OVERLAP = 0.25, 0.45  # of a detection, and of boxes of which only the better counts, whatever their classes

# Tensors of 320n.onnx, by pixels a cell: 8, 16, 32. A cell's class scores, and the features that both branches start from.
STRIDES, BINS = (8, 16, 32), 16  # BINS: a box's distance to a side is a distribution over 0 to 15 cells
CLASS_MAPS = tuple(f"/model.22/cv3.{n}/cv3.{n}.2/Conv_output_0" for n in range(3))
SIDE_MAPS = tuple(f"/model.22/cv2.{n}/cv2.{n}.2/Conv_output_0" for n in range(3))
FEATURES = tuple(f"/model.{n}/cv2/act/Mul_output_0" for n in (15, 18, 21))

Floats = NDArray[np.float32]


class NudeNet:
    """(N images) -> (N, 18) scores; 0 where no box is reported."""

    name, classes, limits, licence = "nudenet", CLASSES, LIMITS, "AGPL-3.0"

    def __init__(self, model: bytes, device: str) -> None:
        self.digest = onnxfile.digest(model)
        self.scores: Any = onnxfile.session(onnxfile.part(model, ["images"], CLASS_MAPS + FEATURES), device)
        self.sides: Any = onnxfile.session(onnxfile.part(model, FEATURES, SIDE_MAPS), device)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Floats:
        return np.array([self._score(image) for image in images], np.float32).reshape(len(images), len(CLASSES))

    def _score(self, image: NDArray[np.uint8]) -> Floats:
        """One image at a time: batches are no faster on a CPU."""
        maps = self.scores.run(None, {"images": blob(image)})
        logits = joined(maps[:3])
        top = 1 / (1 + np.exp(-logits.max(axis=0)))
        seen = np.flatnonzero(top > FLOOR)
        classes = logits[:, seen].argmax(axis=0)
        best = np.zeros(len(CLASSES), np.float32)
        if len(set(classes.tolist())) < 2:
            np.maximum.at(best, classes, top[seen])
            return best
        sides = joined(self.sides.run(None, dict(zip(FEATURES, maps[3:], strict=True))))
        kept = survivors(corners(sides[:, seen], cells()[:, seen], image.shape[1], image.shape[0]), top[seen], OVERLAP)
        np.maximum.at(best, classes[kept], top[seen[kept]])
        return best


def load(device: str) -> NudeNet:
    """Raises ValueError if the nudenet package is not installed, or carries another network."""
    return NudeNet(onnxfile.packaged("nudenet", "320n.onnx").read_bytes(), device)


def blob(image: NDArray[np.uint8]) -> Floats:
    """(H, W, 3) RGB -> (1, 3, 320, 320) BGR, 0..1, as if the image lay on a black square at its top left."""
    side = max(image.shape[:2])
    return planes(resize_bilinear(image, SIDE, SIDE, paper=(side, side))[:, :, ::-1], 1 / 255)


def joined(maps: Sequence[Floats]) -> Floats:
    """Maps (1, C, h, w) of all cell sizes -> (C, cells)."""
    return np.concatenate([one.reshape(one.shape[1], -1) for one in maps], axis=1)


@functools.cache
def cells() -> Floats:
    """(3, cells): x and y of each cell's centre, and its side, in network pixels; in the order of `joined`."""
    out: list[Floats] = []
    for stride in STRIDES:
        y, x = (np.indices((SIDE // stride, SIDE // stride)).reshape(2, -1) + 0.5) * stride
        out.append(np.stack([x, y, np.full(len(x), stride)]).astype(np.float32))
    return np.concatenate(out, axis=1)


def corners(sides: Floats, places: Floats, width: int, height: int) -> Floats:
    """(4 BINS, n) logits of the distances to the left, top, right, bottom, and `cells` -> (n, 4) corners in the image.

    The corners are cut to the image as the package does it: width and height stay what they are on the left and top.
    """
    spread = np.exp(sides.reshape(4, BINS, -1) - sides.reshape(4, BINS, -1).max(axis=1, keepdims=True))
    left, top, right, bottom = np.tensordot(np.arange(BINS), spread, (0, 1)) / spread.sum(axis=1) * places[2]
    scale = max(width, height) / SIDE
    x = np.clip((places[0] - left) * scale, 0, width)
    y = np.clip((places[1] - top) * scale, 0, height)
    w, h = np.minimum((left + right) * scale, width - x), np.minimum((top + bottom) * scale, height - y)
    return np.stack([x, y, x + w, y + h], axis=1).astype(np.float32)
