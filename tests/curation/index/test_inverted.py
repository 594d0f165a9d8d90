"""The inverted file against exact search: the index that a budget gives, and the recall it promises."""

from __future__ import annotations

import numpy as np
import pytest

from curation.index import inverted
from curation.index.exact import search
from curation.index.inverted import Limits, Shape, Shard, code_bytes, nearest, shape
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
    whole = (10**6 * (64 * 4 + 8) + lists) / GIB
    assert shape(10**6, sizes, 64, Limits(memory_gib=whole, recall=0.99)).kind == "ivf_flat"
    coded = shape(10**6, sizes, 64, Limits(memory_gib=whole - 1e-6, recall=0.99))
    assert (coded.kind, coded.code_bytes, coded.shards) == ("ivf_pq", 16, (tuple(range(10)),))
    small = shape(10**6, sizes, 64, Limits(memory_gib=(400_000 * 24 + 1264 * 256) / GIB, recall=0.99))
    assert small.shards == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9))


@pytest.mark.parametrize(("dim", "expected"), [(192, 48), (1280, 320), (6, 1), (7, 1), (18, 3)])
def test_codes_divide_the_vector(dim, expected):
    assert code_bytes(dim) == expected
    assert dim % expected == 0


@pytest.mark.parametrize(("memory", "kind"), [(1.0, "ivf_flat"), (0.00015, "ivf_pq")])
@pytest.mark.parametrize("k", [4, 32])
def test_recall_is_kept(memory, kind, k):
    parts, queries, limits = base(), lumps(3000, 16, 7), Limits(memory_gib=memory, recall=0.95)
    sizes = {p: len(v) for p, v in parts.items()}
    assert shape(len(queries), sizes, 16, limits).kind == kind
    products, part, row = nearest(queries, sizes, parts.__getitem__, k, limits)
    exact_products, exact_part, exact_row = search(queries, iter(parts.items()), k)
    own, true = part * 10**6 + row, exact_part * 10**6 + exact_row
    found = (own[:, :, None] == true[:, None, :]).any(axis=1).mean()
    assert found >= 0.93
    assert np.all(np.diff(products, axis=1) <= 1e-6)
    for q in (0, 1500, 2999):  # what is told of a hit is true of it, by code or not
        hits = np.stack([parts[p][r] for p, r in zip(part[q], row[q], strict=True)])
        np.testing.assert_allclose(products[q], hits @ queries[q], atol=1e-5)
    assert np.all(products[:, 0] <= exact_products[:, 0] + 1e-5)


def test_codes_take_the_memory_they_were_given():
    vectors = lumps(12_000, 16, 1)
    shard = Shard((0,), lambda _: vectors, vectors, 100, Shape(kind="ivf_pq", shards=((0,),), code_bytes=4))
    assert shard.index.code_size == 4
    assert shard.index.ntotal == 12_000


def test_where_no_setting_reaches_the_recall_every_row_is_looked_at(monkeypatch):
    monkeypatch.setattr(Shard, "_found", lambda *_: 0.0)
    parts, queries = base(), lumps(3000, 16, 7)
    sizes = {p: len(v) for p, v in parts.items()}
    found = nearest(queries, sizes, parts.__getitem__, 4, Limits(memory_gib=1.0, recall=0.99))
    for one, other in zip(found, search(queries, iter(parts.items()), 4), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_same_every_time():
    parts, queries = base(), lumps(3000, 16, 7)
    sizes, limits = {p: len(v) for p, v in parts.items()}, Limits(memory_gib=0.00015, recall=0.9)
    first, second = (nearest(queries, sizes, parts.__getitem__, 4, limits) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
