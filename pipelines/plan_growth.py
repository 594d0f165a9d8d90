"""How what a run takes grows with its pool, noun by noun: by what a sample of it says, and where that is silent by counting.

Most nouns take a constant (starting, parts, seed sets) and so much an image: a line through the sample runs. Three things
are no line in the pool. What is multiplied: pairs of images, images and clusters, seed images and the pool; a small sample
shows nothing of it, so it is counted, and divided by the rate of products measured here. Pairs of look-alikes that are
confirmed by their pictures: they grow with the square. What is chosen: it ends at what seed sets can ask for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.config import Recipe
from pipelines.plan_lines import Interval, added, line

CHOSEN = ("manifest", "shards", "curated")  # nouns and folders that follow the images chosen
FIXED = ("neighbors", "indexes", "basis", "passes")  # bytes that do not follow the pool
SAMPLED = ("basis",)  # seconds that do not: made from a sample
ROOT = ("centroids",)  # bytes that follow its root, as clusters do
DOUBT = (0.67, 2.0)  # of what is counted
AXES = 64  # that a cell of the copy graph lies along


@dataclass(frozen=True)
class Tried:
    """A sample run: its pool images, what it took by noun, images chosen, pairs of look-alikes found, sizes of seed sets."""

    images: int
    seconds: Mapping[str, float]
    disk: Mapping[str, int]
    chosen: int
    pairs: int
    seeds: Mapping[str, int]


@dataclass(frozen=True)
class Rates:
    """Of one core, measured here. products: multiply-adds a second; pair: seconds to hold two pictures side by side."""

    products: float
    pair: float
    workers: int
    dim: int
    copy_dim: int


def seconds(tries: Sequence[Tried], recipe: Recipe, images: int, rates: Rates) -> dict[str, Interval]:
    """(expected, low, high) of every noun of a run over so many pool images."""
    chosen = chosen_of(tries, recipe)
    out = dict[str, Interval]()
    for noun in _names(tries, lambda one: one.seconds):
        told = [(one, counted(noun, one.images, tries, recipe, rates)) for one in tries]
        much = chosen if noun in CHOSEN else (lambda _images: 0.0) if noun in SAMPLED else float
        rest = line([(much(one.images), max(0.0, one.seconds.get(noun, 0.0) - own)) for one, own in told])
        own = counted(noun, images, tries, recipe, rates)
        out[noun] = added([rest.at(much(images)), (own, own * DOUBT[0], own * DOUBT[1])])
    return out


def disk(tries: Sequence[Tried], recipe: Recipe, images: int, rates: Rates) -> dict[str, Interval]:
    """(expected, low, high) bytes of every noun, and of what else a run leaves."""
    chosen = chosen_of(tries, recipe)
    laws: dict[str, Callable[[float], float]] = {**dict.fromkeys(CHOSEN, chosen), **dict.fromkeys(ROOT, math.sqrt)}
    laws |= dict.fromkeys(FIXED, lambda _images: 0.0)
    out = dict[str, Interval]()
    for noun in _names(tries, lambda one: one.disk):
        much = laws.get(noun, float)
        out[noun] = line([(much(one.images), one.disk.get(noun, 0)) for one in tries]).at(much(images))
    own = _cells_disk(tries, recipe, images, rates)
    out["cells"] = added([out.get("cells", (0.0, 0.0, 0.0)), (own, own * 0.9, own * 1.1)])
    return out


def _cells_disk(tries: Sequence[Tried], recipe: Recipe, images: float, rates: Rates) -> float:
    """Bytes of descriptors and sketches, float16, that cells hold where not all pairs are compared."""
    rivals = rivals_of(tries, recipe, images)
    return 0.0 if exact(recipe, rivals) else rivals * 2 * (rates.copy_dim + AXES)


def _names(tries: Sequence[Tried], of: Callable[[Tried], Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(noun for one in tries for noun in of(one)))


def chosen_of(tries: Sequence[Tried], recipe: Recipe) -> Callable[[float], float]:
    """Images chosen of a pool: what was chosen of a sample, else as the samples go on, but no more than can be asked for."""
    known, grown = {one.images: one.chosen for one in tries}, line([(one.images, one.chosen) for one in tries])

    def chosen(images: float) -> float:
        return known.get(int(images), min(grown.at(images)[0], most_chosen(recipe, tries[-1].seeds, images)))

    return chosen


def most_chosen(recipe: Recipe, seeds: Mapping[str, int], images: float) -> float:
    """Images that the seed sets and the balanced draw can ask for, of a pool."""
    most = 0.0
    for one in recipe.seeds:
        held = seeds.get(one.name, 0)
        most += held * ("as_is" in one.mode) + held * one.k * ("sample" in one.mode)
        hit = min(held // one.min_hits, clusters_of(recipe, images))
        most += min(one.cap, one.per_cluster * hit) * ("cluster" in one.mode)
    return min(most + recipe.selection.balanced, images + sum(seeds.values()))


def clusters_of(recipe: Recipe, images: float) -> float:
    """Clusters of the finest level."""
    asked = recipe.clusters.levels[0] if recipe.clusters.levels else recipe.clusters.k
    return min(images, asked or min(100_000, math.ceil(2 * math.sqrt(images))))


def asked_of(recipe: Recipe, k: float) -> float:
    """Centroids that a row is compared with in a pass of each of the stages of the first level."""
    cut = recipe.clusters.split
    return k if cut == 1 else k / cut + cut


def counted(noun: str, images: float, tries: Sequence[Tried], recipe: Recipe, rates: Rates) -> float:
    """Seconds that a noun takes for products and for pairs that are looked at."""
    seeds = sum(tries[-1].seeds.values())
    rivals, k = rivals_of(tries, recipe, images), clusters_of(recipe, images)
    fitted = min(images, 64 * k)
    alone = fitted <= recipe.clusters.alone_rows
    adds = {
        "grid": 0.0 if exact(recipe, rivals) else _fitting_cells(recipe, rivals, rates),
        "edges": _pairs_met(recipe, rivals) * rates.copy_dim,
        "centroids": fitted * asked_of(recipe, k) * rates.dim * recipe.clusters.iterations * (rates.workers if alone else 1),
        "clusters": (images + seeds) * k * rates.dim,
        "neighbors": seeds * images * rates.dim,
    }
    looked = rates.pair * pairs_of(tries, images) if noun == "edges" else 0.0
    return (adds.get(noun, 0.0) / rates.products + looked) / rates.workers


def rivals_of(tries: Sequence[Tried], recipe: Recipe, images: float) -> float:
    """Images that compete for survival: the pool, and seed sets taken as they are."""
    return images + sum(tries[-1].seeds.get(name, 0) for name in recipe.as_is)


def exact(recipe: Recipe, rivals: float) -> bool:
    """Whether all pairs are compared."""
    own = recipe.edges
    return own.engine == "exact" or (own.engine == "auto" and rivals < own.exact_below)


def _pairs_met(recipe: Recipe, rivals: float) -> float:
    """By cells, each image meets so many roots of the pool (README: 0.07 of all pairs at a million)."""
    everything = rivals * rivals / 2
    return everything if exact(recipe, rivals) else min(everything, 0.5 * rivals**1.5 * 8 * recipe.edges.per_root)


def _fitting_cells(recipe: Recipe, rivals: float, rates: Rates) -> float:
    """k-means of the cells, and the exact neighbours of a sample of the images (curation/stages/cells.py)."""
    cells, queries = recipe.edges.per_root * math.sqrt(rivals), min(rivals, max(4096, min(16_384, rivals / 240)))
    return 8 * cells * cells * 3 * AXES + queries * rivals * rates.copy_dim


def pairs_of(tries: Sequence[Tried], images: float) -> float:
    """Look-alikes among so many images: as their share of all pairs in the largest sample."""
    largest = max(tries, key=lambda one: one.images)
    seeds = sum(largest.seeds.values())
    return largest.pairs * ((images + seeds) / (largest.images + seeds)) ** 2
