"""NudeNet 3.4's detector (320n.onnx, a YOLOv8), as a scorer: the best score of each of its 18 classes.

The nudenet package is only the carrier of the file; its code and weights are AGPL-3.0. Preprocessing follows what the
package feeds the network: padded right and below to a square with black, resized to 320, the channels swapped to BGR.
"""

from __future__ import annotations

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


class NudeNet:
    """(N images) -> (N, 18) scores; 0 where no box is reported."""

    name, classes, limits, licence = "nudenet", CLASSES, LIMITS, "AGPL-3.0"

    def __init__(self, model: bytes, device: str) -> None:
        self.digest = onnxfile.digest(model)
        self.session: Any = onnxfile.session(model, device)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.array([self._score(image) for image in images], np.float32).reshape(len(images), len(CLASSES))

    def _score(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One image at a time: batches are no faster on a CPU."""
        (found,) = self.session.run(None, {"images": blob(image)})
        return best_by_class(found[0], image.shape[1], image.shape[0])


def load(device: str) -> NudeNet:
    return NudeNet(onnxfile.packaged("nudenet", "320n.onnx").read_bytes(), device)


def blob(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) RGB -> (1, 3, 320, 320) BGR, 0..1; only the part that is not padding is resized."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = image
    if height != width:
        square = np.zeros((side, side, 3), np.uint8)
        square[:height, :width] = image
    return planes(resize_bilinear(square, SIDE, SIDE)[:, :, ::-1]) * np.float32(1 / 255)


def best_by_class(found: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """(4 + 18, anchors) of the network -> (18,): the best score of each class among the boxes that the package reports."""
    top = found[4:].max(axis=0)
    seen = np.flatnonzero(top > FLOOR)
    best = np.zeros(len(CLASSES), np.float32)
    if len(seen):
        kept = seen[survivors(corners(found[:4, seen], width, height), top[seen], OVERLAP)]
        np.maximum.at(best, found[4:, kept].argmax(axis=0), top[kept])
    return best


def corners(centred: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """(4, n) centre, width, height in network pixels -> (n, 4) corners in the image's, cut to it as the package does."""
    x, y, w, h = centred * (max(width, height) / SIDE)
    left, top = np.clip(x - w / 2, 0, width), np.clip(y - h / 2, 0, height)
    return np.stack([left, top, left + np.minimum(w, width - left), top + np.minimum(h, height - top)], axis=1)
