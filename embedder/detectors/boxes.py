"""Boxes: non-maximum suppression, and how much two overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def overlap(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box (4,) with others (n, 4), corners."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:4], others[:, 2:4])
    inside = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(others[:, 2:4] - others[:, :2], axis=1) + np.prod(box[2:4] - box[:2])
    return (inside / np.maximum(areas - inside, 1e-9)).astype(np.float32)


def survivors(boxes: Floats, scores: Floats, least: float) -> NDArray[np.int64]:
    """Positions of the (n, 4) boxes that overlap no better one by more than `least`; best first."""
    left, kept = np.argsort(-scores, kind="stable"), list[int]()
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][overlap(boxes[left[0]], boxes[left[1:]]) <= least]
    return np.array(kept, np.int64)


def suppress(boxes: Floats, least: float) -> Floats:
    """(n, 5) boxes with scores, best first, without those that overlap a better one by more than `least`."""
    return boxes[survivors(boxes[:, :4], boxes[:, 4], least)]
