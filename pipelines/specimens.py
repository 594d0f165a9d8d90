"""A sample of a user's images and edits of them, described as a run describes them: what `curate calibrate` measures on.

The sample is drawn by what images are, not by where they lie: the same sources and seed, the same images. Each original
gets a few everyday edits and a hard one, the kinds taking turns (embedder/edits.py).
"""

from __future__ import annotations

import io
import math
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from PIL import Image

from curation import align, records
from curation.decode import decode_rgb
from curation.encode import unit
from curation.sets import shuffled_order
from curation.sources import plan, read_bytes
from curation.stage import CopyEncoder
from curation.stages.descriptors import describe
from curation.stages.images import scan
from curation.stages.screened import screen
from curation.store import matrix
from embedder.edits import EVERYDAY, HARD
from pipelines.config import Recipe, RecipeError

EDITS = (*EVERYDAY, *HARD)
LONGEST = 1024  # pixels: larger originals are edited at this size
QUALITY = 95  # of the JPEG that an edit is stored as
BATCH = 64  # originals held at once
OF_ONE = 25  # images taken from one stretch of an archive, where not every stretch is read
READ_ALL = 32  # stretches of archives (250 images each, mostly) that are all read
SPARE = 1.3  # drawn for each image wanted: some cannot be used


@dataclass(frozen=True)
class Sample:
    """Images drawn from a pool of `found`. rows: image_id, key, references to their bytes; passed_over: reason -> images."""

    rows: pa.Table
    found: int
    passed_over: Counter[str]


@dataclass(frozen=True)
class Specimens:
    """N originals, then E edits of them. names: where each original lies."""

    names: list[str]  # N
    vectors: NDArray[np.float32]  # (N + E, D), unit rows
    thumbs: torch.Tensor  # (N + E, align.SIDE, align.SIDE)
    origin: NDArray[np.int64]  # (N + E,) which original
    edit: NDArray[np.int64]  # (N + E,) which of EDITS; -1: an original


def draw(sources: tuple[str, ...], images: int, seed: int, recipe: Recipe) -> Sample:
    """About SPARE x `images` distinct readable images of the sources, in an order of their own.

    Raises SourceError for a source that cannot be read, RecipeError if there is no image.
    """
    units = [one for source in sources for one in plan(source, records.POOL)]
    chosen = _units(units, round(SPARE * images), np.random.default_rng(seed))
    found, passed_over = [pa.Table.from_pylist([], schema=records.SCANNED)], Counter[str]()
    for one, take in chosen:
        rows = scan(pa.Table.from_pylist([one], schema=records.SOURCES), None, recipe.images)
        passed_over.update(reason for reason in rows["drop_reason"].to_pylist() if reason)
        found.append(_shuffled(rows.filter(pc.is_null(rows["drop_reason"])), seed).slice(0, take))
    rows = _shuffled(pa.concat_tables(found), seed)
    if not rows.num_rows:
        raise RecipeError(f"no usable image in {', '.join(sources)}")
    return Sample(rows, sum(one["images"] for one in units), passed_over)


def _units(units: list[dict[str, Any]], images: int, chance: np.random.Generator) -> Iterator[tuple[dict[str, Any], int]]:
    """Input units to read and how many images to take of each: files one by one; a share of every stretch of an archive,
    or OF_ONE of some stretches, drawn by their size."""
    files, packed = ([u for u in units if (u["kind"] == "file") == loose] for loose in (True, False))
    sizes = np.array([u["images"] for u in packed], np.int64)
    wanted = images / max(1, len(files) + int(sizes.sum()))
    if wanted >= 1:
        yield from ((one, one["images"]) for one in units)
        return
    for at in np.sort(chance.permutation(len(files))[: round(wanted * len(files))]):
        yield files[at], 1
    if len(packed) <= max(READ_ALL, wanted * sizes.sum() / OF_ONE):
        yield from ((one, math.ceil(wanted * one["images"])) for one in packed)
        return
    points = (chance.uniform() + np.arange(math.ceil(wanted * sizes.sum() / OF_ONE))) * OF_ONE / wanted
    hits = Counter(np.searchsorted(np.cumsum(sizes), points[points < sizes.sum()], side="right").tolist())
    for at in sorted(hits):
        yield packed[at], OF_ONE * hits[at]


def _shuffled(rows: pa.Table, seed: int) -> pa.Table:
    """Distinct images in the order of their shuffled ids."""
    names = rows["image_id"].to_pylist()
    order = np.argsort(shuffled_order(names, seed), kind="stable")
    first = {names[at]: at for at in reversed(order)}
    return rows.take(pa.array([at for at in order if first[names[at]] == at], pa.int64()))


