"""Retrieval on real workers: the same indexes and neighbours for any number of them, and after a kill between shards."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from curation import copy_records
from curation.store import Store
from tests.curation.making import POOL, name, put, put_vectors, unit_rows
from tests.pipelines.launched import Program, appeared, finish, kill_all, launch

PARTS, DIM, ROWS, SEEDS = 8, 16, 40_000, 4_000


def make(root: Path) -> None:
    """A run folder with survivors and embeddings, as if the stages before had been there."""
    store, chance, middles = Store(str(root)), np.random.default_rng(0), unit_rows(300, DIM, 1)
    x = middles[chance.integers(0, 300, ROWS + SEEDS)] + 0.5 * unit_rows(ROWS + SEEDS, DIM, 2)
    seeds = set(chance.permutation(ROWS + SEEDS)[:SEEDS].tolist())
    for part, numbers in enumerate(np.array_split(np.arange(ROWS + SEEDS), PARTS)):
        sets = [[f"seed:{'abc'[n % 3]}"] if n in seeds else POOL for n in numbers.tolist()]
        rows = [{"image_id": name(n), "sets": s, "usable": True} for n, s in zip(numbers.tolist(), sets, strict=True)]
        put(store, "survivors", rows, copy_records.SURVIVORS, part)
        put_vectors(store, "embeddings", {n: x[n] for n in numbers.tolist()}, part)


def retrieve(root: Path, workers: int) -> Program:
    """Both nouns, by `main` below."""
    return launch("tests.pipelines.test_indexes", root, workers)


def files(root: Path) -> dict[str, bytes]:
    """All that both nouns left, but for receipts: they say how long it took."""
    found = [path for noun in ("indexes", "neighbors") for path in (root / noun).iterdir() if path.suffix != ".done"]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("one") / "run"
    make(root)
    finish(retrieve(root, 1))
    return files(root)


def test_an_index_per_shard_and_a_part_per_block(one_worker: dict[str, bytes]) -> None:
    indexes = {f"indexes/{name}" for n in range(4) for name in (f"part-{n:05d}.parquet", f".part-{n:05d}.faiss")}
    assert set(one_worker) == indexes | {f"neighbors/part-{n:05d}.parquet" for n in range(3)}


def test_the_same_with_three_workers_after_a_kill(one_worker: dict[str, bytes], tmp_path: Path) -> None:
    root = tmp_path / "run"
    make(root)
    killed, done = retrieve(root, 3), root / "indexes" / ".part-00000.done"
    assert appeared(done, killed)
    kill_all(killed)
    assert not (root / "neighbors").exists()
    before = done.stat().st_mtime_ns
    finish(retrieve(root, 3))
    assert done.stat().st_mtime_ns == before  # a shard that was committed is not built again
    assert files(root) == one_worker


def main() -> None:
    """`indexes` of four shards, then `neighbors`."""
    from curation.stages import neighbors
    from pipelines.config import Recipe
    from pipelines.flow import Step
    from pipelines.progress import Progress
    from pipelines.runner import Cluster
    from pipelines.steps import Job, do

    root, workers = sys.argv[1:]
    cfg = neighbors.NeighborsConfig(k=(("a", 3), ("b", 2), ("c", 2)), memory_gib=0.0002, recall=0.9)
    with Cluster(root, int(workers)) as cluster:
        store = Store(root)
        job = Job(store, Recipe(), cluster, Progress(quiet=True))
        job.receipts = {noun: store.receipts(noun) for noun in ("survivors", "embeddings")}
        for stage in (neighbors.INDEXES, neighbors.STAGE):
            do(job, Step(stage, lambda _: cfg))
    rows = store.parts("indexes").whole().to_pylist()
    assert {row["kind"] for row in rows} == {"ivf_pq"}
    assert all(row["bytes"] < 0.0002 * 2**30 + 2**16 for row in rows)  # and the codebooks


if __name__ == "__main__":
    main()
