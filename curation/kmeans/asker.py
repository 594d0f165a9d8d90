"""The same rows, asked for their nearest centroid pass after pass: each pass starts from what the last one found.

A row whose centroid did not move since is held against those only that did. Exact.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from curation.kmeans import nearest
from curation.kmeans.assign import on_gpu
from curation.kmeans.sketch import Short, Sketch, Targets, shortened

CHOSEN = (0, 1, 3)  # passes at which the sketch is chosen: at the start, with something to go by, and when that has settled

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Asker:
    """Rows x (N, D) float32 that are asked again and again. Holds, beside them, up to half the memory they take."""

    def __init__(self, x: Floats) -> None:
        self.x, self.k, self.asked = x, 0, 0
        self.labels: Ints | None = None
        self.sketch: Sketch | None = None
        self.made: Short | None = None  # the rows' sketches
        self.before: Targets | None = None

    def ask(self, targets: Targets) -> tuple[Ints, Floats]:
        """The centroid of best score of each row, and the score."""
        if torch.cuda.is_available():
            return on_gpu(self.x, targets)
        if len(targets.bias_K) != self.k:  # other centroids altogether
            self.k, self.labels, self.before, self.asked = len(targets.bias_K), None, None, 0
        if self.asked in CHOSEN:
            self.sketch = nearest.fitting(self.x, targets, self.labels)
            self.made = shortened(self.x, self.sketch) if self.sketch and self.asked else None
        self.asked += 1
        before, self.before = self.before, targets
        if before is None or self.labels is None or self.sketch is None:
            self.labels, scores = nearest.nearest(self.x, targets, self.labels, self.sketch)
            return self.labels, scores
        moved = _moved(before, targets)
        labels, scores = self.labels.copy(), np.empty(len(self.x), np.float32)
        for rows, among in ((moved[labels], None), (~moved[labels], np.flatnonzero(moved))):
            nearest.improve(self.x, np.flatnonzero(rows), labels, scores, targets, self.sketch, among, self.made)
        self.labels = labels
        return labels, scores


def _moved(before: Targets, targets: Targets) -> NDArray[np.bool_]:
    """(K,) whether a centroid is another than before."""
    return ((before.centroids_KD != targets.centroids_KD).any(dim=1) | (before.bias_K != targets.bias_K)).numpy()