@dataclass(frozen=True)
class Editing:
    """The first `edited` of `images` originals get `everyday` and `hard` edits each."""

    images: int
    edited: int
    everyday: int
    hard: int
    seed: int

    def turn(self, number: int) -> list[int]:
        """Which of EDITS original `number` gets."""
        if number >= self.edited:
            return []
        mild = [(number * self.everyday + k) % len(EVERYDAY) for k in range(self.everyday)]
        return mild + [len(EVERYDAY) + (number * self.hard + k) % len(HARD) for k in range(self.hard)]


def prepare(sample: Sample, encoder: CopyEncoder, recipe: Recipe, editing: Editing) -> Specimens:
    """Originals that a run would not screen out, and their edits, described. RecipeError if there are none."""
    made: list[Specimens] = []
    for at in range(0, sample.rows.num_rows, BATCH):
        number = sum(len(one.names) for one in made)
        rows = _usable(sample, sample.rows.slice(at, BATCH), recipe).slice(0, editing.images - number)
        if rows.num_rows:
            made.append(_describe(rows, encoder, recipe, editing, number))
    if not made:
        raise RecipeError(f"a run would use none of these images: {dict(sample.passed_over)}")
    return _joined(made)


def _usable(sample: Sample, rows: pa.Table, recipe: Recipe) -> pa.Table:
    """The rows with their bytes that the run's quality rules let through."""
    rows = rows.append_column("bytes", pa.array(read_bytes(rows), pa.binary()))
    judged = screen(rows.append_column("sets", pa.array([[records.POOL]] * rows.num_rows)), np.zeros((0, 256), np.float32),
                    recipe.screened)  # fmt: skip
    reasons = judged["drop_reason"].to_pylist()
    sample.passed_over.update(reason for reason in reasons if reason)
    return rows.filter(pa.array([reason is None for reason in reasons], pa.bool_()))


def _describe(rows: pa.Table, encoder: CopyEncoder, recipe: Recipe, editing: Editing, number: int) -> Specimens:
    """Originals and edits through the network. number: of the first original."""
    data, ids = rows["bytes"].to_pylist(), rows["image_id"].to_pylist()
    wanted = [(one, name, editing.turn(number + at)) for at, (one, name) in enumerate(zip(data, ids, strict=True))]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        made = list(pool.map(lambda one: _edits(*one, editing.seed, recipe.screened.min_side), wanted))
    data += [copy for copies in made for _, copy in copies]
    origin = [*range(len(ids)), *(at for at, copies in enumerate(made) for _ in copies)]
    edit = [-1] * len(ids) + [kind for copies in made for kind, _ in copies]
    table = pa.table({"image_id": pa.array([""] * len(data)), "bytes": pa.array(data, pa.binary())})
    vectors = unit(matrix(describe(table, encoder, recipe.descriptors)["descriptor"]))
    names = [_name(row) for row in rows.select(["uri", "member", "key"]).to_pylist()]
    return Specimens(names, vectors, align.look(data), np.array(origin, np.int64) + number, np.array(edit, np.int64))


def _edits(data: bytes, image_id: str, kinds: list[int], seed: int, min_side: int) -> list[tuple[int, bytes]]:
    """(kind, JPEG) of each edit that is not smaller than a run takes."""
    if not kinds:
        return []
    image = Image.fromarray(decode_rgb(data, LONGEST))
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC, reducing_gap=2.0)
    out: list[tuple[int, bytes]] = []
    for kind in kinds:
        copy = EDITS[kind].apply(image, np.random.default_rng([seed, int(image_id[:16], 16), kind])).convert("RGB")
        if min(copy.size) >= min_side:
            file = io.BytesIO()
            copy.save(file, "JPEG", quality=QUALITY)
            out.append((kind, file.getvalue()))
    return out


def _name(row: dict[str, Any]) -> str:
    """Where an image lies: its file, or its archive and key."""
    return row["uri"] if row["member"] is None else f"{row['uri']}#{row['key']}"


def _joined(made: list[Specimens]) -> Specimens:
    """Originals of all batches first, then the edits."""
    edit = np.concatenate([one.edit for one in made])
    order = np.argsort(edit >= 0, kind="stable")
    vectors, thumbs = np.concatenate([one.vectors for one in made]), torch.cat([one.thumbs for one in made])
    names, origin = [name for one in made for name in one.names], np.concatenate([one.origin for one in made])
    return Specimens(names, vectors[order], thumbs[torch.from_numpy(order)], origin[order], edit[order])
