"""Batches of small pictures that are decoded once and stay on the device, where they are cut and resized, too.

For pools whose pictures fit: an H100 holds five million of 64 pixels. Every picture is squashed to a square of
`data.resident` pixels, antialiased; a crop's box is drawn for the picture as it was and squashed with it, so crops keep
their shape. Pictures that are squares of that side are kept as they are, and crops are those of `Batches` within a grey
level or two. Nothing is read back from the device.

Letters: R rows, B images of a process, C crops of an image, E side of the kept pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from multiprocessing.connection import Connection
from queue import SimpleQueue
from subprocess import Popen
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.training.batches import cores
from embedder.training.crop_pool import ATTEMPTS, Workers, death, no_use
from embedder.training.crops import GLOBALS, boxes
from embedder.training.loader import Batch, Crops, Loader
from embedder.training.manifest import Ref
from embedder.training.resampled import cut_all
from embedder.training.whole import Kept, Whole

CHUNK = 128  # images read at once
Worker = tuple[Popen[bytes], Connection]


class Resident(Loader):
    """As Loader; the manifest's pictures are decoded when it is made, which takes as long as a pass over them."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        rows, edge = len(self.manifest), self.cfg.resident
        self.pictures_RE3E = torch.empty(rows, edge, 3, edge, dtype=torch.uint8, device=self.device)
        self.sizes_R2, self.bad_R, self.reasons = np.ones((rows, 2), np.int64), np.zeros(rows, np.int16), [""]
        parts = [range(start, min(start + CHUNK, rows)) for start in range(0, rows, CHUNK)]
        for part, found in zip(parts, self._read(parts), strict=True):
            self._keep(part, found)

    def prepare(self) -> None:
        self.errand = Whole(self.cfg.resident)
        self.workers = Workers(self.errand, cores(self.cfg.workers))  # they load their libraries while the manifest is read

    def _read(self, parts: Sequence[range]) -> Iterator[Kept]:
        """The pictures of ranges of rows, in order, by all workers."""
        free = SimpleQueue[Worker | None]()
        for one in self.workers.each or [None]:
            free.put(one)
            if one:
                one[1].send(self.errand)

        def read(part: range) -> Kept:
            refs, worker = [self.manifest.ref(row) for row in part], free.get()
            try:
                return asked(worker, refs) if worker else self.errand.done(refs)
            finally:
                free.put(worker)

        with ThreadPoolExecutor(max(1, len(self.workers.each))) as threads:
            yield from threads.map(read, parts)
        for worker, link in self.workers.each:
            link.close()
            worker.wait()

    def _keep(self, part: range, found: Kept) -> None:
        here = slice(part.start, part.stop)
        self.pictures_RE3E[here] = torch.from_numpy(found.pictures).to(self.device)
        self.sizes_R2[here] = found.sizes
        self.reasons += sorted(set(found.reasons) - set(self.reasons))
        self.bad_R[here] = [self.reasons.index(reason) for reason in found.reasons]

    def __iter__(self) -> Iterator[Batch]:
        begin = self.position
        with ThreadPoolExecutor(1) as thread:  # it draws; all that concerns the device is left to whoever iterates
            later = thread.submit(self._drawn, begin, 0)
            for number in count():
                row_B, skipped, place_BC4, edits = later.result()
                later = thread.submit(self._drawn, begin, number + 1)
                yield self.given(begin, number, row_B, skipped, self._cut(row_B, place_BC4), edits)

    def _drawn(self, begin: int, number: int) -> tuple[NDArray[np.int64], Counter[str], NDArray[np.float32], Any]:
        """Rows, what was passed over, places of crops and edits of a batch: numbers alone."""
        position_B = self.positions(begin, number)
        row_B, skipped = self._chosen(position_B)
        return row_B, skipped, self._places(row_B, position_B), self.edits(position_B)

    def _chosen(self, position_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], Counter[str]]:
        """(B,) rows at positions, a slot whose picture is no use having its next candidate; what was passed over."""
        row_B, skipped = self.rows(position_B), Counter[str]()
        for attempt in range(1, ATTEMPTS + 1):
            unfit = np.flatnonzero(self.bad_R[row_B])
            if not len(unfit):
                break
            skipped.update(self.reasons[code] for code in self.bad_R[row_B[unfit]])
            if attempt == ATTEMPTS:
                raise no_use(self.manifest.ref(int(row_B[unfit[0]])), skipped)
            row_B[unfit] = self.rows(position_B[unfit], attempt)
        return row_B, skipped

    def crops(self, row_B: NDArray[np.int64], position_B: NDArray[np.int64]) -> Crops:
        """(2, B, 3, G, G) and (C - 2, B, 3, l, l) uint8 on the device."""
        return self._cut(row_B, self._places(row_B, position_B))

    def _places(self, row_B: NDArray[np.int64], position_B: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, C, 4) top, left, height, width of crops in the pixels of the kept pictures."""
        size_B2 = self.sizes_R2[row_B]
        box_BC4 = boxes(size_B2[:, 0], size_B2[:, 1], self.cfg, self.seed, position_B)
        return (box_BC4 * (self.cfg.resident / np.tile(size_B2, 2))[:, None]).astype(np.float32)

    def _cut(self, row_B: NDArray[np.int64], place_BC4: NDArray[np.float32]) -> Crops:
        place, some = self._there(place_BC4), self.pictures_RE3E.index_select(0, self._there(row_B))
        wide = cut_all(some, place[:, :GLOBALS], self.cfg.global_side)
        return wide, cut_all(some, place[:, GLOBALS:], self.cfg.local_side)

    def _there(self, values: NDArray[Any]) -> torch.Tensor:
        """On the device, without waiting for it."""
        here = torch.from_numpy(values)
        return here.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else here.to(self.device)


def asked(worker: Worker, refs: Sequence[Ref]) -> Kept:
    """A worker's answer. Raises RuntimeError in its own words, or if it is gone."""
    process, link = worker
    try:
        link.send(refs)
        answer = link.recv()
    except (EOFError, OSError):
        raise RuntimeError(death(process, [ref.uri for ref in refs])) from None
    if isinstance(answer, str):
        raise RuntimeError(f"a data worker failed:\n{answer}")
    return answer
