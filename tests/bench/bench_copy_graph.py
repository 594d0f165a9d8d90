"""How fast are the pairs of copies found, and how many of them: by cells, by brute force, by Faiss.

    python -m tests.bench.bench_copy_graph --n 1000000 --json [--curve 100000,300000,1000000] [--folder DIR]

Descriptors are drawn (drawn_descriptors.py) and written as a run's parts; grid, cells and edges run on Ray as in a run.
All pairs above the threshold are asked for (k = 0). Recall: of the pairs that brute force finds for a fresh sample of rows
with planted copies. Faiss's time is that of its searches alone, training and adding left out, extrapolated from a sample to
all rows; its probes double until it reaches our recall (or 0.999), or has taken five times our time. work_ratio counts
multiply-adds, those of k-means, calibration and assignment included, over N^2 / 2 * D. The last line printed is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
import pyarrow.parquet as pq
import torch

from curation.encode import unit
from curation.graph import grid as grids
from curation.graph.components import components
from curation.graph.tables import read_grid
from curation.stages import cells
from curation.stages.edges import EdgesConfig
from curation.stages.survivors import SurvivorsConfig
from curation.store import Store, matrix
from pipelines.config import Recipe
from pipelines.flow import FLOW
from pipelines.progress import Progress
from pipelines.runner import Cluster
from pipelines.steps import Job, do
from tests.bench.drawn_descriptors import DIM, draw, row_numbers

THRESHOLD, SAMPLE, GROUPS_N = 0.6, 4096, 30_000
FAISS_K = 256  # neighbours that Faiss is asked for: some rows have more than a hundred copies
Found = dict[str, Any]


class Memory:
    """Peak resident memory of this process and all its children, Ray's included, GiB; shared pages count once (PSS)."""

    def __init__(self) -> None:
        self.peak, self.over = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self.over.wait(3):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total / 2**30)


def drawn(n: int, folder: Path) -> Store:
    """The run folder of n drawn descriptors; drawn by a process of its own, so that its memory is not ours."""
    if not (folder / "planted.npy").exists():
        process = multiprocessing.get_context("spawn").Process(target=draw, args=(n, folder, THRESHOLD))
        process.start()
        process.join()
    return Store(str(folder / "run"))


def find(store: Store, engine: str, workers: int) -> Found:
    """Brings grid, cells and edges up to date from nothing; seconds of each and peak memory."""
    for noun in ("grid", "cells", "edges"):
        shutil.rmtree(store.path(noun), ignore_errors=True)
    similarities = SurvivorsConfig(self_similarity=THRESHOLD, reference_similarity=THRESHOLD, confirm=0.0, k=0)
    recipe, seconds = Recipe(edges=EdgesConfig(engine=engine), survivors=similarities), dict[str, float]()
    with Memory() as memory, Cluster(store.url, workers=workers) as cluster:
        job = Job(store, recipe, cluster, Progress(quiet=True))
        job.receipts = {noun: store.receipts(noun) for noun in ("descriptors", "images")}
        for step in (step for step in FLOW if step.stage.name in ("grid", "cells", "edges")):
            began = time.monotonic()
            do(job, step)
            seconds[step.stage.name] = round(time.monotonic() - began, 1)
            print(step.stage.name, seconds[step.stage.name], "s", flush=True)
    return {"seconds": round(sum(seconds.values()), 1), "stages": seconds, "rss_gib": round(memory.peak, 2)}


def work_ratio(store: Store, n: int) -> Found:
    """Multiply-adds of everything over those of brute force, and where they went."""
    grid = read_grid(store.parts("grid").whole())
    assert grid is not None
    (k, reach), axes = grid.centroids.shape, grid.axes.shape[1]
    sample, queries = min(n, k * cells.PER_CELL), cells._queries(n)
    said = [pq.read_schema(store.path("edges", f"part-{p:05d}.parquet")).metadata or {} for p in store.receipts("edges")]
    met, adds = (sum(int(m.get(name, 0)) for m in said) for name in (b"met_pairs", b"multiply_adds"))
    parts = {
        "k_means": (cells.PASSES + 1) * (sample * k + k * int(k**0.5)) * reach + 2 * sample * DIM * DIM + 10 * DIM**3,
        "calibration": queries * n * DIM + 4 * grids.PAIRS * (k * reach + DIM * DIM) + 512 * 32_768 * 1152,  # at most
        "assignment": n * k * reach + n * DIM * axes,
        "edges": adds,  # who looks where, sketches, pairs in full
    }
    whole = n * n / 2 * DIM
    told = {
        "cells": k,
        "cell_axes": reach,
        "margin": round(grid.margin, 3),
        "levels": [(level.dims, round(level.floor, 3)) for level in grid.levels],
        "recall_calibrated": round(grid.recall, 5),
        "met_share": round(met / (n * n / 2), 4),
    }
    return {
        "work_ratio": round(sum(parts.values()) / whole, 4),
        "work": {p: round(v / whole, 4) for p, v in parts.items()},
        **told,
    }


def vectors(store: Store, part: int) -> np.ndarray:
    return unit(matrix(store.part("descriptors", part, ["descriptor"])["descriptor"]))


def rows_of(store: Store, rows: np.ndarray) -> np.ndarray:
    """Unit rows by number, which ascend."""
    found, start = [], 0
    for part, receipt in store.receipts("descriptors").items():
        here = rows[(rows >= start) & (rows < start + receipt.rows)] - start
        found.append(vectors(store, part)[here])
        start += receipt.rows
    return np.concatenate(found)


