"""The copy graph by cells, on Ray: the same for any number of workers, and for one that is killed and taken up again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from curation import records
from curation.stages import edges
from curation.stages.edges import EdgesConfig
from curation.stages.survivors import SurvivorsConfig
from curation.store import Receipt, Store
from pipelines.config import Recipe
from pipelines.flow import FLOW
from pipelines.progress import Progress
from pipelines.runner import Cluster
from pipelines.steps import Job, do
from tests.curation.making import image_row, put, put_vectors

GRAPH = ("grid", "cells", "edges")
RECIPE = Recipe(
    edges=EdgesConfig(engine="cells", bunch_rows=400),
    survivors=SurvivorsConfig(self_similarity=0.8, reference_similarity=0.7, confirm=0.0),
)


@dataclass(frozen=True)
class Deadly:
    """find_edges, but that it kills its worker when it comes to part 2 for the first time."""

    mark: Path
    find: Callable = edges.find_edges

    def __call__(self, part, inputs, cfg):
        if part == 2 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.find(part, inputs, cfg)


def described(root: Path) -> Store:
    """1500 images of a pool, a third of them copies, and 20 protected ones, in five parts."""
    rng, store = np.random.default_rng(0), Store(str(root))
    x = rng.normal(size=(1500, 24)) + rng.normal(size=(100, 24))[rng.integers(100, size=1500)]
    x[:500] = x[500:1000] + rng.uniform(0, 1, (500, 1)) * rng.normal(size=(500, 24))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    for part, rows in enumerate(np.array_split(rng.permutation(1500), 5)):
        sets = {n: ["protect:v"] if n % 75 == 0 else ["pool"] for n in rows.tolist()}
        put(store, "images", [image_row(n, some) for n, some in sets.items()], records.IMAGES, part)
        put_vectors(store, "descriptors", {n: x[n] for n in sets}, part)
    return store


def found(store: Store, cluster: Cluster, fn: Callable = edges.find_edges) -> dict[str, dict[int, Receipt]]:
    """Brings the nouns of the graph up to date."""
    job = Job(store, RECIPE, cluster, Progress(quiet=True))
    job.receipts = {noun: store.receipts(noun) for noun in ("descriptors", "images")}
    for step in FLOW:
        if step.stage.name in GRAPH:
            do(job, replace(step, stage=replace(step.stage, fn=fn)) if step.stage.name == "edges" else step)
    return {noun: job.receipts[noun] for noun in GRAPH}


def digests(receipts: dict[str, dict[int, Receipt]]) -> dict[str, list[str]]:
    return {noun: [receipt.digest for receipt in parts.values()] for noun, parts in receipts.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What one worker finds."""
    store = described(tmp_path_factory.mktemp("alone"))
    with Cluster(store.url, workers=1) as cluster:
        made = digests(found(store, cluster))
    assert len(made["edges"]) > 6
    assert sum(receipt.rows for receipt in store.receipts("edges").values()) > 300
    return made


def test_three_workers_one_of_which_dies_then_only_what_is_missing(alone: dict[str, list[str]], tmp_path: Path) -> None:
    store = described(tmp_path / "run")
    with Cluster(store.url, workers=3) as cluster:
        assert digests(found(store, cluster, Deadly(tmp_path / "died"))) == alone
        assert (tmp_path / "died").exists()
        store.discard(store.path("edges", ".part-00001.done"))
        store.discard(store.path("cells", ".part-00003.done"))
        store.write_bytes(b"", "edges", "part-00099.parquet.tmp-0")
        before = stamps(tmp_path / "run")
        assert digests(found(store, cluster)) == alone
    after = stamps(tmp_path / "run")
    assert {name for name in after if after[name] != before[name]} == {"edges/part-00001.parquet", "cells/part-00003.parquet"}
    assert not list((tmp_path / "run" / "edges").glob("*.tmp-*"))


def stamps(run: Path) -> dict[str, int]:
    return {f"{noun}/{p.name}": p.stat().st_mtime_ns for noun in GRAPH for p in (run / noun).glob("part-*.parquet")}
