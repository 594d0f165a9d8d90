"""How evenly does balanced sampling over a tree of clusters cover what there is: beside flat k-means, and chance.

    python -m tests.bench.bench_hierarchical --json                                         five rings
    python -m tests.bench.bench_hierarchical --pool DIR --labels FILE --cache FILE --json   ... and a long tail of photographs

Rings: five of radius 1 to 5, 16,000 to 1000 points each; classes are 60 arcs of equal length. Photographs: 100 classes of 500
down to 5, embedded by the shipped network. Figure: Kullback-Leibler divergence of the sample's shares of the true classes from
equal shares, nats; 0 is even.
--reference PATH: a clone of facebookresearch/ssl-data-curation (CC BY-NC: run beside ours, never copied): its clusters
and its sampler, on the same rows with the same plan.
The last line printed is one JSON object.
"""

import argparse
import contextlib
import json
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from curation import kmeans
from curation.decode import decode
from curation.kmeans.balanced import balanced_sample
from curation.kmeans.hierarchical import Level, LevelPlan, fit_levels
from embedder.encoder import load_encoder
from embedder.pictures import read_tars

RINGS = (16_000, 8000, 4000, 2000, 1000)
ARCS = 4  # of the smallest ring
MOST, FEWEST, SEEDS = 500, 5, 5
PLANS = {
    "rings": (
        LevelPlan(k=1000, rounds=10, nearest=10),
        LevelPlan(k=150, rounds=10, nearest=3),
        LevelPlan(k=30, rounds=10, nearest=2),
    ),
    "photographs": (
        LevelPlan(k=1000, rounds=10, nearest=4),
        LevelPlan(k=250, rounds=10, nearest=2),
        LevelPlan(k=100, rounds=10),
    ),
}
SHARE = 10  # one row in so many is sampled
ITERATIONS = 25

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def rings(seed: int) -> tuple[Floats, Ints]:
    """Points (N, 2) on five rings with some width, and which arc: those of all rings are equally long."""
    rng, ring = np.random.default_rng(seed), np.repeat(np.arange(len(RINGS)), RINGS)
    radius, turn = ring + 1 + rng.normal(scale=0.08, size=len(ring)), rng.random(len(ring))
    x = np.stack([radius * np.cos(2 * np.pi * turn), radius * np.sin(2 * np.pi * turn)], axis=1).astype(np.float32)
    arcs = ARCS * (ring + 1)  # of a ring
    return x, (ARCS * ring * (ring + 1) // 2 + np.floor(turn * arcs)).astype(np.int64)


def photographs(pool: Path, labels: Path, cache: Path) -> tuple[Floats, Ints]:
    """Embeddings (N, D) of a long tail of the pool, and the class of each; embedded once, kept in `cache` (.npz)."""
    if not cache.exists():
        rows = pq.read_table(labels).to_pylist()
        classes: dict[str, list[str]] = {}
        for row in sorted(rows, key=lambda r: r["key"]):
            classes.setdefault(row["wnid"], []).append(row["key"])
        sizes = np.geomspace(MOST, FEWEST, len(classes)).round().astype(int)
        wanted = {key: n for n, wnid in enumerate(sorted(classes)) for key in classes[wnid][: sizes[n]]}
        np.savez(cache, **embedded(pool, wanted))
    stored = np.load(cache)
    return stored["x"], stored["truth"]


def embedded(pool: Path, wanted: dict[str, int]) -> dict[str, NDArray[np.generic]]:
    encoder, vectors, truth, waiting = load_encoder("vitti16-small"), [], [], []
    for key, data in read_tars(pool):
        if key in wanted:
            truth.append(wanted[key])
            waiting.append(decode(data, encoder.side, encoder.fit))
        if len(waiting) == 256:
            vectors.append(np.asarray(encoder(torch.stack(waiting)), np.float32))
            waiting.clear()
    if waiting:
        vectors.append(np.asarray(encoder(torch.stack(waiting)), np.float32))
    return {"x": np.concatenate(vectors), "truth": np.array(truth, np.int64)}


def divergence(classes: Ints, count: int) -> float:
    """Of the shares of the classes in a sample from equal shares, nats."""
    shares = np.bincount(classes, minlength=count) / len(classes)
    held = shares[shares > 0]
    return float((held * np.log(held * count)).sum())


def parents(levels: list[Level]) -> list[Ints]:
    return [level.labels for level in levels[1:]]


def reference_sample(path: Path, x: Floats, plans: tuple[LevelPlan, ...], target: int, seed: int) -> Ints:
    """Row numbers that the reference draws, from clusters of its own making."""
    sys.path.insert(0, str(path))
    from src import hierarchical_kmeans_gpu, hierarchical_sampling  # type: ignore[import-not-found]
    from src.clusters import HierarchicalCluster  # type: ignore[import-not-found]

    vars(np).setdefault("Inf", np.inf)  # it was written for numpy 1
    np.random.seed(seed)  # the reference draws from global states
    random.seed(seed)
    torch.manual_seed(seed)
    with contextlib.redirect_stdout(sys.stderr):
        found = hierarchical_kmeans_gpu.hierarchical_kmeans_with_resampling(
            torch.from_numpy(x).double(),
            [plan.k for plan in plans],
            len(plans),
            [plan.nearest for plan in plans],
            n_resamples=max(plan.rounds for plan in plans),
            verbose=False,
        )
        tree = HierarchicalCluster.from_dict(found)
        return np.asarray(hierarchical_sampling.hierarchical_sampling(tree, target), np.int64)


def measure(x: Floats, truth: Ints, plans: tuple[LevelPlan, ...], seed: int, reference: Path | None) -> dict[str, float]:
    """Divergences of one seed."""
    target, classes, rng = len(x) // SHARE, int(truth.max()) + 1, np.random.default_rng(seed)
    levels = fit_levels(x, plans, ITERATIONS, seed)
    flat = kmeans.fit(x, plans[0].k, ITERATIONS, seed, euclidean=True).labels
    samples = {
        "hierarchical": balanced_sample(parents(levels), levels[0].labels, target, seed)[0],
        "flat": balanced_sample([], flat, target, seed)[0],
        "random": rng.choice(len(x), target, replace=False),
    }
    if reference:
        samples["reference"] = reference_sample(reference, x, plans, target, seed)
    return {name: round(divergence(truth[rows], classes), 5) for name, rows in samples.items()}


def main() -> None:
    """Measure every seed of every set, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--cache", type=Path, help="where the embeddings are kept, .npz")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    args = parser.parse_args()
    worlds = {"rings": lambda seed: rings(seed)}
    if args.pool:
        tail = photographs(args.pool, args.labels, args.cache)
        worlds["photographs"] = lambda _: tail
    result: dict[str, object] = {}
    for name, world in worlds.items():
        began, found = time.monotonic(), []
        for seed in range(args.seeds):
            found.append(measure(*world(seed), PLANS[name], seed, args.reference))
            if not args.json:
                print(name, seed, found[-1], flush=True)
        wins = sum(one["hierarchical"] < min(one["flat"], one["random"]) for one in found)
        result |= {f"{name}_kl": found, f"{name}_wins": wins, f"{name}_seconds": round(time.monotonic() - began, 1)}
        if args.reference:
            result[f"{name}_vs_reference"] = round(
                sum(one["hierarchical"] for one in found) / sum(one["reference"] for one in found), 4
            )
    print(json.dumps(result | {"seeds": args.seeds, "load_average": round(os.getloadavg()[0], 2)}))


if __name__ == "__main__":
    main()
