"""whitening: fitted on pool images alone, in any split; dropped rows pass through; the rest turn as the fit says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curation import records
from curation.stages.descriptors import DescriptorsConfig
from curation.stages.whitening import WhiteningConfig, fit_whitening, whiten
from curation.store import Store, matrix
from curation.whitening import Moments, apply, fit
from tests.curation.making import POOL, image_row, name, put, run
from tests.curation.test_whitening import skewed

PCA = WhiteningConfig(whiten="pca", sample=1000)


def stored(root: Path, parts: int, vectors: np.ndarray) -> Store:
    """`described` in so many parts: the last five images are seeds, and one more image of each part was dropped."""
    store = Store(str(root))
    for part, rows in enumerate(np.array_split(np.arange(len(vectors)), parts)):
        described = [{"image_id": name(int(n)), "descriptor": vectors[n]} for n in rows]
        described.append({"image_id": name(1000 + part), "descriptor": np.zeros(8, np.float16), "drop_reason": "truncated"})
        put(store, "described", described, records.descriptors(8), part)
        images = [image_row(int(n), POOL if n < len(vectors) - 5 else ["seed:s"]) for n in rows]
        put(store, "images", [*images, image_row(1000 + part)], records.IMAGES, part)
    return store


@pytest.fixture
def vectors() -> np.ndarray:
    return skewed(60).astype(np.float16)


def fitted(store: Store, cfg: WhiteningConfig) -> np.ndarray:
    ((part, table),) = run(fit_whitening, store, ["described", "images"], cfg)
    assert (part, table.schema) == (0, records.WHITENING)
    assert table["row"].to_pylist() == list(range(-1, table.num_rows - 1))
    return np.array(table["vector"].to_pylist(), np.float32)


def test_the_fit_is_the_pools_in_any_split(tmp_path: Path, vectors: np.ndarray) -> None:
    moments = Moments(8)
    moments.add(vectors[:55])
    expected = fit(moments, "pca")
    for parts in (1, 4):
        np.testing.assert_allclose(fitted(stored(tmp_path / str(parts), parts, vectors), PCA), expected, rtol=1e-4, atol=1e-4)


def test_a_sample_is_the_same_in_any_split(tmp_path: Path, vectors: np.ndarray) -> None:
    cfg = WhiteningConfig(whiten="centre", sample=9)
    first, second = (fitted(stored(tmp_path / str(parts), parts, vectors), cfg) for parts in (1, 4))
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert np.abs(first - vectors[:55].astype(np.float32).mean(axis=0)).max() > 1e-3


def test_descriptors_are_whitened_and_dropped_rows_stay(tmp_path: Path, vectors: np.ndarray) -> None:
    store = stored(tmp_path, 3, vectors)
    for _, table in run(fit_whitening, store, ["described", "images"], PCA):
        store.write_part("whitening", 0, table, "test")
    made = dict(run(whiten, store, ["described", "whitening"], PCA))
    assert list(made) == [0, 1, 2]
    for part, table in made.items():
        before = store.part("described", part)
        assert table.schema == records.descriptors(8)
        assert table.drop_columns(["descriptor"]).equals(before.drop_columns(["descriptor"]))
    table = pa.concat_tables(made.values())
    rows, kept = matrix(table["descriptor"]).astype(np.float32), table["drop_reason"].is_null().to_numpy()
    assert not rows[~kept].any()
    np.testing.assert_allclose(rows[kept], apply(vectors, fitted(store, PCA)), atol=1e-3)


def test_too_small_a_pool_says_so(tmp_path: Path, vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match="needs more than 8 pool images, and there are 3"):
        fitted(stored(tmp_path, 1, vectors[:8]), PCA)


@pytest.mark.parametrize(("wrong", "told"), [({"whiten": "zca"}, "one of none, centre, pca"), ({"whiten_sample": 0}, "images")])
def test_what_a_recipe_may_not_say(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DescriptorsConfig(**wrong)
