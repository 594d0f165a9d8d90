"""A sample that is balanced over a tree of clusters: every node shares what it may give evenly among its children.

Source: Vo et al. 2024 (automatic data curation for self-supervised learning), section 3.3: top-down; a child gives up to a
cap, the same for all children of a node, and what small children cannot give the others do. Rows of a leaf are drawn alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Ranks = NDArray[np.uint64]


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
    budgets = leaf_budgets(parents, counts, target, rng, repeats)
    times = np.zeros(len(labels), np.int64)
    for cluster, rows in _members(labels, counts):
        times[rows] = shares(np.full(len(rows), repeats, np.int64), int(budgets[cluster]), rng)
    chosen = np.flatnonzero(times)
    return chosen.astype(np.int64), times[chosen]


def leaf_budgets(parents: Sequence[Ints], counts: Ints, target: int, rng: np.random.Generator, repeats: int = 1) -> Ints:
    """(K,) what each cluster of the finest level gives, of counts (K,) rows in each; see balanced_sample."""
    sizes = [counts]
    for up in parents:
        above = np.zeros(int(up.max(initial=-1)) + 1, np.int64)
        np.add.at(above, up, sizes[-1])
        sizes.append(above)
    budgets = shares(repeats * sizes[-1], target, rng)
    for level in range(len(parents) - 1, -1, -1):
        budgets = _handed_down(parents[level], repeats * sizes[level], budgets, rng)
    return budgets


class Draw:
    """Which rows give what their clusters have to give, where rows come part by part: those of the lowest ranks.

    budgets, counts (K,): what each cluster gives, of how many rows. Where that is more than it has, all are taken as often
    as goes round, and those of the lowest ranks once more. Ranks (N,) are different numbers, drawn anyhow. Holds as many
    ranks as there are rows to give, and as many again.
    """

    def __init__(self, budgets: Ints, counts: Ints) -> None:
        self.budgets, self.counts = budgets, counts
        self.rounds = budgets // np.maximum(counts, 1)
        self.more = budgets - self.rounds * counts
        self.clusters, self.ranks = list[Ints](), list[Ranks]()

    def add(self, clusters: Ints, ranks: Ranks) -> None:
        """Rows of a part."""
        asked = self.more[clusters] > 0
        self.clusters.append(clusters[asked])
        self.ranks.append(ranks[asked])
        if sum(map(len, self.ranks)) > 2 * int(self.more.sum()):
            self._trim()

    def _trim(self) -> None:
        clusters, ranks = np.concatenate(self.clusters), np.concatenate(self.ranks)
        order = np.lexsort((ranks, clusters))
        held = np.bincount(clusters, minlength=len(self.more))
        place = np.arange(len(order)) - np.repeat(np.cumsum(held) - held, held)
        kept = order[place < self.more[clusters[order]]]
        self.clusters, self.ranks = [clusters[kept]], [ranks[kept]]

    def limits(self) -> Ranks:
        """(K,) the highest rank that is taken once more; of a cluster without any 0. After all rows were added."""
        found = np.zeros(len(self.more), np.uint64)
        if self.ranks:
            self._trim()
            np.maximum.at(found, self.clusters[0], self.ranks[0])
        return found

    def times(self, clusters: Ints, ranks: Ranks, limits: Ranks) -> Ints:
        """(N,) how often each row is taken."""
        return self.rounds[clusters] + ((self.more[clusters] > 0) & (ranks <= limits[clusters]))


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
