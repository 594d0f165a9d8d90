"""Set membership, and the fair draw that depends on ids and seed alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from curation.sets import dump, in_any, in_pool, in_seeds, shuffled_order

SETS = pa.chunked_array([[["pool"], ["seed:cats", "seed:dogs"]], [["pool", "protect:val"], ["seed:catsup"]]])


def test_who_holds_an_image():
    assert in_pool(SETS).tolist() == [True, False, True, False]
    assert in_any(SETS, "protect:").tolist() == [False, False, True, False]
    assert in_any(SETS, "seed:").tolist() == [False, True, False, True]
    assert in_seeds(SETS, {"cats"}).tolist() == [False, True, False, False]
    assert in_seeds(SETS, set()).tolist() == [False] * 4


def test_no_rows_give_boolean_columns():
    none = pa.chunked_array([], pa.list_(pa.string()))
    assert in_pool(none).dtype == in_any(none, "seed:").dtype == in_seeds(none, {"a"}).dtype == bool


def ids(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(n)]


def test_draws_depend_on_id_and_seed_alone():
    names = ids(100)
    ranks = shuffled_order(names, 5)
    assert ranks.tolist() == shuffled_order(names, 5).tolist()
    assert ranks[::-1].tolist() == shuffled_order(names[::-1], 5).tolist()
    assert shuffled_order(names[7:8], 5)[0] == ranks[7]
    assert ranks.tolist() != shuffled_order(names, 6).tolist()
    assert shuffled_order([], 0).tolist() == []


def test_golden_draw():
    """splitmix64 of the value 0: the first number of the published generator seeded with 0."""
    assert shuffled_order(["0" * 32], 0).tolist() == [0xE220A8397B1DCDAF]


def test_draws_are_uniform_and_seeds_independent():
    names = ids(20_000)
    one, other = shuffled_order(names, 0) / 2**64, shuffled_order(names, 1) / 2**64
    counts, _ = np.histogram(one, bins=20, range=(0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-squared, 19 degrees: 1 in 1,500
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03
    assert len(set(one.tolist())) == len(names)


def test_consecutive_ids_are_drawn_evenly_too():
    ranks = shuffled_order([f"{n:016x}{0:016x}" for n in range(10_000)], 0)
    assert abs((ranks < np.uint64(2**62)).mean() - 0.25) < 0.02


def test_json_is_compact_and_sorted():
    assert dump({"b": [1, None], "a": "é"}) == '{"a":"é","b":[1,null]}'
