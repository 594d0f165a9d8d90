"""Lloyd's iterations: every row to its nearest centroid, every centroid to the mean of its rows, until little changes.

`fit` has all rows in memory. What it is made of works on some of them: `partial` is what some rows say about the next
centroids, `merged` puts any number of such together in an order of its own, `moved` makes the next centroids of it. Sums
are float64. Rows and centroids are of unit length (cosine) or as they come (Euclidean).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from curation.kmeans.asker import Asker
from curation.kmeans.seeding import plus_plus
from curation.kmeans.sketch import Targets

BLOCK = 512  # rows that are summed at once
SPARE = 256  # rows that fit worst, kept for clusters that are empty

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One iteration. objective: mean cosine, or mean squared distance; moved: rows that changed their cluster."""

    objective: float
    moved: int
    empties: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Partial:
    """Of some rows: sums (K, D) and sizes (K,) by cluster; gain: sum of cosines, or of minus squared distances; the rows
    that fit worst, worst first, (W, D), and how badly, (W,)."""

    sums: Doubles
    sizes: Ints
    gain: float
    moved: int
    spare: Floats
    fits: Floats


@dataclass(frozen=True)
class Fit:
    """centroids (K, D) float32; sizes (K,) and labels (N,) of the last pass; passes: what each said."""

    centroids: Floats
    sizes: Ints
    labels: Ints
    passes: list[Pass] = field(default_factory=list[Pass])

    @property
    def objective(self) -> list[float]:
        return [one.objective for one in self.passes]


def fit(
    x: Floats, k: int, iterations: int, seed: int = 0, tolerance: float = 1e-4, *,
    euclidean: bool = False, start: Floats | None = None,
) -> Fit:  # fmt: skip
    """k centroids of the rows x (N, D) float32; of unit length, unless `euclidean`.

    Stops when the objective gains less than `tolerance` (of a cosine; of the first mean squared distance), or no row moves.
    start (k, D): the first centroids; None: k-means++. Raises ValueError if there are fewer rows than clusters.
    """
    if len(x) < k:
        raise ValueError(f"{k} clusters asked of {len(x)} images")
    centroids = plus_plus(x, k, np.random.default_rng(seed)) if start is None else start.astype(np.float32)
    asker, squared = Asker(x), squares(x) if euclidean else None
    passes, labels, found = list[Pass](), np.full(len(x), -1, np.int64), None
    for _ in range(iterations):
        before = labels
        labels, scores = asker.ask(Targets.of(centroids, euclidean=euclidean))
        found = partial(x, labels, gains(scores, squared), len(centroids), before)
        passes.append(told(found, euclidean=euclidean))
        centroids = moved(found, centroids, euclidean=euclidean)
        if ended(passes, tolerance, euclidean=euclidean):
            break
    return Fit(centroids, np.zeros(k, np.int64) if found is None else found.sizes, labels, passes)


def squares(x: Floats) -> Floats:
    """(N,) squared lengths."""
    return np.einsum("nd,nd->n", x, x)


def gains(scores: Floats, squared: Floats | None) -> Floats:
    """What a row adds to the objective, the more the better: its cosine, or minus its squared distance."""
    return scores if squared is None else np.minimum(2 * scores - squared, 0)


def partial(x: Floats, labels: Ints, gain: Floats, k: int, before: Ints) -> Partial:
    """What the rows x (N, D) say, given their clusters now and before."""
    sums = torch.zeros(k, x.shape[1], dtype=torch.float64)
    for at in range(0, len(x), BLOCK):
        block = slice(at, at + BLOCK)
        sums.index_add_(0, torch.from_numpy(labels[block]), torch.from_numpy(x[block]).double())
    worst = _lowest(gain, SPARE)
    return Partial(
        sums=sums.numpy(), sizes=np.bincount(labels, minlength=k).astype(np.int64), gain=float(gain.sum(dtype=np.float64)),
        moved=int((labels != before).sum()), spare=x[worst].copy(), fits=gain[worst],
    )  # fmt: skip


def _lowest(values: Floats, count: int) -> Ints:
    """The places of the lowest values, lowest first, the first of equal ones first."""
    if len(values) > count:
        limit = np.partition(values, count - 1)[count - 1]
        places = np.flatnonzero(values <= limit)
    else:
        places = np.arange(len(values))
    return places[np.argsort(values[places], kind="stable")[:count]].astype(np.int64)


def merged(parts: Iterable[Partial]) -> Partial:
    """The sum of all, pair by pair, in an order that depends on their number alone. Holds a few at a time."""
    waiting: list[tuple[int, Partial]] = []  # (how many it stands for, sum), as the digits of a binary counter
    for part in parts:
        count, total = 1, part
        while waiting and waiting[-1][0] == count:
            total, count = _both(waiting.pop()[1], total), 2 * count
        waiting.append((count, total))
    if not waiting:
        raise ValueError("there are no rows to cluster")
    total = waiting.pop()[1]
    while waiting:
        total = _both(waiting.pop()[1], total)
    return total


def _both(a: Partial, b: Partial) -> Partial:
    spare, fits = np.concatenate([a.spare, b.spare]), np.concatenate([a.fits, b.fits])
    worst = _lowest(fits, SPARE)
    return Partial(
        sums=a.sums + b.sums, sizes=a.sizes + b.sizes, gain=a.gain + b.gain, moved=a.moved + b.moved,
        spare=spare[worst], fits=fits[worst],
    )  # fmt: skip


def moved(found: Partial, old: Floats, *, euclidean: bool) -> Floats:
    """The next centroids (K, D): means, for cosine of unit length; an empty cluster takes a row that fits worst.

    A cluster whose mean has no direction stays where it was, and so do empty ones beyond SPARE.
    """
    means = found.sums / np.maximum(found.sizes, 1)[:, None]
    if not euclidean:
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        means = np.where(lengths > 1e-9, means / np.maximum(lengths, 1e-9), old)
    empty = np.flatnonzero(found.sizes == 0)
    means[empty] = old[empty]
    taken = empty[: len(found.spare)]
    means[taken] = found.spare[: len(taken)]
    return means.astype(np.float32)


def told(found: Partial, *, euclidean: bool) -> Pass:
    rows = int(found.sizes.sum())
    mean = found.gain / max(1, rows)
    return Pass(objective=-mean if euclidean else mean, moved=found.moved, empties=int((found.sizes == 0).sum()), rows=rows)


def ended(passes: list[Pass], tolerance: float, *, euclidean: bool) -> bool:
    """Whether the last pass gained too little for another; no empty cluster is left alone for it."""
    last = passes[-1]
    if last.moved == 0:
        return True
    if len(passes) < 2:
        return False
    gain = passes[-2].objective - last.objective if euclidean else last.objective - passes[-2].objective
    return gain < tolerance * (passes[0].objective if euclidean else 1.0)
