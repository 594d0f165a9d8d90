"""How evenly does balanced sampling over a tree of clusters cover what there is: beside flat k-means, and chance.

    python -m tests.bench.bench_hierarchical --json                                         rings, heaps, drawn pictures
    python -m tests.bench.bench_hierarchical --pool DIR --labels FILE --cache FILE --json   ... and a long tail of photographs

Rings: the five of the reference's README, of 20,000 to 200 points on equal areas; the class is the ring; levels, resampling
and sample as there. Heaps: 33 normal distributions of one width in 32 dimensions, of 200 rows down to 2. Drawn: the demo's
concepts, 200 pictures down to 2. Photographs: the labelled classes of a pool, 500 down to 5, which is which drawn anew for
each seed. Both are embedded by the shipped network. Levels are a tenth and a thirtieth of the rows, the sample a tenth.
Flat k-means has as many clusters as the first level, or as the last.
Figure: Kullback-Leibler divergence of the sample's shares of the true classes from equal shares, nats, mean of DRAWS samples
of one tree; 0 is even. `wins`: seeds in which the tree is below both flat ones and chance.
`density`: Spearman's correlation over classes of their size and the closeness of their rows' tenth neighbours. Near 0, dense
places are not those of the large classes, and no way of evening out density can even out classes.
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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from curation import kmeans
from curation.decode import decode
from curation.kmeans.balanced import balanced_sample
from curation.kmeans.hierarchical import LevelPlan, fit_levels, level_plans
from embedder.encoder import load_encoder
from embedder.pictures import read_tars
from pipelines.demo.concepts import CONCEPTS, draw
from pipelines.demo.edits import as_bytes

RINGS = ((20_000, -2.2, 1.0), (200, 0.0, 1.0), (1000, 2.2, 1.0), (500, -1.2, 0.2), (8000, 1.2, 0.2))
"""Points, and where the ring's middle is."""
DRAWN_MOST, DRAWN_FEWEST = 200, 2
MOST, FEWEST, SEEDS, DRAWS, ROUNDS = 500, 5, 5, 5, 10
ITERATIONS = 50

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Rows (N, D), the class of each, clusters of each level, the finest first, and rows to sample."""

    x: Floats
    truth: Ints
    levels: tuple[int, ...]
    target: int

    @property
    def plans(self) -> list[LevelPlan]:
        return level_plans(len(self.x), self.levels, ROUNDS)


def rings(seed: int) -> World:
    """Source: README of facebookresearch/ssl-data-curation: rings of radius 0.7 to 1, levels 1000 and 300, sample of 1000."""
    rng, points, truth = np.random.default_rng(seed), list[Floats](), list[int]()
    for ring, (count, right, up) in enumerate(RINGS):
        radius, turn = 0.7 + 0.3 * rng.random(count), 2 * np.pi * rng.random(count)
        points.append(np.stack([radius * np.cos(turn) + right, radius * np.sin(turn) + up], axis=1).astype(np.float32))
        truth += [ring] * count
    return World(np.concatenate(points), np.array(truth, np.int64), (1000, 300), 1000)


def heaps(seed: int) -> World:
    """Classes of one width, whose middles lie as far from the middle of all as their rows from theirs, on average."""
    rng, sizes = np.random.default_rng(seed), np.geomspace(DRAWN_MOST, DRAWN_FEWEST, 33).round().astype(int)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(size=(len(sizes), 32))[truth] + rng.normal(size=(len(truth), 32))
    return World(x.astype(np.float32), truth, (len(x) // 10, len(x) // 30), len(x) // 10)


def tail(x: Floats, truth: Ints, most: int, fewest: int, seed: int) -> World:
    """A long tail of the rows: from `most` of one class down to `fewest` of another, which and whom drawn by the seed."""
    rng, classes = np.random.default_rng(seed), int(truth.max()) + 1
    sizes = np.geomspace(most, fewest, classes).round().astype(int)
    names = rng.permutation(classes)
    rows = [rng.permutation(np.flatnonzero(truth == name))[:size] for name, size in zip(names, sizes, strict=True)]
    count = sum(map(len, rows))
    kinds = np.repeat(np.arange(classes), [len(some) for some in rows])
    return World(x[np.concatenate(rows)], kinds, (count // 10, count // 30), count // 10)


def drawn() -> tuple[Floats, Ints]:
    """Embeddings (N, D) of pictures of the demo's concepts, DRAWN_MOST of each, and which concept."""
    concepts = list(CONCEPTS)
    pictures = ((n, as_bytes(draw(name, seed))) for n, name in enumerate(concepts) for seed in range(DRAWN_MOST))
    return embedded(pictures)


def photographs(pool: Path, labels: Path, cache: Path) -> tuple[Floats, Ints]:
    """Embeddings (N, D) of the labelled images of a pool, and the class of each; embedded once, kept in `cache` (.npz)."""
    if not cache.exists():
        wnid = {row["key"]: row["wnid"] for row in pq.read_table(labels).to_pylist()}
        number = {name: n for n, name in enumerate(sorted(set(wnid.values())))}
        x, truth = embedded((number[wnid[key]], data) for key, data in read_tars(pool) if key in wnid)
        np.savez(cache, x=x, truth=truth)
    stored = np.load(cache)
    return stored["x"], stored["truth"]


def embedded(pictures: Iterable[tuple[int, bytes]]) -> tuple[Floats, Ints]:
    """(class, encoded picture) to embeddings (N, D) and classes (N,)."""
    encoder, vectors, truth = load_encoder("vitti16-small"), list[Floats](), list[int]()
    for batch in batched(pictures, 256):
        truth += [kind for kind, _ in batch]
        pixels = torch.stack([decode(data, encoder.side, encoder.fit) for _, data in batch])
        vectors.append(np.asarray(encoder(pixels), np.float32))
    return np.concatenate(vectors), np.array(truth, np.int64)


