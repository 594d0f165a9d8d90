"""Groups of copies: who stands for each, and which edge ties every image to it. All arrays are over numbered images.

N images with an edge. An edge block is (a, b, similarity): (M,) numbers and cosines. Edges are streamed, again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from curation.graph.components import Labels

Ints = NDArray[np.signedinteger]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Block = tuple[Ints, Ints, Floats]
Edges = Callable[[], Iterable[Block]]
"""Begins a pass over edges."""


class Best:
    """The strongest edge of every image seen so far. similarity: (N,), -2 if none; other: (N,) its far end, -1 if none."""

    def __init__(self, n: int) -> None:
        self.similarity = np.full(n, -2, np.float32)
        self.other = np.full(n, -1, np.int64)

    def see(self, one: Ints, other: Ints, similarity: Floats) -> None:
        """Edges from `one` to `other`. Of equal cosines the higher id wins, in whatever order they come."""
        order = np.lexsort((other, similarity, one))
        last = np.append(one[order][1:] != one[order][:-1], True)[: len(order)]
        rows = order[last]
        at, far, s = one[rows], other[rows], similarity[rows]
        better = (s > self.similarity[at]) | ((s == self.similarity[at]) & (far > self.other[at]))
        self.similarity[at[better]], self.other[at[better]] = s[better], far[better]


def grouped(n: int, ties: Edges, rank: Ints) -> Ints:
    """(N,) the representative of each image's connected component: its member of lowest rank."""
    labels = Labels(n)
    for a, b, _ in ties():
        labels.add(a, b)
    best = np.full(n, n, np.int64)
    np.minimum.at(best, labels.values, rank)
    return _ranked(rank)[best[labels.values]]


def split(n: int, ties: Edges, rank: Ints) -> Ints:
    """(N,) representatives such that every image has an edge to its own: chains fall apart.

    In the order of rank, an image that no earlier one has taken becomes a representative and takes all images that it
    has an edge to and that are not taken yet. Done in rounds, two passes over the edges each: in every round, all
    images that rank before all of their open neighbours become representatives, which comes to the same. Rounds grow
    with the logarithm of the number of images (Blelloch et al., SPAA 2012), unless rank follows a chain.
    """
    order, owner = _ranked(rank), np.full(n, -1, np.int64)
    while np.any(owner < 0):
        is_open, first = owner < 0, np.full(n, n, np.int64)
        for a, b in _among(ties, is_open):
            np.minimum.at(first, a, rank[b])
            np.minimum.at(first, b, rank[a])
        chosen, claim = is_open & (rank < first), np.full(n, n, np.int64)
        for a, b in _among(ties, is_open):
            np.minimum.at(claim, b[chosen[a]], rank[a[chosen[a]]])
            np.minimum.at(claim, a[chosen[b]], rank[b[chosen[b]]])
        taken = is_open & ~chosen & (claim < n)
        owner[chosen], owner[taken] = np.flatnonzero(chosen), order[claim[taken]]
    return owner


def _among(ties: Edges, is_open: Bools) -> Iterable[tuple[Ints, Ints]]:
    for a, b, _ in ties():
        both = is_open[a] & is_open[b]
        yield a[both], b[both]


def _ranked(rank: Ints) -> Ints:
    """(N,) images in the order of their rank."""
    order = np.empty(len(rank), np.int64)
    order[rank] = np.arange(len(rank))
    return order


def direct(n: int, ties: Edges, kept: Ints) -> Floats:
    """(N,) cosine of each image and its representative; -2 where they have no edge."""
    found = np.full(n, -2, np.float32)
    for a, b, similarity in ties():
        for one, other in ((a, b), (b, a)):
            to = kept[one] == other
            np.maximum.at(found, one[to], similarity[to])
    return found
