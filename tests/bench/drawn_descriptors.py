"""Descriptors like those of a crawl, drawn: topics of all sizes, a diffuse background, and planted copies.

Three quarters are originals: 70% of them in topics (one per 250 images, sizes falling as rank^-0.8, cosine to the
topic's centre 0.4 to 0.7), the rest background. One quarter are copies, the cosine to their original uniform from
threshold - 0.15 to 1; some originals have very many copies (about 140 / sqrt(rank) at a million rows). All noise has
standard deviations falling as j^-0.3 over the dimensions: 194 effective ones of 512.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from curation import records
from curation.store import Store, vector_array

DIM, BLOCK, PART = 512, 32_768, 50_000


def image_ids(rows: np.ndarray) -> list[str]:
    """The id of each row: 64 mixed bits, then the row's number."""
    return [f"{(int(n) * 0x9E3779B97F4A7C15) & (2**64 - 1):016x}{int(n):016x}" for n in rows]


def row_numbers(ids: pa.ChunkedArray) -> np.ndarray:
    """The rows that ids were made for."""
    return np.array([int(name[16:], 16) for name in ids.to_pylist()], np.int64)


def draw(n: int, folder: Path, threshold: float, seed: int = 0) -> None:
    """n descriptors as a run folder's `descriptors` and `images`, and planted.npy: the rows that have a copy or are one."""
    rng = np.random.default_rng(seed)
    spread = ((1 + np.arange(DIM)) ** -0.3).astype(np.float32)
    originals, topics = n * 3 // 4, max(4, n // 250)

    def noise(count: int) -> np.ndarray:
        x = rng.standard_normal((count, DIM), np.float32) * spread
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    centres, closeness = noise(topics), rng.uniform(0.4, 0.7, topics).astype(np.float32)
    weights = (1.0 + np.arange(topics)) ** -0.8
    topic = rng.choice(topics, originals, p=weights / weights.sum())
    close = np.where(rng.random(originals) < 0.3, 0, closeness[topic]).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float16, (n, DIM))
    for at in range(0, originals, BLOCK):
        some = slice(at, min(originals, at + BLOCK))
        c = close[some, None]
        rows[some] = c * centres[topic[some]] + np.sqrt(1 - c**2) * noise(len(c))
    source = rng.permutation(originals)[(originals * rng.random(n - originals) ** 2).astype(np.int64)]
    alike = rng.uniform(threshold - 0.15, 1, n - originals).astype(np.float32)
    for at in range(0, n - originals, BLOCK):
        s = alike[at : at + BLOCK, None]
        copies = s * rows[source[at : at + BLOCK]].astype(np.float32) + np.sqrt(1 - s**2) * noise(len(s))
        rows[originals + at : originals + at + len(s)] = copies
    place = rng.permutation(n)
    planted = np.zeros(n, bool)
    planted[source] = planted[originals:] = True
    np.save(folder / "planted.npy", np.flatnonzero(planted[place]))
    _store(rows, place, Store(str(folder / "run")))
    (folder / "rows.npy").unlink()


def _store(rows: np.ndarray, place: np.ndarray, store: Store) -> None:
    schema = records.descriptors(DIM)
    for part, at in enumerate(range(0, len(rows), PART)):
        numbers = np.arange(at, min(len(rows), at + PART))
        ids, x = pa.array(image_ids(numbers)), rows[place[numbers]].astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        vectors = vector_array(x, schema.field("descriptor").type)
        table = pa.Table.from_arrays([ids, vectors, *records.verdicts(len(ids))], schema=schema)
        store.write_part("descriptors", part, table, "drawn")
        known = {"image_id": ids, "sets": pa.array([["pool"]] * len(ids))}
        columns = [known.get(f.name, pa.nulls(len(ids), f.type)) for f in records.IMAGES]
        store.write_part("images", part, pa.Table.from_arrays(columns, schema=records.IMAGES), "drawn")