def batched(items: Iterable[tuple[int, bytes]], size: int) -> Iterator[list[tuple[int, bytes]]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def density(world: World) -> float:
    """Spearman's correlation, over classes, of their size and how close their rows' tenth neighbours are."""
    index = faiss.IndexFlatL2(world.x.shape[1])
    index.add(world.x)
    gaps = np.log(index.search(world.x, 11)[0][:, -1] + 1e-12)
    sizes = np.bincount(world.truth)
    return float(spearmanr(sizes, -np.bincount(world.truth, gaps) / sizes).statistic)


def divergence(classes: Ints, count: int) -> float:
    """Of the shares of the classes in a sample from equal shares, nats."""
    shares = np.bincount(classes, minlength=count) / len(classes)
    held = shares[shares > 0]
    return float((held * np.log(held * count)).sum())


def reference_tree(path: Path, world: World, seed: int) -> Any:
    """Clusters of the reference's making; sizes of samples from clusters as in our plans."""
    sys.path.insert(0, str(path))
    vars(np).setdefault("Inf", np.inf)  # it was written for numpy 1
    from src import hierarchical_kmeans_gpu  # type: ignore[import-not-found]
    from src.clusters import HierarchicalCluster  # type: ignore[import-not-found]

    random_states(seed)
    plans = world.plans
    with contextlib.redirect_stdout(sys.stderr):
        found = hierarchical_kmeans_gpu.hierarchical_kmeans_with_resampling(
            torch.from_numpy(world.x),  # float32, as in the reference's README
            [plan.k for plan in plans],
            len(plans),
            [plan.nearest for plan in plans],
            n_resamples=ROUNDS,
            verbose=False,
        )
        return HierarchicalCluster.from_dict(found)


def random_states(seed: int) -> None:
    """The reference draws from global states."""
    np.random.seed(seed)
    random.seed(seed)
    torch.manual_seed(seed)


def reference_sample(tree: Any, target: int, seed: int) -> Ints:
    from src import hierarchical_sampling  # type: ignore[import-not-found]

    random_states(seed)
    with contextlib.redirect_stdout(sys.stderr):
        return np.asarray(hierarchical_sampling.hierarchical_sampling(tree, target), np.int64)


def measure(world: World, seed: int, reference: Path | None) -> dict[str, float]:
    """Divergences of one seed."""
    x, target = world.x, world.target
    levels = fit_levels(x, world.plans, ITERATIONS, seed)
    up, leaves = [level.labels for level in levels[1:]], levels[0].labels
    first, last = (kmeans.fit(x, k, ITERATIONS, seed, euclidean=True).labels for k in (world.levels[0], world.levels[-1]))
    samples: dict[str, Callable[[int], Ints]] = {
        "hierarchical": lambda n: balanced_sample(up, leaves, target, n)[0],
        "flat_first": lambda n: balanced_sample([], first, target, n)[0],
        "flat_last": lambda n: balanced_sample([], last, target, n)[0],
        "random": lambda n: np.random.default_rng(n).choice(len(x), target, replace=False),
    }
    if reference:
        tree = reference_tree(reference, world, seed)
        samples["reference"] = lambda n: reference_sample(tree, target, n)
    classes = int(world.truth.max()) + 1
    means = {
        name: np.mean([divergence(world.truth[sample(n)], classes) for n in range(DRAWS)]) for name, sample in samples.items()
    }
    return {name: round(float(value), 4) for name, value in means.items()} | {"density": round(density(world), 3)}


def told(name: str, found: list[dict[str, float]]) -> dict[str, object]:
    """What a world's seeds come to."""
    others = ("flat_first", "flat_last", "random")
    out: dict[str, object] = {f"{name}_kl": found, f"{name}_wins": sum(won(one, others) for one in found)}
    if "reference" in found[0]:
        sums = [sum(one[key] for one in found) for key in ("hierarchical", "reference")]
        out[f"{name}_vs_reference"] = round(sums[0] / sums[1], 4)
    return out


def won(one: dict[str, float], others: tuple[str, ...]) -> bool:
    return one["hierarchical"] < min(one[name] for name in others)


def main() -> None:
    """Measure every seed of every set, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--cache", type=Path, help="where the embeddings are kept, .npz")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--worlds", nargs="*", choices=("rings", "heaps", "drawn", "photographs"), help="some of them only")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    args = parser.parse_args()
    result: dict[str, object] = {}
    for name in args.worlds or ("rings", "heaps", "drawn", *(["photographs"] if args.pool else [])):
        began, found = time.monotonic(), list[dict[str, float]]()
        world = made(name, args)
        for seed in range(args.seeds):
            found.append(measure(world(seed), seed, args.reference))
            if not args.json:
                print(name, seed, found[-1], flush=True)
        result |= told(name, found) | {f"{name}_seconds": round(time.monotonic() - began, 1)}
    print(json.dumps(result | {"seeds": args.seeds, "load_average": round(os.getloadavg()[0], 2)}))


def made(name: str, args: argparse.Namespace) -> Callable[[int], World]:
    """The world of that name, of any seed."""
    if name in ("rings", "heaps"):
        return rings if name == "rings" else heaps
    if name == "drawn":
        x, truth = drawn()
        return lambda seed: tail(x, truth, DRAWN_MOST, DRAWN_FEWEST, seed)
    x, truth = photographs(args.pool, args.labels, args.cache)
    return lambda seed: tail(x, truth, MOST, FEWEST, seed)


if __name__ == "__main__":
    main()