def brute_force(store: Store, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of the query rows at or above the threshold: (query's row, other row)."""
    x, a, b, start = torch.from_numpy(rows_of(store, queries)), [], [], 0
    for part in store.receipts("descriptors"):
        i, j = torch.nonzero(x @ torch.from_numpy(vectors(store, part)).T >= THRESHOLD, as_tuple=True)
        a.append(queries[i.numpy()])
        b.append(j.numpy() + start)
        start += store.receipts("descriptors")[part].rows
    a, b = np.concatenate(a), np.concatenate(b)
    return a[a != b], b[a != b]


def keys(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (np.minimum(a, b) << 32) | np.maximum(a, b)


def edge_rows(store: Store) -> tuple[np.ndarray, np.ndarray]:
    edges = store.parts("edges").whole()
    return row_numbers(edges["a"]), row_numbers(edges["b"])


def same_groups(folder: Path, workers: int) -> Found:
    """At a size where brute force is quick: are the groups by cells those of all pairs?"""
    store, labels = drawn(GROUPS_N, folder), list[np.ndarray]()
    for engine in ("exact", "cells"):
        find(store, engine, workers)
        labels.append(components(GROUPS_N, *edge_rows(store)))
    differ = int((labels[0] != labels[1]).sum())
    return {"groups_equal": differ == 0, "groups_n": GROUPS_N, "rows_in_another_group": differ}


def by_faiss(store: Store, a: np.ndarray, b: np.ndarray, recall: float, enough: float) -> Found:
    """Seconds that IVF-Flat and IVF-PQ would take over all rows at this recall, or when they have taken `enough`."""
    x = np.concatenate([vectors(store, part) for part in store.receipts("descriptors")])
    asked = np.unique(np.concatenate([a, b]))
    return {name: _ivf(code, x, asked, (a, b), recall, enough) for name, code in (("flat", "Flat"), ("pq", "PQ64np"))}


def _ivf(code: str, x: np.ndarray, asked: np.ndarray, pair: Any, recall: float, enough: float) -> Found:
    lists, began = 4 * int(len(x) ** 0.5), time.monotonic()
    index = faiss.index_factory(DIM, f"IVF{lists},{code}", faiss.METRIC_INNER_PRODUCT)
    index.train(x[np.random.default_rng(0).choice(len(x), min(len(x), 39 * lists), replace=False)])
    index.add(x)
    built = round(time.monotonic() - began, 1)
    queries, wanted, told = np.ascontiguousarray(x[asked]), keys(*pair), dict[str, Any]()
    for probes in (2**p for p in range(4, 12)):
        index.nprobe, began = probes, time.monotonic()
        found = index.search(queries, FAISS_K)[1]
        seconds = (time.monotonic() - began) / len(asked) * len(x)
        i, rank = np.nonzero(found >= 0)
        reached = float(np.isin(wanted, keys(asked[i], found[i, rank])).mean())
        told = {
            "lists": lists,
            "built_seconds": built,
            "probes": probes,
            "recall": round(reached, 5),
            "seconds": round(seconds, 1),
        }
        print(code, told, flush=True)
        if reached >= recall or seconds >= enough:
            break
    return told


def measure(n: int, folder: Path, workers: int, rivals: bool) -> Found:
    store = drawn(n, folder)
    result: Found = {"n": n} | find(store, "cells", workers) | work_ratio(store, n)
    print(json.dumps(result), flush=True)
    planted = np.load(folder / "planted.npy")
    sample = np.sort(np.random.default_rng(99).permutation(planted)[:SAMPLE])
    began = time.monotonic()
    a, b = brute_force(store, sample)
    took = time.monotonic() - began
    found = np.isin(keys(a, b), keys(*edge_rows(store)))
    result |= {"pair_recall": round(float(found.mean()), 5), "pairs_checked": len(a)}
    result |= {"brute_force_seconds": round(took / len(sample) * n / 2)}  # extrapolated
    print(json.dumps(result), flush=True)
    if rivals:
        result["faiss"] = by_faiss(store, a[:1024], b[:1024], min(0.999, result["pair_recall"]), 5 * result["seconds"])
        result["vs_faiss"] = round(min(f["seconds"] for f in result["faiss"].values()) / result["seconds"], 2)
    return result


def main() -> None:
    """Draws, finds, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--curve", default="", help="sizes, with commas: seconds at each, and the exponent fitted to them")
    parser.add_argument("--folder", type=Path, help="where to draw; kept, and used again")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-faiss", action="store_true")
    parser.add_argument("--no-groups", action="store_true")
    parser.add_argument("--json", action="store_true", help="accepted: the last line is JSON anyhow")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    result = {} if args.no_groups else same_groups(folder / str(GROUPS_N), args.workers)
    result |= measure(args.n, folder / str(args.n), args.workers, not args.no_faiss)
    if args.curve:
        sizes = [int(size) for size in args.curve.split(",")]
        times = [
            result["seconds"] if n == args.n else find(drawn(n, folder / str(n)), "cells", args.workers)["seconds"]
            for n in sizes
        ]
        result["curve"] = dict(zip(map(str, sizes), times, strict=True))
        result["exponent"] = round(float(np.polyfit(np.log(sizes), np.log(times), 1)[0]), 3)
    if not args.folder:
        shutil.rmtree(folder)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
