"""What a run takes here: the whole flow on samples of the pool of three sizes, and the line through them, noun by noun.

Seed and protected sets take part whole in each sample run: what they cost is in the constant of every line. Growth with
the pool is linear but for the nouns of GROWTH. Times come from when parts were committed, which any run keeps.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from curation.sources import read_bytes
from curation.store import Store
from pipelines.config import PoolSection, Recipe, RecipeError
from pipelines.flow import FLOW
from pipelines.plan_lines import Line, Point, line
from pipelines.progress import Progress
from pipelines.run import execute
from pipelines.specimens import draw

SHARES = (0.25, 0.5, 1.0)  # of the sample
FEWEST = 200  # images of a sample
GROWTH = {"clusters": 1.5}  # nouns that grow with a power of the pool: images x clusters, 2 roots of the pool
REST = "start"  # what a run takes beside its nouns: Ray, networks, the summary
OTHER = "other files"


@dataclass(frozen=True)
class Measured:
    """What a folder says of its run. Seconds and bytes by noun."""

    seconds: Mapping[str, float]
    disk: Mapping[str, int]


def measure(recipe: Recipe, sample: int, workers: int | None) -> tuple[dict[str, Line], dict[str, Line], int]:
    """Lines of seconds and of bytes by noun, and how many images the pool has. RecipeError if the pool is too small."""
    drawn = draw(recipe.pool.sources, sample, 0, recipe)
    rows = drawn.rows.slice(0, sample)
    if rows.num_rows < FEWEST:
        raise RecipeError(f"a plan needs {FEWEST} readable images to try, and the pool's sample has {rows.num_rows}")
    times: dict[str, list[Point]] = {}
    sizes: dict[str, list[Point]] = {}
    with tempfile.TemporaryDirectory(prefix="curate-plan-") as folder:
        for share in SHARES:
            count = round(share * rows.num_rows)
            tried = _try(recipe, rows.slice(0, count), Path(folder, str(count)), workers)
            for noun, seconds in tried.seconds.items():
                times.setdefault(noun, []).append((count, seconds))
            for noun, size in tried.disk.items():
                sizes.setdefault(noun, []).append((count, float(size)))
    lines = {noun: line(points, GROWTH.get(noun, 1.0)) for noun, points in times.items()}
    return lines, {noun: line(points, 1.0) for noun, points in sizes.items()}, drawn.found


def _try(recipe: Recipe, rows: pa.Table, folder: Path, workers: int | None) -> Measured:
    """One run over some images, written out as files."""
    pool = folder / "pool"
    pool.mkdir(parents=True)
    for name, data in zip(rows["image_id"].to_pylist(), read_bytes(rows), strict=True):
        if data is not None:
            (pool / name).with_suffix(".jpg").write_bytes(data)  # what a file is, its bytes say
    began = time.time()
    small = replace(recipe, pool=PoolSection(sources=(str(pool),)))
    execute(small, str(folder / "run"), workers=workers, progress=Progress(quiet=True))
    return looked_at(str(folder / "run"), time.time() - began)


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
