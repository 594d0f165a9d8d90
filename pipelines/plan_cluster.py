"""What LVD-142M's recipe takes on named hardware: arithmetic over rates, each measured or assumed, with where it is from.

Counts that shrink along the flow shrink as in the paper (DINOv2, appendix A.3 and table 15): 1.3 billion images, 1.1
after self-deduplication, 744 million after relative deduplication, 142 million chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

from curation.stages.neighbors import QUERIES, NeighborsConfig
from curation.stages.sources import MOST
from pipelines.plan_lines import Interval, added
from pipelines.plan_profile import Profile

TERA, GIB, MILLION = 1e12, 2**30, 1e6
SELF, RELATIVE, CHOSEN = 1.1 / 1.3, 0.744 / 1.3, 0.142109386 / 1.3  # left of what was found, after each
SEEDS = 15_800_000  # seed images that are asked with, k nearest of each (design size)
DIM, CENTRES, PASSES, DEEP = 1280, 100_000, 20, 64  # ViT-H/16; appendix A.4; most passes; images a centre is fitted on
COPY_DIM = 512  # SSCD
DOUBT = {"gpu": (0.87, 1.5), "cpu": (0.75, 2.0), "network": (0.7, 2.0), "disk": (0.5, 2.0)}  # of what is assumed
MEASURED_DOUBT = (0.95, 1.1)  # of what was measured on one card, on many


@dataclass(frozen=True)
class Work:
    """One row of a plan. hours: expected, low, high, were it alone; binds: "gpu", "cpu", "network" or "disk"."""

    noun: str
    binds: str
    hours: Interval
    rate: str
    measured: bool
    source: str


@dataclass(frozen=True)
class Memory:
    """What one process of a noun holds."""

    noun: str
    gib: float
    holds: str


@dataclass(frozen=True)
class ClusterPlan:
    """The whole: work of one kind in turn, the kinds beside one another. hours: the longest of them."""

    cluster: str
    images: int
    bf16: str
    works: tuple[Work, ...]
    memory: tuple[Memory, ...]
    hours: Interval
    gpu_hours: Interval
    binds: str
    disk_tb: Interval
    network_tb: float
    memory_gib: float
    fits: bool


def cluster_plan(profile: Profile, images: int, image_bytes: float = 100_000) -> ClusterPlan:
    """The plan of N images on some hardware. image_bytes: of an encoded image, mean (assumed: 100 kB)."""
    moved = images * image_bytes * (3 + CHOSEN)
    works = tuple(_works(images, moved, profile))
    sums = {kind: added([w.hours for w in works if w.binds == kind]) for kind in DOUBT}
    binds = max(sums, key=lambda kind: sums[kind][0])
    longest = [max(one[at] for one in sums.values()) for at in range(3)]
    gpu, disk, memory = sums["gpu"], _disk(images, image_bytes) / TERA, tuple(_memory(images))
    largest = max(one.gib for one in memory)
    return ClusterPlan(
        cluster=profile.name,
        images=images,
        bf16=f"{profile.bf16_tflops:,.0f} TFLOP/s a card, {_told(profile.bf16_measured)}: {profile.bf16_source}",
        works=works,
        memory=memory,
        hours=(longest[0], longest[1], longest[2]),
        gpu_hours=(gpu[0] * profile.cards, gpu[1] * profile.cards, gpu[2] * profile.cards),
        binds=binds,
        disk_tb=(disk, disk * 0.8, disk * 1.5),
        network_tb=moved / TERA,
        memory_gib=largest,
        fits=largest <= profile.host_gib,
    )


def _told(measured: bool) -> str:
    return "measured" if measured else "assumed"


def _works(n: int, moved: float, profile: Profile) -> list[Work]:
    embedded, k = n * RELATIVE, min(CENTRES, max(1, n))
    sample, blocks = min(embedded, k * DEEP), -(-SEEDS // QUERIES)
    return [
        _gpu("descriptors", n * 13.6e9, profile, "13.6 GFLOP an image (ResNet-50, 288 px)"),
        _gpu("embeddings", embedded * 0.255e12, profile, "0.255 TFLOP an image (ViT-H/16, 224 px)"),
        _gpu("centroids", sample * k * DIM * 2.0 * PASSES, profile, f"{PASSES} passes over {DEEP} images a cluster"),
        _gpu("clusters", embedded * k * DIM * 2.0, profile, "one pass over all against every centre"),
        _gpu("neighbors", SEEDS * embedded * DIM * 2.0, profile, "all looked at: 15.8 million seed images against all"),
        _cpu("images, screened, sanitized", n, profile),
        _cpu("decoding for the networks", n + embedded, profile),
        _edges(n, profile),
        _bytes("network", "reading and writing images", moved, profile.network_gbit / 8,
               f"{profile.network_gbit:g} Gbit/s a machine; each read three times, the chosen written", profile),
        _bytes("disk", "reading vectors", embedded * DIM * 2 * (blocks + PASSES * sample / embedded + 2), profile.disk_gb_s,
               f"{profile.disk_gb_s:g} GB/s a machine; once for each of {blocks} blocks of seed images", profile),
    ]  # fmt: skip


def _gpu(noun: str, flop: float, profile: Profile, what: str) -> Work:
    own = profile.rate(noun)
    hours = flop / (profile.bf16_tflops * TERA * profile.cards * own.share) / 3600
    measured = own.measured and profile.bf16_measured
    return _work(noun, "gpu", hours, f"{what} at {own.share:.0%} of the card", measured, own.source)


def _cpu(noun: str, images: float, profile: Profile) -> Work:
    own = profile.rate(noun)
    hours = images / (own.images_per_s * profile.cores * profile.cards) / 3600
    return _work(noun, "cpu", hours, f"{own.images_per_s:,.0f} images/s a core", own.measured, own.source)


def _edges(n: int, profile: Profile) -> Work:
    """Pairs of copies are looked for on CPUs. From 200,000 to a million images it took the 1.49th power of them; up to the
    square is within the interval: a share of all pairs that no longer falls."""
    own, times = profile.rate("edges"), max(1.0, n / MILLION)
    hours = n / (own.images_per_s * profile.cores * profile.cards) / 3600
    middle = hours * times**0.5
    rate = f"{own.images_per_s:,.0f} images/s a core at a million; grows with the power 1.5, at worst 2"
    return Work("edges", "cpu", (middle, middle * 0.5, max(2 * middle, hours * times)), rate, own.measured,
                f"{_told(own.measured)}: {own.source}")  # fmt: skip


def _bytes(kind: str, noun: str, size: float, gb_s: float, rate: str, profile: Profile) -> Work:
    return _work(noun, kind, size / (gb_s * 1e9 * profile.machines) / 3600, rate, False, "the profile's figure")


def _work(noun: str, kind: str, hours: float, rate: str, measured: bool, source: str) -> Work:
    low, high = MEASURED_DOUBT if measured else DOUBT[kind]
    return Work(noun, kind, (hours, hours * low, hours * high), rate, measured, f"{_told(measured)}: {source}")


def _memory(n: int) -> list[Memory]:
    """Of the processes that hold most."""
    index, vector = NeighborsConfig().memory_gib, DIM * 4 / GIB
    return [
        Memory("centroids", 3 * CENTRES * vector, "centres, and their sums in float64"),
        Memory("neighbors", index + (QUERIES + MOST) * vector, "an index, a block of seed images, a part of the pool"),
        Memory("survivors", 28 * n / GIB, "28 bytes for each image that has a copy, at most all"),
        Memory("cleaned", 16 * n / GIB, "hashes of all images, in one process"),
    ]


def _disk(n: int, image_bytes: float) -> float:
    """Bytes of the run: vectors in float16, twice those of copies; rows of the nouns (assumed 1.2 kB an image in all); codes
    of an index; the chosen images."""
    vectors = n * 2 * COPY_DIM * 2 + n * RELATIVE * (DIM * 2 + DIM // 4 + 8)
    return vectors + n * 1200 + n * CHOSEN * image_bytes
