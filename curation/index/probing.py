"""How an inverted file is searched: as many lists as the measured recall takes, and hits by code put in exact order.

Recall: a few queries are answered exactly too, and lists are probed until the share of those hits that are found
reaches the target. Letters: Q queries, D dimensions, C candidates per query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from curation.index.exact import Floats, Hits, Ints
from curation.index.inverted import PLACE

ASKED = 256  # queries answered exactly to measure recall
WIDER = (4, 16, 64)  # candidates by code for every hit that is wanted
PAIRS = 65_536  # (query, candidate) pairs whose exact products are taken at once


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How an index is searched."""

    probes: int
    """Lists looked into."""
    wider: int
    """Candidates for every hit; above 1, they are put in order by their exact products."""
    recall: float
    """What one can count on."""


def setting(index: Any, asked: Floats, truth: tuple[Ints, Ints], least: float) -> Setting | None:
    """The cheapest setting that reaches a recall, or None.

    asked: (Q, D) queries; truth: (Q, k) part and row numbers of their exact hits in this index, part -1 where missing.
    """
    wanted = np.where(truth[0] < 0, -1, truth[0] * PLACE + truth[1])
    for probes, wider in _settings(index.nlist, coded=isinstance(index, faiss.IndexIVFPQ)):
        index.nprobe = probes
        found = index.search(asked, wanted.shape[1] * wider)[1]
        recall = _counted_on(found, wanted)
        if recall >= least:
            return Setting(probes=probes, wider=wider, recall=recall)
    return None


def _settings(lists: int, *, coded: bool) -> Iterator[tuple[int, int]]:
    """(lists probed, candidates per hit), from cheap to dear; beyond a quarter of the lists, exact search is better."""
    for wider in WIDER if coded else (1,):
        yield from ((2**at, wider) for at in range(2, max(3, (lists // 4).bit_length())))


def _counted_on(found: Ints, wanted: Ints) -> float:
    """Recall that 95% of such samples let one count on: what was found, less 1.64 standard errors."""
    count = max(1, int((wanted >= 0).sum()))
    hits = [np.isin(w, f, assume_unique=True) & (w >= 0) for f, w in zip(found, wanted, strict=True)]
    share = int(np.sum(hits)) / count
    return float(share - 1.64 * np.sqrt(share * (1 - share) / count))


def look(index: Any, queries: Floats, k: int, how: Setting, read: Callable[[int], Floats]) -> Hits:
    """The k rows of largest product that the probed lists hold for every query, as `exact.search` returns them.

    read(part): (N_p, D) vectors of a part of the base.
    """
    index.nprobe = how.probes
    products, numbers = index.search(queries, k * how.wider)
    if how.wider > 1:
        products = _exact_products(queries, numbers, read)
        order = np.argsort(-products, axis=1, kind="stable")[:, :k]
        products, numbers = np.take_along_axis(products, order, axis=1), np.take_along_axis(numbers, order, axis=1)
    missing = numbers < 0
    parts, rows = np.where(missing, -1, numbers // PLACE), np.where(missing, -1, numbers % PLACE)
    return np.where(missing, np.float32(-np.inf), products), parts, rows


def _exact_products(queries: Floats, numbers_QC: Ints, read: Callable[[int], Floats]) -> Floats:
    """(Q, C) products with the vectors themselves, read part by part."""
    products = np.full(numbers_QC.shape, -np.inf, np.float32)
    parts_QC = np.where(numbers_QC < 0, -1, numbers_QC // PLACE)
    for part in np.unique(parts_QC[parts_QC >= 0]).tolist():
        query, place = np.nonzero(parts_QC == part)
        vectors = read(part)
        for at in range(0, len(query), PAIRS):
            q, c = query[at : at + PAIRS], place[at : at + PAIRS]
            products[q, c] = np.einsum("nd,nd->n", queries[q], vectors[numbers_QC[q, c] % PLACE])
    return products
