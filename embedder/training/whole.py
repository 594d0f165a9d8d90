"""Whole pictures, squashed to squares: what a worker makes of images that stay in memory.

Letters: B images, E side of a square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from curation.decode import Reject, opened, pixels, upright
from embedder.training.manifest import Ref
from embedder.training.worker import fetched


class Kept(NamedTuple):
    """pictures: (B, E, 3, E) uint8, rows first. sizes: (height, width) upright. reasons: why an image is no use, or ""."""

    pictures: NDArray[np.uint8]
    sizes: list[tuple[int, int]]
    reasons: list[str]


@dataclass(frozen=True)
class Whole:
    """What a worker has to know once. bytes: of shared memory, which it has no need of."""

    edge: int
    bytes: int = 1

    def done(self, refs: Sequence[Ref], _: Any = None) -> Kept:
        """The images that are there."""
        out = Kept(np.zeros((len(refs), self.edge, 3, self.edge), np.uint8), [(1, 1)] * len(refs), [""] * len(refs))
        for at, data in enumerate(fetched(refs)):
            try:
                out.pictures[at], out.sizes[at] = self._squashed(data)
            except Reject as reject:
                out.reasons[at] = reject.reason
        return out

    def _squashed(self, data: bytes | None) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """(E, 3, E) and the size that the image had."""
        if data is None:
            raise Reject("source_missing")
        with opened(data, None) as image:
            size, rgb = upright(image), pixels(image, self.edge)
        if rgb.shape[:2] != (self.edge, self.edge):
            planes = torch.from_numpy(rgb).permute(2, 0, 1)[None]
            planes = interpolate(planes, size=(self.edge, self.edge), mode="bicubic", antialias=True)[0]
            rgb = planes.permute(1, 2, 0).numpy()
        return rgb.transpose(0, 2, 1), size
