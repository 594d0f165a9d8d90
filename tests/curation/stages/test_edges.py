"""edges, with the grid and the cells it is found by: the pairs, whichever engine finds them, and what thumbnails say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from curation import records
from curation.stages.edges import EdgesConfig
from curation.store import Store
from tests.curation.making import encoded, file_row, image_row, name, picture, put, put_vectors
from tests.curation.pairing import find_pairs

SMALL = EdgesConfig(self_similarity=0.8, reference_similarity=0.7)


def pairs(store: Store, cfg: EdgesConfig) -> set[frozenset[str]]:
    rows = [row for _, table in find_pairs(store, cfg) for row in table.to_pylist()]
    once = {frozenset((row["a"], row["b"])) for row in rows}
    assert len(once) == len(rows)
    assert all(len(pair) == 2 for pair in once)
    return once


def pool(store: Store, x: np.ndarray, sets: dict[int, list[str]], parts: int = 3) -> np.ndarray:
    """Rows of x as described images, over several parts; what the sets of an image are, if not the pool."""
    for part, rows in enumerate(np.array_split(np.arange(len(x)), parts)):
        put(store, "images", [image_row(int(n), sets.get(int(n), ["pool"])) for n in rows], records.IMAGES, part)
        put_vectors(store, "descriptors", {int(n): x[n] for n in rows}, part)
    stored = x.astype(np.float16).astype(np.float64)
    return stored / np.linalg.norm(stored, axis=1, keepdims=True)


def clustered(n: int, dim: int = 24) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, dim)) + rng.normal(size=(n // 10, dim))[rng.integers(n // 10, size=n)]
    x[: n // 4] = x[n // 2 : n // 2 + n // 4] + rng.uniform(0, 1.2, (n // 4, 1)) * rng.normal(size=(n // 4, dim))
    return x[rng.permutation(n)] / np.linalg.norm(x, axis=1, keepdims=True)


def truth(x: np.ndarray, sets: dict[int, list[str]], cfg: EdgesConfig) -> set[frozenset[str]]:
    """By the definition, every pair on its own."""
    products, pairs = x @ x.T, set()
    of = [sets.get(n, ["pool"]) for n in range(len(x))]
    rival = [bool({"pool", "seed:is"} & set(s)) for s in of]
    judged = [any(not s.startswith("protect:") for s in some) for some in of]
    protected = [any(s.startswith("protect:") for s in some) for some in of]
    for i, j in np.argwhere(np.triu(products, 1) >= cfg.reference_similarity):
        leak = (judged[i] and protected[j]) or (judged[j] and protected[i])
        if leak or (rival[i] and rival[j] and products[i, j] >= cfg.self_similarity):
            pairs.add(frozenset((name(int(i)), name(int(j)))))
    return pairs


SETS: list[list[str]] = [["protect:v"], ["protect:v", "pool"], ["seed:is"], ["seed:asks"], ["seed:asks", "protect:v"]]


@pytest.mark.parametrize(
    "engine",
    [{"engine": "exact"}, {"engine": "cells"}, {"engine": "cells", "bunch_rows": 60}, {"engine": "ivfpq", "bytes_per_row": 0}],
)
def test_every_engine_finds_the_pairs_of_every_role(store, engine):
    sets = {n: SETS[n % 7] for n in range(600) if n % 7 < len(SETS)}
    x = pool(store, clustered(600), sets)
    cfg = replace(SMALL, as_is=("is",), recall=1.0, k=0, probes=10_000, **({"bunch_rows": 250} | engine))
    assert pairs(store, cfg) == truth(x, sets, cfg)


@pytest.mark.parametrize("engine", ["exact", "cells", "ivfpq"])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_few_or_equal_rows(store, engine, n):
    pool(store, np.tile([[0.6, 0.8]], (n, 1)), {}, parts=1)
    cfg = replace(SMALL, engine=engine, bunch_rows=15, k=3, reference_similarity=0.9)
    tied, waiting, seen = pairs(store, cfg), [name(0)], {name(0)}
    while waiting:
        at = waiting.pop()
        new = {other for pair in tied if at in pair for other in pair} - seen
        seen |= new
        waiting += new
    assert len(seen) == n
    assert len(tied) <= 3 * n * (n // 15 + 1)


def test_a_pool_of_protected_images_only(store):
    pool(store, clustered(30), {n: ["protect:v"] for n in range(30)})
    assert {engine: pairs(store, replace(SMALL, engine=engine)) for engine in ("cells", "exact")} == {
        "cells": set(),
        "exact": set(),
    }


def test_a_small_pool_has_no_cells(store):
    pool(store, clustered(30), {3: ["protect:v"]})
    parts = find_pairs(store, SMALL)
    assert store.parts("grid").whole().num_rows == 0
    assert store.parts("cells").whole()["image_id"].to_pylist() == [name(3)]
    assert [part for part, _ in parts] == list(range(2 * 3))  # of the pool and of the protected, one for each part


def test_what_the_grid_says_of_itself(store):
    pool(store, clustered(700), {})
    parts = find_pairs(store, replace(SMALL, engine="cells", bunch_rows=230))
    grid = store.parts("grid").whole().to_pylist()
    assert grid[0]["recall"] >= 0.9995
    assert sum(row["images"] or 0 for row in grid) >= 700
    bunches = {row["bunch"] for row in grid if row["cell"] is not None}
    assert len(bunches) >= 3
    assert [part for part, _ in parts] == list(
        range(len(bunches) + 3)
    )  # and, with the protected ones, a part for each of the descriptors'
    cell = [table["cell"].to_pylist() for _, table in store.parts("cells").tables()]
    assert all(some == sorted(some) for some in cell)
    assert int(parts[0][1].schema.metadata[b"met_pairs"]) > 0


def test_bad_values_are_refused():
    for values in ({"engine": "hnsw"}, {"recall": 0.0}, {"bunch_rows": 0}, {"per_root": 0.0}):
        with pytest.raises(ValueError, match=next(iter(values))):
            EdgesConfig(**values)


@pytest.mark.parametrize("engine", ["exact", "cells"])
def test_thumbnails_of_pairs_are_laid_over_each_other(store, tmp_path, engine):
    """Equal descriptors throughout: a framed copy, another picture, and a file that is gone."""
    shown = [picture(1), picture(1).crop((6, 6, 122, 122)), picture(2), picture(3)]
    rows = [file_row(encoded(image), tmp_path / f"{n}.png") for n, image in enumerate(shown)]
    (tmp_path / "3.png").unlink()
    ids = [row["image_id"] for row in rows]
    put(store, "images", rows[:2], records.IMAGES, 0)
    put(store, "images", rows[2:], records.IMAGES, 1)
    for part, some in enumerate((ids[:2], ids[2:])):
        put_vectors(store, "descriptors", dict.fromkeys(some, (1, 0)), part)
    cfg = EdgesConfig(self_similarity=0.9, reference_similarity=0.9, engine=engine)
    alleged: list[dict[str, Any]] = [e for _, t in find_pairs(store, cfg) for e in t.to_pylist()]
    assert [edge["agreement"] for edge in alleged] == [None] * 6
    looked = [e for _, t in find_pairs(store, replace(cfg, agreement=True)) for e in t.to_pylist()]
    scores = {frozenset((e["a"], e["b"])): e["agreement"] for e in looked}
    assert len(scores) == 6
    assert 0.7 < scores.pop(frozenset(ids[:2])) <= 1.001
    assert max(scores.values()) < 0.7


def test_no_pairs_nothing_to_look_at(store):
    put(store, "images", [image_row(1), image_row(2)], records.IMAGES)
    put_vectors(store, "descriptors", {1: (1, 0), 2: (0, 1)})
    cfg = EdgesConfig(agreement=True, self_similarity=0.9, reference_similarity=0.9)
    assert [t.num_rows for _, t in find_pairs(store, cfg)] == [0, 0]
