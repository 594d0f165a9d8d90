"""What LVD-142M's recipe takes on a named cluster: arithmetic over rates, each with where it is from.

Nothing here was measured on the cluster it speaks of: a rate is "assumed", with its source, until a run replaces it.
Counts that shrink along the flow shrink as in the paper (DINOv2, appendix A.3 and table 15): 1.3 billion images, 1.1
after self-deduplication, 744 million after relative deduplication, 142 million chosen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.config import RecipeError

TERA = 1e12
SELF, RELATIVE, CHOSEN = 1.1 / 1.3, 0.744 / 1.3, 0.142109386 / 1.3  # left of what was found, after each
SEEDS = 15_800_000  # seed images that are asked with, k nearest of each (design size)
DIM, CENTRES, PASSES = 1280, 100_000, 20  # ViT-H/16; appendix A.4; this project's most passes
COPY_DIM = 512  # SSCD


@dataclass(frozen=True)
class Card:
    """A kind of GPU and the machine around each."""

    bf16: float  # FLOP/s of a dense matrix product
    memory_gib: int
    cores: int  # CPU cores beside each GPU
    source: str


CARDS = {
    "H200": Card(790 * TERA, 139, 24, "matrix product rate of the design notes; 192 cores beside 8"),
    "H100": Card(790 * TERA, 78, 24, "assumed equal to the H200's: the same chip with less memory"),
    "A100": Card(312 * TERA, 78, 16, "data sheet, dense bf16"),
}
NETWORK = 12.5e9  # bytes/s into a machine: 100 Gbit/s, assumed
MACHINE = 8  # GPUs of one machine


@dataclass(frozen=True)
class Work:
    """One row of a plan. hours: expected, low, high, were it alone; binds: "gpu", "cpu" or "network"."""

    noun: str
    binds: str
    hours: tuple[float, float, float]
    rate: str
    source: str


@dataclass(frozen=True)
class ClusterPlan:
    """The whole: GPU work in turn, CPU and network work beside it. hours: the longest of the three."""

    cluster: str
    images: int
    works: tuple[Work, ...]
    hours: tuple[float, float, float]
    gpu_hours: tuple[float, float, float]
    binds: str
    disk_tb: float
    memory_gib: float


def cluster_plan(cluster: str, images: int, image_bytes: float = 100_000) -> ClusterPlan:
    """The plan of N images on, say, "8xH200". image_bytes: of an encoded image, mean (assumed: 100 kB).

    Raises RecipeError for a cluster that is not known.
    """
    gpus, card = _cluster(cluster)
    works = tuple(_works(images, image_bytes, gpus, card))
    sums = {kind: _sum([w.hours for w in works if w.binds == kind]) for kind in ("gpu", "cpu", "network")}
    binds = max(sums, key=lambda kind: sums[kind][0])
    hours = (max(s[0] for s in sums.values()), max(s[1] for s in sums.values()), max(s[2] for s in sums.values()))
    gpu = sums["gpu"]
    return ClusterPlan(
        cluster=cluster,
        images=images,
        works=works,
        hours=hours,
        gpu_hours=(gpu[0] * gpus, gpu[1] * gpus, gpu[2] * gpus),
        binds=binds,
        disk_tb=_disk(images, image_bytes) / 1e12,
        memory_gib=max(CENTRES * DIM * 4 * 3, 4 * 2**30) / 2**30,
    )


def _cluster(name: str) -> tuple[int, Card]:
    found = re.fullmatch(r"(\d{1,5})\s*[xX]\s*([A-Za-z0-9]+)", name)
    if not found or found[2].upper() not in CARDS or not int(found[1]):
        raise RecipeError(f'a cluster is COUNTxCARD, such as 8xH200 (cards: {", ".join(CARDS)}), not "{name}"')
    return int(found[1]), CARDS[found[2].upper()]


def _works(n: int, image_bytes: float, gpus: int, card: Card) -> list[Work]:
    embedded, pool_k = n * RELATIVE, min(CENTRES, max(1, n))
    flops, cores = card.bf16 * gpus, card.cores * gpus
    sample = min(embedded, pool_k * 256)  # rows that centres are fitted on
    return [
        _gpu("descriptors", n * 13.6e9, 0.30, flops, "13.6 GFLOP an image (ResNet-50, 288 px) at 30% of the card"),
        _gpu("edges", 0.5 * n**1.5 * 16 * COPY_DIM * 2, 0.30, flops, "cells: 16 roots of the pool met by each image"),
        _gpu("embeddings", embedded * 0.255e12, 0.55, flops, "0.255 TFLOP an image (ViT-H/16, 224 px) at 55% of the card"),
        _gpu("centroids", sample * pool_k * DIM * 2.0 * PASSES, 0.70, flops, "20 passes over 256 images a cluster, 70%"),
        _gpu("clusters", embedded * pool_k * DIM * 2.0, 0.70, flops, "one pass over all against every centre, 70%"),
        _gpu("neighbors", SEEDS * embedded * DIM * 2.0, 0.70, flops, "exact: 15.8 million seed images against all, 70%"),
        _cpu("images, screened, sanitized", n, 300, cores, "decode and resize, 300 images/s a core"),
        _cpu("decoding for the networks", n + embedded, 300, cores, "decode and resize, 300 images/s a core"),
        _network(n * image_bytes * 3 + n * CHOSEN * image_bytes, -(-gpus // MACHINE)),
    ]


def _gpu(noun: str, flop: float, share: float, flops: float, rate: str) -> Work:
    """The share of the card's rate that is reached may be a third less, or a seventh more."""
    hours = flop / (flops * share) / 3600
    return Work(noun, "gpu", (hours, hours * 0.87, hours * 1.5), rate, "assumed: design ceilings, not measured on this card")


def _cpu(noun: str, images: float, per_core: float, cores: int, rate: str) -> Work:
    hours = images / (per_core * cores) / 3600
    return Work(noun, "cpu", (hours, hours * 0.75, hours * 2.0), rate, "assumed: design notes; plan with a sample measures it")


def _network(size: float, machines: int) -> Work:
    hours = size / (NETWORK * machines) / 3600
    rate = "each image read three times, the chosen written, at 100 Gbit/s a machine"
    return Work("reading and writing", "network", (hours, hours * 0.7, hours * 2.0), rate, "assumed: link and 100 kB an image")


def _disk(n: int, image_bytes: float) -> float:
    """Bytes of the run: vectors in float16, rows of the nouns (assumed 1.2 kB an image in all), the chosen images."""
    return n * (2 * COPY_DIM * 2 + 1200) + n * RELATIVE * DIM * 2 + n * CHOSEN * image_bytes


def _sum(hours: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    return (sum(h[0] for h in hours), sum(h[1] for h in hours), sum(h[2] for h in hours))
