"""The hardware that a plan is for: what a card and the machine around it can do, each rate measured or assumed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.config import RecipeError, build, read_table

GRAPH = "tests/bench/results/2026-11-24-copy-graph-2cpu.md"
H200 = "tests/bench/results/2026-11-26-gpu-h200.md"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How fast one kind of work goes."""

    share: float = 0.0
    """Of the card's bf16 rate, 0 to 1 (work on GPUs)."""
    images_per_s: float = 0.0
    """Of one core (work on CPUs)."""
    measured: bool = False
    """On this hardware; else assumed."""
    source: str = ""
    """Where it is from."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.images_per_s < 0 or not (self.share or self.images_per_s):
            raise ValueError("a rate has a share above 0 and up to 1, or images_per_s above 0")


ASSUMED = {
    "descriptors": Rate(share=0.30, source="ceiling for convolutions of a ResNet-50"),
    "embeddings": Rate(share=0.55, source="forward of a ViT-H"),
    "centroids": Rate(share=0.70, source="assignment as in clusters, and sums"),
    "clusters": Rate(share=0.70, source="one pass of products"),
    "neighbors": Rate(share=0.70, source="one pass of products, all looked at"),
    "images, screened, sanitized": Rate(images_per_s=300, source="decode and resize"),
    "decoding for the networks": Rate(images_per_s=300, source="decode and resize"),
    "edges": Rate(images_per_s=475, source=f"1,410 s at a million on two cores that were shared, {GRAPH}"),
}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Cards of one kind, and the machines they are in."""

    name: str
    bf16_tflops: float
    """TFLOP/s of a dense bf16 product on one card."""
    bf16_measured: bool = False
    bf16_source: str = "named by the profile"
    cards: int = 1
    """Cards in all."""
    per_machine: int = 8
    """Cards of one machine."""
    memory_gib: int = 80
    """Of one card."""
    host_gib: int = 1024
    """Memory of one machine."""
    cores: int = 16
    """CPU cores beside each card."""
    network_gbit: float = 100.0
    """Into one machine, Gbit/s."""
    disk_gb_s: float = 10.0
    """Read from the run folder by one machine, GB/s."""
    rates: dict[str, Rate] = field(default_factory=dict[str, Rate])
    """By the line of the plan that they are for; those not named are assumed."""

    def __post_init__(self) -> None:
        numbers = ("bf16_tflops", "cards", "per_machine", "memory_gib", "host_gib", "cores", "network_gbit", "disk_gb_s")
        for name in numbers:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        for name, rate in self.rates.items():
            if name not in ASSUMED or bool(ASSUMED[name].share) != bool(rate.share):
                kinds = (f"{known} ({'share' if own.share else 'images_per_s'})" for known, own in ASSUMED.items())
                raise ValueError(f'no rate "{name}" of that kind; there are: {", ".join(kinds)}')

    @property
    def machines(self) -> int:
        return -(-self.cards // self.per_machine)

    def rate(self, name: str) -> Rate:
        return self.rates.get(name, ASSUMED[name])


CARDS = {
    "H200": Profile(
        name="H200", bf16_tflops=791, bf16_measured=True, bf16_source=H200, memory_gib=139, host_gib=2048, cores=24,
        rates={"clusters": Rate(share=0.814, measured=True, source=f"k-means assignment, {H200}")},
    ),
    "H100": Profile(
        name="H100", bf16_tflops=791, bf16_source="the H200's: the same chip", memory_gib=78, host_gib=2048, cores=24
    ),
    "A100": Profile(name="A100", bf16_tflops=312, bf16_source="data sheet, dense", memory_gib=78),
}  # fmt: skip


def named(cluster: str) -> Profile:
    """The profile of, say, "8xH200". Raises RecipeError for one that is not known."""
    found = re.fullmatch(r"(\d{1,5})\s*[xX]\s*([A-Za-z0-9]+)", cluster)
    if not found or found[2].upper() not in CARDS or not int(found[1]):
        raise RecipeError(f'a cluster is COUNTxCARD, such as 8xH200 (cards: {", ".join(CARDS)}), not "{cluster}"')
    return replace(CARDS[found[2].upper()], name=cluster, cards=int(found[1]))


def load_profile(path: Path) -> Profile:
    """The profile in a TOML file: the fields of Profile, and of Rate in [rates.NAME]. Raises RecipeError."""
    return build(Profile, {"name": path.stem} | read_table(path))
