"""What a run takes here: the whole flow on samples of the pool of three sizes.

Seed and protected sets take part whole in each sample run, and its pool has as many parts as the run's will have: what
they cost is in the constant of every line (plan_growth). Times come from when parts were committed, which any run keeps.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from curation import align
from curation.graph.exact import pairs_above
from curation.shards import TarSink
from curation.sources import read_bytes
from curation.stages.sources import FEWEST as SMALLEST_PART
from curation.stages.sources import MOST as LARGEST_PART
from curation.stages.sources import PARTS
from curation.store import Store
from pipelines.config import PoolSection, Recipe, RecipeError
from pipelines.flow import FLOW, network
from pipelines.plan_growth import Rates, Tried
from pipelines.progress import Progress
from pipelines.queries import query
from pipelines.run import execute
from pipelines.specimens import draw

SHARES = (0.125, 0.5, 1.0)  # of the sample
FEWEST = 200  # images of a sample
IN_PART = 8  # images of a part of the smallest sample, at least
LOOKS = 64  # pictures that the price of a look is measured on
BLOCK = 4096  # rows of the product that the rate is measured on
REST = "start"  # what a run takes beside its nouns: Ray, networks, the summary
FOLDERS = ("curated", "blurred")  # tars of a run
OTHER = "other files"
SETS = """
    select sets.name, count(*) as images
    from (select unnest(sets) as name from images where drop_reason is null) as sets
    where starts_with(sets.name, 'seed:') group by all
"""


@dataclass(frozen=True)
class Measured:
    """What a folder says of its run. Seconds and bytes by noun."""

    seconds: Mapping[str, float]
    disk: Mapping[str, int]


@dataclass(frozen=True)
class Sampled:
    """The sample runs, smallest first; the rates of this machine; how many images the pool has."""

    tries: tuple[Tried, ...]
    rates: Rates
    found: int


def measure(recipe: Recipe, sample: int, images: int | None, workers: int | None) -> Sampled:
    """Runs on samples of the pool, for a plan of `images` (None: all of it). RecipeError if the pool is too small."""
    drawn = draw(recipe.pool.sources, sample, 0, recipe)
    rows = drawn.rows.slice(0, sample)
    if rows.num_rows < FEWEST:
        raise RecipeError(f"a plan needs {FEWEST} readable images to try, and the pool's sample has {rows.num_rows}")
    parts = min(parts_of(recipe, images or drawn.found), round(SHARES[0] * rows.num_rows) // IN_PART)
    with tempfile.TemporaryDirectory(prefix="curate-plan-") as folder:
        counts = [round(share * rows.num_rows) for share in SHARES]
        tries = tuple(_try(recipe, rows.slice(0, count), Path(folder, str(count)), parts, workers) for count in counts)
    return Sampled(tries, rates(recipe, rows, workers or os.cpu_count() or 1), drawn.found)


def parts_of(recipe: Recipe, images: int) -> int:
    """Parts that a pool of so many images is cut into (curation/stages/sources.py)."""
    rows = recipe.pool.part_rows or min(LARGEST_PART, max(SMALLEST_PART, -(-images // PARTS)))
    return max(1, -(-images // rows))


def rates(recipe: Recipe, rows: pa.Table, workers: int) -> Rates:
    """What one core of this machine does, by a product as `edges` takes it and by looks at some of the pictures."""
    copies, encoder = network(recipe.descriptors.network, recipe.descriptors.size), network(recipe.embeddings.network)
    x = np.random.default_rng(0).standard_normal((BLOCK, copies.dim), np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    pictures, before = [data for data in read_bytes(rows.slice(0, LOOKS)) if data is not None], torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        product = min(_timed(lambda: pairs_above(x, x, 0.9, 1, same=False)) for _ in range(3))
        look = min(_timed(lambda: align.agreement(thumbs := align.look(pictures), thumbs.flip(0))) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    return Rates(BLOCK * BLOCK * copies.dim / product, 2 * look / max(1, len(pictures)), workers, encoder.dim, copies.dim)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _try(recipe: Recipe, rows: pa.Table, folder: Path, parts: int, workers: int | None) -> Tried:
    """One run over some images."""
    pool, run = folder / "pool", str(folder / "run")
    _write(rows, pool, parts)
    began = time.time()
    size = -(-rows.num_rows // parts)
    small = replace(recipe, pool=PoolSection(sources=(str(pool),), part_rows=size))
    execute(small, run, workers=workers, progress=Progress(quiet=True))
    took, store = looked_at(run, time.time() - began), Store(run)
    chosen, pairs = (sum(r.kept for r in store.receipts(noun).values()) for noun in ("selection", "edges"))
    seeds = {row["name"].removeprefix("seed:"): row["images"] for row in query(run, SETS).to_pylist()}
    return Tried(rows.num_rows, took.seconds, took.disk, chosen, pairs, seeds)


def _write(rows: pa.Table, pool: Path, parts: int) -> None:
    """Some images as the pool has them: files, or members of tars, one for each part."""
    pool.mkdir(parents=True)
    packed, size = rows["member"].null_count < rows.num_rows, -(-rows.num_rows // parts)
    for at in range(0, rows.num_rows, size):
        few = rows.slice(at, size)
        files = [(f"{name}.jpg", data) for name, data in zip(few["image_id"].to_pylist(), read_bytes(few), strict=True) if data]
        if not packed:
            for name, data in files:
                (pool / name).write_bytes(data)  # what a file is, its bytes say
            continue
        with TarSink(Store(str(pool)), f"{at:08d}.tar") as tar:
            for name, data in files:
                tar.add(name, data)
            tar.commit()


def looked_at(run: str, wall: float | None = None) -> Measured:
    """A finished run's seconds and bytes by noun; wall: all it took, where that is known. Local folders only."""
    store = Store(run)
    if not os.path.exists(os.path.join(store.root, "recipe.toml")):
        raise RecipeError(f"{run} is not a run folder: it has no recipe.toml")
    ends = {step.stage.name: _ended(store, step.stage.name) for step in FLOW}
    nouns = [(noun, end) for noun, end in ends.items() if end]
    seconds, before = dict[str, float](), os.path.getmtime(os.path.join(store.root, "recipe.toml"))
    for noun, end in nouns:
        seconds[noun], before = max(0.0, end - before), max(before, end)
    if wall is not None:
        seconds[REST] = max(0.0, wall - sum(seconds.values()))
    disk = {noun: _bytes(os.path.join(store.root, noun)) for noun in ends}
    disk |= {name: _bytes(os.path.join(store.root, name)) for name in FOLDERS}
    disk[OTHER] = _bytes(store.root) - sum(disk.values())
    return Measured(seconds, {noun: size for noun, size in disk.items() if size})


def _ended(store: Store, noun: str) -> float:
    """When the last part of a noun was committed; 0 if none was."""
    folder = os.path.join(store.root, noun)
    with contextlib.suppress(FileNotFoundError):
        return max((e.stat().st_mtime for e in os.scandir(folder) if e.name.endswith(".done")), default=0.0)
    return 0.0


def _bytes(folder: str) -> int:
    return sum(os.path.getsize(path) for path in _files(folder))


def _files(folder: str) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        yield from (os.path.join(root, name) for name in names)
