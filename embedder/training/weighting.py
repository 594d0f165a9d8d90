"""How often each row of a manifest is seen: its weight, evened out over groups, and the orders that follow from it.

Letters: R rows, K groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from embedder.training.draws import stream
from embedder.training.manifest import Column, Manifest
from embedder.training.sampler import Order

CHUNK = 1 << 20  # rows at once
Rows = NDArray[np.int64]


def orders(
    manifest: Manifest, balance: str, component: str, shares: Mapping[str, float], seed: int
) -> dict[str | None, tuple[Order, Rows | None]]:
    """For everything (None) and each component named in `shares`: its order, and its rows of the manifest (None: all).

    Raises ValueError for a component that no row has, or if nothing weighs anything.
    """
    factors = balanced(manifest, balance) if balance else None
    out: dict[str | None, tuple[Order, Rows | None]] = {None: (_order(manifest, None, balance, factors, stream(seed)), None)}
    for name in shares:
        codes_R, names = manifest.groups[component]
        if name not in names:
            raise ValueError(f"data.homogeneous: no image has {component} {name!r}; there are {', '.join(names) or 'none'}")
        rows = np.flatnonzero(codes_R == names.index(name))
        out[name] = _order(manifest, rows, balance, factors, stream(seed, names.index(name) + 1)), rows
    return out


def balanced(manifest: Manifest, column: str) -> NDArray[np.float64]:
    """(K + 1,) factors that give every group the same weight, all together what they had; the last, for null, is 1."""
    codes_R, names = manifest.groups[column]
    totals = np.zeros(len(names) + 1)
    for start in range(0, len(manifest), CHUNK):
        here = slice(start, start + CHUNK)
        totals += np.bincount(codes_R[here] % (len(names) + 1), _weights(manifest, here), len(names) + 1)
    held = totals[:-1]
    even = held.sum() / max(1, np.count_nonzero(held))
    return np.append(np.divide(even, held, out=np.zeros_like(held), where=held > 0), 1.0)


def _weights(manifest: Manifest, rows: slice | Rows) -> NDArray[np.float64]:
    some = manifest.keys_R[rows] if manifest.weights_R is None else manifest.weights_R[rows]
    return np.ones(len(some)) if manifest.weights_R is None else some.astype(np.float64)


def _order(manifest: Manifest, rows: Rows | None, balance: str, factors: NDArray[np.float64] | None, key: int) -> Order:
    count = len(manifest) if rows is None else len(rows)
    if manifest.weights_R is None and factors is None:
        return Order(count, None, key)
    sums, total = Column(np.float64), 0.0
    for start in range(0, count, CHUNK):
        here = slice(start, start + CHUNK) if rows is None else rows[start : start + CHUNK]
        weights = _weights(manifest, here)
        if factors is not None:
            weights = weights * factors[manifest.groups[balance][0][here]]
        running = total + np.cumsum(weights)
        sums.add(running)
        total = float(running[-1])
    if not total > 0:
        raise ValueError("the manifest's weights are all 0: nothing to train on")
    return Order(count, sums.mapped(), key)
