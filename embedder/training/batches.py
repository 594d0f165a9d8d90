"""Batches whose images are read and decoded each time that they are seen, ahead of time, by processes.

Letters: B images of a process, L local crops, G l sides of global and local crops.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.training.crop_pool import CropPool, Job, Workers
from embedder.training.crops import CropConfig
from embedder.training.loader import Batch, Loader
from embedder.training.manifest import Ref
from embedder.training.worker import Pixels, Share


class Batches(Loader):
    """As Loader; any pool of images, on any fsspec path."""

    def prepare(self) -> None:
        crops = CropConfig(**{name: getattr(self.cfg, name) for name in CropConfig.__dataclass_fields__})
        self.share = Share(crops, self.seed, self.batch, self.cfg.ahead)
        self._ready: Workers | None = self._workers()  # they load their libraries while the manifest is read

    def __iter__(self) -> Iterator[Batch]:
        begin = self.position
        for job, wide, near in self._jobs(begin):
            row_B = self._held(self.positions(begin, job.number), np.array(job.attempts))
            yield self.given(begin, job.number, row_B, job.skipped, (torch.from_numpy(wide), torch.from_numpy(near)))

    def _held(self, position_B: NDArray[np.int64], attempt_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B,) rows at positions, each the candidate whose turn it was."""
        row_B = np.empty_like(position_B)
        for attempt in np.unique(attempt_B):
            row_B[attempt_B == attempt] = self.rows(position_B[attempt_B == attempt], int(attempt))
        return row_B

    def pixels(self) -> Iterator[tuple[Pixels, Pixels]]:
        """Endless crops before colours, uint8: (2, B, 3, G, G) and (L, B, 3, l, l), good until the next; the state stays."""
        return ((wide, near) for _, wide, near in self._jobs(self.position))

    def _jobs(self, begin: int) -> Iterator[tuple[Job, Pixels, Pixels]]:
        """Finished jobs in order, from position `begin`; others are under way meanwhile."""

        def candidates(number: int, places: Sequence[int], attempt: int) -> list[Ref]:
            position_N = self.positions(begin, number)[list(places)]
            return [self.manifest.ref(int(row)) for row in self.rows(position_N, attempt)]

        workers, self._ready = self._ready or self._workers(), None
        pool = CropPool(self.share, workers, candidates)
        try:
            for number in count():
                while pool.free:
                    later = number + len(pool.jobs)
                    pool.start(later, self.positions(begin, later).tolist())
                yield pool.finished()
                pool.release()
        finally:
            pool.close()

    def _workers(self) -> Workers:
        return Workers(self.share, cores(self.cfg.workers))


def cores(asked: int) -> int:
    """Cores for the work of this process: `asked`, or where that is -1 its part of those of this machine."""
    if asked >= 0:
        return asked
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // here) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
