"""Small tables of known content, written as parts of a run, and pictures of known content."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from curation import records
from curation.store import Parts, Store

POOL = [records.POOL]


def name(n: int) -> str:
    """The n-th image_id: in the order of n, and different in its first half."""
    return f"{n:016x}" + 16 * "0"


def picture(seed: int, side: int = 128) -> Image.Image:
    """A picture like no other: smooth colours under coarse patches."""
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    return Image.blend(smooth, coarse, 0.4)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def image_row(n: int | str, sets: list[str] = POOL, **more: Any) -> dict[str, Any]:
    """A row of records.IMAGES: 100 x 100 pixels, 1000 bytes, unless `more` says otherwise."""
    image_id = n if isinstance(n, str) else name(n)
    row = {"image_id": image_id, "sha256": 2 * image_id, "key": image_id[:4], "uri": "nowhere", "offset": 0}
    return row | {"format": "PNG", "width": 100, "height": 100, "length": 1000, "sets": sets} | more


def clean_row(n: int | str, **more: Any) -> dict[str, Any]:
    """The row of records.SANITIZED that goes with `image_row`: nothing was found, the bytes are the image's own."""
    image = image_row(n)
    same = {name: image[name] for name in ("image_id", "uri", "offset", "length", "format")}
    return same | {"bytes_sha256": image["sha256"]} | more


def file_row(data: bytes, path: Any, sets: list[str] = POOL, **more: Any) -> dict[str, Any]:
    """A row of records.IMAGES for bytes that are then written to `path`."""
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    with Image.open(io.BytesIO(data)) as image:
        size = {"width": image.width, "height": image.height}
    return image_row(digest[:32], sets, sha256=digest, uri=str(path), length=len(data), **size) | more


def put(store: Store, noun: str, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, part: int = 0) -> None:
    """Commit a part of these rows; columns that a row lacks are null."""
    store.write_part(noun, part, pa.Table.from_pylist([dict(row) for row in rows], schema=schema), "test")


def put_vectors(store: Store, noun: str, vectors: Mapping[int | str, Iterable[float]], part: int = 0) -> None:
    """Commit a part of descriptors or embeddings: image -> vector."""
    made = {"descriptors": records.descriptors, "embeddings": records.embeddings}[noun]
    rows = {n if isinstance(n, str) else name(n): np.asarray(list(v), np.float16) for n, v in vectors.items()}
    schema = made(len(next(iter(rows.values()))))
    put(store, noun, [{"image_id": n, noun[:-1]: v} for n, v in rows.items()], schema, part)


def run(fn: Callable[..., Any], store: Store, nouns: Iterable[str], cfg: Any) -> list[tuple[int, pa.Table]]:
    """All parts that a WholeStage's function yields."""
    inputs: dict[str, Parts] = {noun: store.parts(noun) for noun in nouns}
    return list(fn(inputs, cfg))


def by_id(parts: Iterable[tuple[int, pa.Table]]) -> dict[str, dict[str, Any]]:
    """image_id -> row, without nulls, over all parts."""
    rows = [row for _, table in parts for row in table.to_pylist()]
    return {row["image_id"]: {k: v for k, v in row.items() if v is not None} for row in rows}


def turned(degrees: float) -> tuple[float, float]:
    """The unit vector in the plane at an angle."""
    return float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))


def unit_rows(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    x = np.random.default_rng(seed).normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def blobs(seed: int, size: tuple[int, int] = (300, 220)) -> Image.Image:
    """Smooth noise of several sizes: as much to hold on to as a photograph has."""
    chance = np.random.default_rng(seed)
    layers = [Image.fromarray(chance.integers(0, 256, (n, n, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
              for n in (8, 16, 32, 64)]  # fmt: skip
    return Image.fromarray(np.mean([np.asarray(layer) for layer in layers], axis=0).astype(np.uint8))
