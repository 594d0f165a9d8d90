"""whitening: `descriptors` centred or whitened on the pool's own. Off unless the recipe says `whiten` in [descriptors].

Then the network's descriptors are `described`, which stays; `whitening` is fitted on a sample of the pool's, and
`descriptors` are what it makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curation import records
from curation.sets import in_pool, shuffled_order
from curation.stage import WholeStage, derived
from curation.store import Parts, join, matrix, vector_array
from curation.whitening import Floats, Moments, apply, fit


@dataclass(frozen=True, kw_only=True)
class WhiteningConfig:
    """What [descriptors] says of it."""

    whiten: str = derived("none")
    sample: int = derived(100_000)


def fit_whitening(inputs: Mapping[str, Parts], cfg: WhiteningConfig) -> Iterator[tuple[int, pa.Table]]:
    """The mean, and for "pca" the matrix, of the pool images of lowest shuffled rank: the same for any number of workers."""
    last, moments = _last_rank(inputs, cfg.sample), None
    for part in inputs["described"].numbers:
        table, ranks = _pool(inputs, part, ["image_id", "descriptor"])
        moments = moments or Moments(table["descriptor"].type.list_size)
        moments.add(matrix(table["descriptor"])[ranks <= last])
    rows = fit(moments or Moments(0), cfg.whiten)
    numbers = pa.array(range(-1, len(rows) - 1), pa.int32())
    yield 0, pa.table({"row": numbers, "vector": rows.tolist()}, schema=records.WHITENING)


def _last_rank(inputs: Mapping[str, Parts], sample: int) -> np.uint64:
    """The highest shuffled rank among the `sample` lowest of the pool."""
    lowest = np.zeros(0, np.uint64)
    for part in inputs["described"].numbers:
        lowest = np.concatenate([lowest, _pool(inputs, part, ["image_id"])[1]])
        lowest = np.partition(lowest, sample - 1)[:sample] if len(lowest) > sample else lowest
    return lowest.max(initial=np.uint64(0))


def _pool(inputs: Mapping[str, Parts], part: int, columns: list[str]) -> tuple[pa.Table, np.ndarray]:
    """Kept rows of the pool in a part, and their shuffled ranks."""
    sets = inputs["images"].kept_part(part, ["image_id", "sets"])
    rows = join(inputs["described"].kept_part(part, columns), sets)
    rows = rows.filter(in_pool(rows["sets"]))
    return rows, shuffled_order(rows["image_id"].to_pylist(), seed=0)


def whiten(inputs: Mapping[str, Parts], _cfg: WhiteningConfig) -> Iterator[tuple[int, pa.Table]]:
    """The rows of `described`, dropped ones too, each kept descriptor centred or whitened and of unit length again."""
    rows = inputs["whitening"].whole()["vector"].to_pylist()
    fitted: Floats = np.array(rows, np.float32).reshape(len(rows), -1)
    for part, table in inputs["described"].tables():
        kept = table["drop_reason"].is_null().to_numpy(zero_copy_only=False)
        vectors = matrix(table["descriptor"]).astype(np.float32)
        vectors[kept] = apply(vectors[kept], fitted)
        at = table.schema.get_field_index("descriptor")
        field = table.schema.field(at)
        yield part, table.set_column(at, field, vector_array(vectors, field.type))


WHITENING = WholeStage(name="whitening", consumes=("described", "images"), version=1, fn=fit_whitening)
WHITENED = WholeStage(name="descriptors", consumes=("described", "whitening"), version=1, fn=whiten)
