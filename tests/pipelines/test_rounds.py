"""k-means on real workers: the same centroids to the bit for any number of them, and after a kill between its passes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from curation import records
from curation.store import Store
from tests.curation.making import POOL, image_row, put, put_vectors, unit_rows
from tests.pipelines.launched import Program, appeared, finish, kill_all, launch

PARTS, ROWS = 5, 120


def make(root: Path) -> None:
    """A run folder with images and embeddings, as if the stages before had been there."""
    store, x = Store(str(root)), unit_rows(PARTS * ROWS, 16, 0)
    for part in range(PARTS):
        names = range(part * ROWS, (part + 1) * ROWS)
        put(store, "images", [image_row(_name(n), POOL) for n in names], records.IMAGES, part)
        put_vectors(store, "embeddings", {_name(n): x[n] for n in names}, part)


def _name(n: int) -> str:
    return f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" + 16 * "0"


def fit(root: Path, workers: int) -> Program:
    """`centroids`, by `main` below."""
    return launch("tests.pipelines.test_rounds", root, workers)


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = tmp_path_factory.mktemp("one") / "run"
    make(root)
    finish(fit(root, 1))
    assert not (root / ".centroids").exists()  # scratch
    return (root / "centroids" / "part-00000.parquet").read_bytes()


def test_the_same_with_three_workers_after_a_kill(one_worker: bytes, tmp_path: Path) -> None:
    root = tmp_path / "run"
    make(root)
    killed, done = fit(root, 3), root / ".centroids" / "00002-means" / ".part-00000.done"
    assert appeared(done, killed)
    kill_all(killed)
    assert not (root / "centroids").exists()
    before = done.stat().st_mtime_ns
    again = fit(root, 3)
    assert appeared(root / ".centroids" / "00004-means", again)
    assert done.stat().st_mtime_ns == before  # a pass that was committed is not done again
    finish(again)
    assert (root / "centroids" / "part-00000.parquet").read_bytes() == one_worker


def main() -> None:
    """Fit the centroids of a run folder in passes, however few its images."""
    from curation.stages import centroids as fits
    from curation.stages.centroids import ClustersConfig
    from pipelines.config import Recipe
    from pipelines.flow import Step
    from pipelines.progress import Progress
    from pipelines.runner import Cluster
    from pipelines.steps import Job, do

    root, workers = sys.argv[1:]
    cfg = ClustersConfig(k=24, iterations=5, alone_rows=100, split=3)
    with Cluster(root, int(workers)) as cluster:
        store = Store(root)
        job = Job(store, Recipe(), cluster, Progress(quiet=True))
        job.receipts = {noun: store.receipts(noun) for noun in ("images", "embeddings")}
        do(job, Step(fits.CENTROIDS, lambda _: cfg))
    centroids = np.array(store.part("centroids", 0)["centroid"].to_pylist())
    assert centroids.shape == (24, 16)


if __name__ == "__main__":
    main()
