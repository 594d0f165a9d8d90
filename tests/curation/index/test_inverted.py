"""The inverted file against exact search: the index that a budget gives, the recall it promises, and its file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import pytest

from curation import index
from curation.index import Limits, inverted, search, shape
from curation.index.inverted import code_bytes
from tests.curation.making import unit_rows

GIB = 2**30


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(inverted, "LEAST_ROWS", 1000)


def lumps(n: int, dim: int, seed: int, spread: float = 0.5) -> np.ndarray:
    """n unit rows around 100 middles that do not depend on the seed: what an inverted file is made for."""
    random = np.random.default_rng(seed)
    rows = unit_rows(100, dim, 99)[random.integers(0, 100, n)] + spread * unit_rows(n, dim, seed + 1000)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def base() -> dict[int, np.ndarray]:
    return {3: lumps(2000, 16, 1), 5: np.zeros((0, 16), np.float32), 8: lumps(1500, 16, 2), 9: lumps(2500, 16, 3)}


def test_the_index_follows_from_the_budget():
    sizes = dict.fromkeys(range(10), 100000)  # 1M rows of 64: 264 bytes whole, 24 coded, 2000 lists
    lists = 2000 * 64 * 4
    exact = Limits(memory_gib=1.0, recall=1.0)
    assert shape(10**6, sizes, 64, exact).kind == "flat"
    assert shape(10, sizes, 64, Limits(memory_gib=1.0, recall=0.99)).kind == "flat"  # not worth building one
    whole = (10**6 * (64 * 4 + 8) * 1.5 + lists) / GIB
    assert shape(10**6, sizes, 64, Limits(memory_gib=whole, recall=0.99)).kind == "ivf_flat"
    coded = shape(10**6, sizes, 64, Limits(memory_gib=whole - 1e-6, recall=0.99))
    assert (coded.kind, coded.code_bytes, coded.shards) == ("ivf_pq", 16, (tuple(range(10)),))
    small = shape(10**6, sizes, 64, Limits(memory_gib=(400_000 * 24 * 1.5 + 1264 * 256) / GIB, recall=0.99))
    assert small.shards == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9))


@pytest.mark.parametrize(("dim", "expected"), [(192, 48), (1280, 320), (6, 1), (7, 1), (18, 3)])
def test_codes_divide_the_vector(dim, expected):
    assert code_bytes(dim) == expected
    assert dim % expected == 0


@dataclass
class Built:
    """An index over all parts, how it is searched, and who asks."""

    made: Any
    how: index.Setting | None
    queries: np.ndarray
    read: Callable[[int], np.ndarray]
    kind: str

    def hits(self, k: int, made: Any = None) -> index.Hits:
        assert self.how
        return index.look(made or self.made, self.queries, k, self.how, self.read)


def built(memory: float, k: int, recall: float = 0.95) -> Built:
    parts, queries = base(), lumps(3000, 16, 7)
    plan = shape(len(queries), {p: len(v) for p, v in parts.items()}, 16, Limits(memory_gib=memory, recall=recall))
    made = index.build(plan.shards[0], parts.__getitem__, 6000, plan)
    asked = queries[:: len(queries) // index.ASKED]
    how = index.setting(made, asked, search(asked, iter(parts.items()), k)[1:], recall)
    return Built(made, how, queries, parts.__getitem__, plan.kind)


BUDGETS = pytest.mark.parametrize(("memory", "kind"), [(1.0, "ivf_flat"), (0.00015, "ivf_pq")])


@BUDGETS
@pytest.mark.parametrize("k", [4, 32])
def test_recall_is_kept(memory, kind, k):
    one, parts = built(memory, k), base()
    assert one.kind == kind
    assert one.how.recall >= 0.95
    products, part, row = one.hits(k)
    exact_products, exact_part, exact_row = search(one.queries, iter(parts.items()), k)
    own, true = part * 10**6 + row, exact_part * 10**6 + exact_row
    found = (own[:, :, None] == true[:, None, :]).any(axis=1).mean()
    assert found >= 0.94
    assert np.all(np.diff(products, axis=1) <= 1e-6)
    for q in (0, 1500, 2999):  # what is told of a hit is true of it, by code or not
        hits = np.stack([parts[p][r] for p, r in zip(part[q], row[q], strict=True)])
        np.testing.assert_allclose(products[q], hits @ one.queries[q], atol=1e-5)
    assert np.all(products[:, 0] <= exact_products[:, 0] + 1e-5)


@BUDGETS
def test_what_is_written_and_mapped_finds_the_same(memory, kind, tmp_path):
    one, path = built(memory, 4), tmp_path / "x.faiss"
    with path.open("wb") as file:
        size, digest = index.write(one.made, file)
    assert (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) == (size, digest)
    mapped = index.read(str(path))
    assert isinstance(faiss.downcast_InvertedLists(mapped.invlists), faiss.OnDiskInvertedLists)
    for a, b in zip(one.hits(4), one.hits(4, mapped), strict=True):
        assert np.array_equal(a, b)


@BUDGETS
def test_the_file_takes_the_memory_that_was_given(memory, kind, tmp_path):
    with (tmp_path / "x").open("wb") as file:
        size, _ = index.write(built(memory, 4).made, file)
    codebooks = 256 * 16 * 4 if kind == "ivf_pq" else 0
    assert size <= memory * GIB + codebooks + 20 * inverted.lists_for(6000) + 1000  # and a length for each list


def test_codes_take_the_memory_they_were_given():
    made = built(0.00015, 4).made
    assert made.code_size == 4
    assert made.ntotal == 6000


def test_no_setting_reaches_what_cannot_be_counted_on():
    parts, one = base(), built(1.0, 4)
    assert index.setting(one.made, lumps(40, 16, 8), (np.full((40, 4), 7), np.zeros((40, 4), np.int64)), 0.1) is None
    few = inverted.build([5], parts.__getitem__, 6000, shape(3000, {3: 6000}, 16, Limits(memory_gib=1.0, recall=0.9)))
    assert few is None


def test_the_same_every_time():
    first, second = (built(0.00015, 4, 0.9) for _ in range(2))
    assert first.how == second.how
    assert all(np.array_equal(a, b) for a, b in zip(first.hits(4), second.hits(4), strict=True))
