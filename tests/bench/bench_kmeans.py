"""How fast are our Lloyd iterations, and how good: beside Faiss's and scikit-learn's, from the same first centroids.

    python -m tests.bench.bench_kmeans --json                         200k x 384, k = 2000, 10 iterations; some 3 minutes
    python -m tests.bench.bench_kmeans --disk FOLDER --json           5M x 384 from disk, k = 10,000, one iteration

Data: unit rows; "classes": a long-tailed mixture of 3000 classes in 60 groups; "smooth": a curved surface of 48 dimensions,
no classes; or a .npy file of float32 rows. Objective: mean squared distance of all rows to their nearest centroid at the
end, by one exact assignment for all. time_vs_faiss is against faiss.Kmeans; objective_vs_best, ours over the best of all.
The last line printed is one JSON object.
"""

import argparse
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from curation import kmeans
from curation.kmeans import lloyd
from curation.kmeans.assign import ask
from curation.kmeans.sketch import Targets

DIMS, CLASSES, GROUPS, SURFACE = 384, 3000, 60, 48
PART = 100_000  # rows that are read from disk at once
EPOCHS = 5  # of scikit-learn's minibatches: more make it slower than all others

Floats = NDArray[np.float32]


def rows(kind: str, n: int, seed: int = 0) -> Floats:
    """(n, DIMS) float32, unit rows."""
    if kind.endswith(".npy"):
        return np.load(kind, mmap_mode="r")[:n].astype(np.float32)
    rng = np.random.default_rng(0)
    groups, classes = rng.normal(size=(GROUPS, DIMS)), rng.integers(0, GROUPS, CLASSES)
    centres = (groups[classes] + 0.7 * rng.normal(size=(CLASSES, DIMS))).astype(np.float32)
    shares = 1 / np.arange(1, CLASSES + 1) ** 0.7
    bend, spread = rng.normal(size=(SURFACE, 128)) / 4, rng.normal(size=(128, DIMS))
    rng = np.random.default_rng(seed + 1)
    if kind == "classes":
        x = centres[rng.choice(CLASSES, n, p=shares / shares.sum())]
        x = x + np.float32(0.6) * rng.standard_normal((n, DIMS), np.float32)
    else:
        x = (np.tanh(rng.standard_normal((n, SURFACE), np.float32) @ bend) @ spread).astype(np.float32)
        x += np.float32(0.1) * rng.standard_normal((n, DIMS), np.float32)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def by_faiss(x: Floats, start: Floats, iterations: int) -> Floats:
    model = faiss.Kmeans(x.shape[1], len(start), niter=iterations, max_points_per_centroid=len(x), min_points_per_centroid=1)
    model.train(x, init_centroids=start)
    return model.centroids


def by_super(x: Floats, start: Floats, iterations: int) -> Floats:
    """Faiss's newest on a CPU. It takes no first centroids: its own are counted in its time."""
    settings = faiss.SuperKMeansParameters()
    settings.niter = iterations
    settings.max_points_per_centroid, settings.min_points_per_centroid = len(x), 1
    model = faiss.SuperKMeans(x.shape[1], len(start), settings)
    model.train(x)
    return faiss.vector_to_array(model.centroids).reshape(-1, x.shape[1])


def by_minibatch(x: Floats, start: Floats, _iterations: int) -> Floats:
    batches = MiniBatchKMeans(len(start), init=start, n_init=1, batch_size=16_384, max_iter=EPOCHS, max_no_improvement=None)
    return batches.fit(x).cluster_centers_.astype(np.float32)


def by_us(x: Floats, start: Floats, iterations: int) -> Floats:
    return kmeans.fit(x, len(start), iterations, tolerance=-1.0, euclidean=True, start=start).centroids


