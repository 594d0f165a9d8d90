"""Face detectors in TorchScript of EgoBlur's kind (facebookresearch/EgoBlur; Apache-2.0, fetched by hand).

The scripted model takes one (3, H, W) float tensor, BGR, 0..255, and returns boxes (n, 4), labels, scores, and sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.detectors.boxes import Floats, suppress
from embedder.detectors.onnxfile import digest

OVERLAP = 0.3


class EgoBlur:
    licence = "as its file says"

    def __init__(self, path: Path, device: str) -> None:
        data = path.read_bytes()
        self.name, self.digest, self.device = path.name, digest(data), device
        self.model: Any = torch.jit.load(str(path), map_location=device).eval()

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Floats]:
        return [self._detect(image) for image in images]

    @torch.inference_mode()
    def _detect(self, image: NDArray[np.uint8]) -> Floats:
        tensor = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))).float().to(self.device)
        boxes, _, scores, _ = self.model(tensor)
        found = torch.cat([boxes.float(), scores.float()[:, None]], dim=1).cpu().numpy()
        return suppress(found.astype(np.float32).reshape(-1, 5), OVERLAP)


def load(path: Path, device: str) -> EgoBlur:
    """Raises ValueError for a file that is no TorchScript."""
    try:
        return EgoBlur(path, device)
    except RuntimeError as error:
        raise ValueError(f"{path} is no TorchScript file: {str(error).splitlines()[0]}") from error
