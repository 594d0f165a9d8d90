"""Which sets an image belongs to, as boolean columns; and the few encodings that tables share."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curation import records

Bools = NDArray[np.bool_]


def in_pool(sets: pa.ChunkedArray) -> Bools:
    """(N,) images that the pool holds, whoever else does."""
    return np.array([records.POOL in names for names in sets.to_pylist()], bool)


def in_any(sets: pa.ChunkedArray, prefix: str) -> Bools:
    """(N,) images that some set whose name starts with `prefix` holds."""
    return np.array([any(n.startswith(prefix) for n in names) for names in sets.to_pylist()], bool)


def in_seeds(sets: pa.ChunkedArray, names: set[str]) -> Bools:
    """(N,) images that one of the seed sets `names` (without prefix) holds."""
    wanted = {records.SEED_PREFIX + name for name in names}
    return np.array([bool(wanted.intersection(row)) for row in sets.to_pylist()], bool)


@dataclass(frozen=True)
class Roles:
    """(N,) each, of the copy graph: who competes for survival, who may not copy a protected image, who is protected."""

    rival: Bools
    judged: Bools
    protected: Bools


def roles(sets: pa.ChunkedArray, as_is: tuple[str, ...]) -> Roles:
    """as_is: the seed sets that enter the manifest as they are, and so compete with the pool."""
    pool = in_pool(sets)
    judged = pool | in_any(sets, records.SEED_PREFIX)
    return Roles(pool | in_seeds(sets, set(as_is)), judged, in_any(sets, records.PROTECT_PREFIX))


def shuffled_order(ids: list[str], seed: int) -> NDArray[np.uint64]:
    """(N,) pseudo-random ranks, a function of image_id and seed alone (splitmix64): sorting by them is a fair draw."""
    x = np.array([int(name[:16], 16) for name in ids], np.uint64)
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def dump(value: object) -> str:
    """Compact JSON, keys sorted."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