def compare(x: Floats, k: int, iterations: int, which: list[str]) -> dict[str, object]:
    """Each method's seconds and objective, from the same k rows."""
    start = x[np.sort(np.random.default_rng(0).choice(len(x), k, replace=False))].copy()
    methods: dict[str, Callable[[Floats, Floats, int], Floats]] = {
        "ours": by_us,
        "faiss": by_faiss,
        "super": by_super,
        "minibatch": by_minibatch,
    }
    seconds, objectives = dict[str, float](), dict[str, float]()
    for name in which:
        began = time.perf_counter()
        centroids = methods[name](x, start, iterations)
        seconds[name] = round(time.perf_counter() - began, 2)
        _, scores = kmeans.assign(x, centroids, euclidean=True)
        squares = np.einsum("nd,nd->n", x, x)
        objectives[name] = round(float(np.maximum(squares - 2 * scores, 0).mean(dtype=np.float64)), 6)
        print(f"{name}: {seconds[name]:.1f} s, objective {objectives[name]:.5f}, load {os.getloadavg()[0]:.1f}", flush=True)
    result = {"objective_vs_best": round(objectives["ours"] / min(objectives.values()), 5)}
    if "faiss" in seconds:
        result["time_vs_faiss"] = round(seconds["ours"] / seconds["faiss"], 3)
    return result | {"seconds": seconds, "objectives": objectives}


def written(folder: Path, n: int) -> Path:
    """A file of n rows in float16, made part by part if it is not there."""
    path = folder / f"kmeans-{n}x{DIMS}.f16"
    if not path.exists() or path.stat().st_size != 2 * n * DIMS:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for seed, at in enumerate(range(0, n, PART)):
                file.write(rows("classes", min(PART, n - at), seed).astype(np.float16).tobytes())
    return path


def from_disk(path: Path, n: int, k: int) -> dict[str, object]:
    """One iteration over the file, part by part, and over one part that stays in memory: seconds a row."""
    stored = np.memmap(path, np.float16, "r", shape=(n, DIMS))
    targets = Targets.of(kmeans.plus_plus(stored[:PART].astype(np.float32), k, np.random.default_rng(0)), euclidean=True)
    other = stored[-PART:].astype(np.float32)  # not those that the centroids are rows of
    del stored
    one_pass(other[: PART // 8], targets)
    began = time.perf_counter()
    one_pass(other, targets)
    in_memory = (time.perf_counter() - began) / len(other)
    del other
    gc.collect()
    began, total = time.perf_counter(), None
    for x in ahead(path):
        part = one_pass(x, targets)
        total = part if total is None else lloyd.merged([total, part])
    on_disk = (time.perf_counter() - began) / n
    return {
        "rows": n,
        "k": k,
        "row_time_vs_memory": round(on_disk / in_memory, 3),
        "microseconds_a_row": round(1e6 * on_disk, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def ahead(path: Path) -> Iterator[Floats]:
    """The file's rows, part by part: the next is read and made float32 while one is worked on."""

    def read() -> Floats:
        return np.frombuffer(file.read(2 * DIMS * PART), np.float16).reshape(-1, DIMS).astype(np.float32)

    with path.open("rb") as file, ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read)
        while len(x := coming.result()):
            coming = reader.submit(read)
            yield x


def one_pass(x: Floats, targets: Targets) -> lloyd.Partial:
    """What a task of the run does with a part: assignment and sums."""
    labels, scores = ask(x, targets)
    gain = lloyd.gains(scores, lloyd.squares(x))
    return lloyd.partial(x, labels, gain, len(targets.bias_K), np.full(len(x), -1))


def main() -> None:
    """Compare, or read from disk; print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="smooth", help="classes, smooth, or a .npy file")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--k", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", default=["ours", "faiss", "super", "minibatch"])
    parser.add_argument("--disk", type=Path, help="folder for the file of rows")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    args = parser.parse_args()
    if args.json:
        shown, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    if args.disk:
        n = args.rows or 5_000_000
        result = from_disk(written(args.disk, n), n, args.k or 10_000)
    else:
        x = rows(args.data, args.rows or 200_000)
        result = compare(x, args.k or 2000, args.iterations, args.only) | {"data": args.data, "rows": len(x)}
    result |= {"threads": args.threads, "load_average": round(os.getloadavg()[0], 2)}
    if args.json:
        sys.stdout = shown
    print(json.dumps(result))


if __name__ == "__main__":
    main()
