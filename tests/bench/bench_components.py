"""How long do connected components of many edges take, in how much memory, and are they right?

python -m tests.bench.bench_components --edges 100000000 --json
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from curation.graph.components import Keys, Labels, Nodes, components, nodes_of

PART = 2_000_000  # edges per file
MEAN = 8  # images of a planted group, on average


def key(numbers: np.ndarray) -> Keys:
    """128-bit ids that look drawn: two rounds of splitmix64, which is a bijection."""
    halves = []
    for salt in (1, 2):
        x = numbers.astype(np.uint64) + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        halves.append(x ^ (x >> np.uint64(31)))
    return Keys(*halves)


def plant(folder: Path, edges: int, seed: int) -> np.ndarray:
    """Write `edges` edges in files of random order; returns each group's first image, one giant chain of a tenth first.

    A group is a path of its images, and the rest of its edges join images of it at random.
    """
    rng = np.random.default_rng(seed)
    images = edges // 4
    giant = images // 10
    sizes = rng.geometric(1 / (MEAN - 1), images // MEAN) + 1
    firsts = np.concatenate([[0], giant + np.concatenate([[0], np.cumsum(sizes)])])
    firsts = firsts[firsts < images - 1]
    ends_of = np.append(firsts[1:], images)
    path = np.setdiff1d(np.arange(1, images), firsts, assume_unique=True)  # each ties to the image before it
    order = rng.permutation(len(path)).astype(np.int32)
    parts = -(-edges // PART)
    for part in range(parts):
        rows = min(PART, edges - part * PART)
        mine = path[order[part::parts]][:rows]
        group = rng.integers(0, len(firsts), rows - len(mine))
        size = ends_of[group] - firsts[group]
        x, y = (firsts[group] + (rng.random(len(group)) * size).astype(np.int64) for _ in "ab")
        a, b = np.concatenate([mine, x]), np.concatenate([mine - 1, y])
        shuffle = rng.permutation(rows)
        keys = [key(end[shuffle]) for end in (a, b)]
        np.stack([keys[0].high, keys[0].low, keys[1].high, keys[1].low]).tofile(folder / f"part-{part:05d}.u64")
    return firsts


def blocks(folder: Path, backwards: bool = False) -> Iterator[tuple[Keys, Keys]]:
    for path in sorted(folder.iterdir(), reverse=backwards):
        ah, al, bh, bl = np.fromfile(path, np.uint64).reshape(4, -1)
        yield (Keys(bh, bl), Keys(ah, al)) if backwards else (Keys(ah, al), Keys(bh, bl))


def ends(folder: Path) -> Iterator[Keys]:
    for a, b in blocks(folder):
        yield Keys(np.concatenate([a.high, b.high]), np.concatenate([a.low, b.low]))


def label(folder: Path, nodes: Nodes, backwards: bool = False) -> np.ndarray:
    labels = Labels(len(nodes))
    for a, b in blocks(folder, backwards):
        labels.add(nodes.number(a), nodes.number(b))
    return labels.values


class Peak:
    """Highest resident memory of this process since `start`, beyond what it had then."""

    def __enter__(self) -> Peak:
        self.process, self.on, self.most = psutil.Process(), True, 0
        self.base = self.process.memory_info().rss
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while self.on:
            self.most = max(self.most, self.process.memory_info().rss - self.base)
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self.on = False
        self.thread.join()


def as_planted(nodes: Nodes, labels: np.ndarray, firsts: np.ndarray, images: int) -> bool:
    """Whether the groups found are exactly the planted ones: equal labels where and only where groups are equal."""
    sizes = np.diff(np.append(firsts, images))
    lonely = sizes == 1  # an image without an edge to another: it may not be there
    at = np.empty(images, np.int64)
    for start in range(0, images, PART):
        numbers = np.arange(start, min(start + PART, images))
        at[numbers] = nodes.number(key(numbers))
    found = np.where(at >= 0, labels[at], -1)
    least = np.minimum.reduceat(np.where(at >= 0, at, len(nodes)), firsts)
    return bool(np.array_equal(found[at >= 0], np.repeat(least, sizes)[at >= 0])) and bool(
        np.all(at[np.repeat(~lonely, sizes)] >= 0)
    )


def against_scipy(folder: Path, nodes: Nodes, labels: np.ndarray) -> bool:
    pairs = [(nodes.number(a), nodes.number(b)) for a, b in blocks(folder)]
    a, b = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return bool(np.array_equal(components(len(nodes), a, b), labels))


def measure(edges: int, seed: int, folder: Path) -> dict[str, object]:
    firsts = plant(folder, edges, seed)
    with Peak() as peak:
        started = time.perf_counter()
        nodes = nodes_of(ends(folder))
        labels = label(folder, nodes)
        seconds = time.perf_counter() - started
    exact = as_planted(nodes, labels, firsts, edges // 4)
    if edges <= 5_000_000:
        exact = exact and against_scipy(folder, nodes, labels)
    return {
        "edges": edges, "images": len(nodes), "groups": len(firsts), "largest": edges // 40,
        "seconds": round(seconds, 1), "rss_gib_beyond_files": round(peak.most / 2**30, 2), "exact": exact,
        "deterministic": bool(np.array_equal(labels, label(folder, nodes, backwards=True))),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--edges", type=int, default=100_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="Where the edges are written; removed at the end.")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="components-", dir=args.folder))
    try:
        found = measure(args.edges, args.seed, folder)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found) if args.json else "\n".join(f"{name:>22}  {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
