"""A sample that is balanced over a tree of clusters: every node shares what it may give evenly among its children.

Source: Vo et al. 2024 (automatic data curation for self-supervised learning), section 3.3: top-down; a child gives up to a
cap, the same for all children of a node, and what small children cannot give the others do. Rows of a leaf are drawn alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def balanced_sample(
    parents: Sequence[Ints], labels: Ints, target: int, seed: int, repeats: int = 1
) -> tuple[Ints, Ints]:  # fmt: skip
    """Row numbers, ascending, and how often each is taken: `target` in all, or all there is.

    labels (N,): the cluster of each row at the finest level; parents[t] (K_t,): the cluster at level t + 1 of each
    cluster of level t, the finest first; none: flat. repeats: times that a row may be taken, at most.
    Raises ValueError if a label or a parent points nowhere, or a number is below what it can be.
    """
    _check(parents, labels, target, repeats)
    rng = np.random.default_rng(seed)
    counts = np.bincount(labels, minlength=len(parents[0]) if parents else 0).astype(np.int64)
    sizes = [counts]
    for up in parents:
        above = np.zeros(int(up.max(initial=-1)) + 1, np.int64)
        np.add.at(above, up, sizes[-1])
        sizes.append(above)
    budgets = shares(repeats * sizes[-1], target, rng)
    for level in range(len(parents) - 1, -1, -1):
        budgets = _handed_down(parents[level], repeats * sizes[level], budgets, rng)
    times = np.zeros(len(labels), np.int64)
    for cluster, rows in _members(labels, counts):
        times[rows] = shares(np.full(len(rows), repeats, np.int64), int(budgets[cluster]), rng)
    chosen = np.flatnonzero(times)
    return chosen.astype(np.int64), times[chosen]


def shares(most: Ints, budget: int, rng: np.random.Generator) -> Ints:
    """What each of several gives: as evenly as can be, up to its `most`; who gives one more is drawn. Sums to the budget."""
    if budget >= most.sum():
        return most.copy()
    low, high = 0, int(most.max())  # a cap of low asks for no more than the budget, one of high for more
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if np.minimum(most, middle).sum() <= budget else (low, middle)
    given = np.minimum(most, low)
    willing = np.flatnonzero(most > low)
    given[rng.permutation(willing)[: budget - int(given.sum())]] += 1
    return given


def _handed_down(up: Ints, most: Ints, budgets: Ints, rng: np.random.Generator) -> Ints:
    """(K,) the budgets of the children, from those of their parents."""
    given = np.zeros(len(up), np.int64)
    for parent, children in _members(up, np.bincount(up, minlength=len(budgets))):
        given[children] = shares(most[children], int(budgets[parent]), rng)
    return given


def _members(labels: Ints, counts: Ints) -> list[tuple[int, Ints]]:
    """(cluster, its rows in order), of clusters that have any."""
    order = np.argsort(labels, kind="stable").astype(np.int64)
    ends = np.cumsum(counts)
    return [(int(c), order[ends[c] - counts[c] : ends[c]]) for c in np.flatnonzero(counts)]


def _check(parents: Sequence[Ints], labels: Ints, target: int, repeats: int) -> None:
    if target < 0 or repeats < 1:
        raise ValueError(f"a balanced sample has 0 rows or more, each 1 time or more, not {target} and {repeats}")
    for level, names in enumerate([labels, *parents]):
        below = len(parents[level]) if level < len(parents) else None
        if names.size and (names.min() < 0 or (below is not None and names.max() >= below)):
            raise ValueError(f"level {level}: a cluster is none of the {below} there are")
