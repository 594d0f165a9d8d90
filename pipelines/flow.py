"""The flow: start reading here. Each line is a stage; its file in curation/stages says what it does and can drop."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from curation.align import least_cosine
from curation.stage import CopyEncoder, Encoder, Stage
from curation.stages import (
    cells,
    centroids,
    clusters,
    descriptors,
    edges,
    embeddings,
    fetched,
    images,
    links,
    manifest,
    neighbors,
    sanitized,
    screened,
    selection,
    sources,
    survivors,
    whitening,
)
from curation.stages.sanitized import OFF, Detectors, SanitizedConfig
from embedder.detectors import load_faces, load_scorer
from embedder.encoder import load_encoder
from pipelines.config import Recipe, RecipeError


def _load(cfg: Any, _side: Mapping[str, Any]) -> Encoder:
    """The network a config names, on the GPU that this worker was given, if any."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_encoder(cfg.network, device, cfg.size, getattr(cfg, "pool", ""), getattr(cfg, "compile", False))


@functools.cache
def network(name: str, size: str | int = "") -> CopyEncoder:
    """A network by name or file, at a size of input, loaded once per process; RecipeError if there is none."""
    try:
        return load_encoder(name, size=size)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _digest(cfg: Any) -> str:
    return network(cfg.network).digest


@dataclass(frozen=True)
class Step:
    """A stage, and the part of the recipe that it is run with."""

    stage: Stage
    config: Callable[[Recipe], Any]
    wanted: Callable[[Recipe], bool] = lambda _: True  # whether a recipe asks for it


def _detectors(cfg: SanitizedConfig, _side: Mapping[str, Any]) -> Detectors:
    """The detectors a config names, on the GPU that this worker was given, if any."""
    return _load_detectors(cfg.scorers, "" if cfg.faces == OFF else cfg.face_detector, torch.cuda.is_available())


@functools.cache
def _load_detectors(nsfw: tuple[str, ...], faces: str, gpu: bool = False) -> Detectors:
    device = "cuda" if gpu else "cpu"
    return Detectors(tuple(load_scorer(name, device) for name in nsfw), load_faces(faces, device) if faces else None)


def detectors(cfg: SanitizedConfig) -> dict[str, str]:
    """SHA-256 of the weights of each detector of a recipe, by name; RecipeError if one is missing, with what to install."""
    try:
        loaded = _load_detectors(cfg.scorers, "" if cfg.faces == OFF else cfg.face_detector)
        loaded.limits(cfg.nsfw_limits)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    found = {name: scorer.digest for name, scorer in zip(cfg.scorers, loaded.scorers, strict=True)}
    return found | ({cfg.face_detector: loaded.faces.digest} if loaded.faces else {})


def _detector_digest(cfg: SanitizedConfig) -> str:
    """Weights, and the limits that a classifier's card names: both decide what is unsafe."""
    limits = _load_detectors(cfg.scorers, "" if cfg.faces == OFF else cfg.face_detector).limits(cfg.nsfw_limits)
    return repr((sorted(detectors(cfg).items()), [sorted(one.items()) for one in limits]))


sanitize = replace(sanitized.STAGE, setup=_detectors, weights=_detector_digest)
describe = replace(descriptors.STAGE, setup=_load, weights=_digest)
described = replace(descriptors.DESCRIBED, setup=_load, weights=_digest)
embed = replace(embeddings.STAGE, setup=_load, weights=_digest)


def _whitened(recipe: Recipe) -> bool:
    return recipe.descriptors.whiten != "none"


def _raw(recipe: Recipe) -> bool:
    return not _whitened(recipe)


FLOW: tuple[Step, ...] = (
    Step(sources.STAGE, lambda r: r.sources_config),  # directories, tars, Parquet: split into parts
    Step(images.SCANNED, lambda r: r.images),  # every file and member: read once, header checked, hashed
    Step(images.IMAGES, lambda r: r.images),  # one row per content: exact duplicates dropped
    Step(screened.BASIS, lambda r: r.screened),  # the PCA hash, fitted on a sample of the pool
    Step(screened.SCREENED, lambda r: r.screened),  # size, shape, entropy, blur; the hash of each image
    Step(screened.CLEANED, lambda r: r.screened),  # near-exact duplicates dropped
    Step(sanitize, lambda r: r.sanitized),  # NSFW images quarantined, faces blurred
    Step(describe, lambda r: r.described_config, _raw),  # a copy descriptor per image; or, where the recipe whitens them:
    Step(described, lambda r: r.described_config, _whitened),  # the network's own
    Step(whitening.WHITENING, lambda r: r.whitening_config, _whitened),  # their mean and axes in the pool
    Step(whitening.WHITENED, lambda r: r.whitening_config, _whitened),  # what that makes of them
    Step(cells.GRID, lambda r: r.cells_config),  # cells of a large pool's descriptors, and how far images have to look
    Step(cells.CELLS, lambda r: r.cells_config),  # every descriptor in its cell
    Step(edges.STAGE, lambda r: r.edges_config),  # pairs of copies
    Step(survivors.STAGE, lambda r: r.survivors_config),  # one image of every group, none that copies a protected one
    Step(embed, lambda r: r.embeddings),  # a feature per surviving image
    Step(centroids.CENTROIDS, lambda r: r.clusters),  # k-means on the pool
    Step(centroids.PASSES, lambda r: r.clusters),  # how it went
    Step(clusters.CLUSTERS, lambda r: r.clusters),  # the cluster of every image
    Step(neighbors.INDEXES, lambda r: r.neighbors_config),  # what the pool is searched by: built and measured once
    Step(neighbors.STAGE, lambda r: r.neighbors_config),  # the pool images most like each seed image
    Step(selection.STAGE, lambda r: r.selection_config),  # as is, sample-based, cluster-based
    Step(manifest.MANIFEST, lambda r: r.manifest),  # the curated set, cut into shards
    Step(manifest.SHARDS, lambda r: r.manifest),  # WebDataset tars of the original bytes
)


CRAWL: tuple[Step, ...] = (
    Step(links.SOURCES, lambda r: r.links_config),  # URL lists, WARC and WAT archives: split into parts
    Step(links.LINKS, lambda r: r.links_config),  # every link, normalised, or why it will not be asked
    Step(links.URLS, lambda r: r.links_config),  # every address once, hosts spread over the crawl
    Step(fetched.STAGE, lambda r: r.crawl),  # an image or a reason, politely; safe at every row
)


def resolve(recipe: Recipe) -> Recipe:
    """The recipe with the values of its copy network, where it names none of its own (SurvivorsConfig).

    Where pairs are confirmed, all are looked at that the best agreement seen in practice could lift to `confirm`, and where
    keypoints are compared too, all from LOOKED_AT on.
    Raises RecipeError if neither names a threshold.
    """
    own, card = recipe.survivors, network(recipe.descriptors.network, recipe.descriptors.size)
    known = None if _whitened(recipe) else card  # the card's values are for the network's own descriptors
    named = [value for value in (own.self_similarity, own.reference_similarity) if value is not None]
    confirm = own.confirm if own.confirm is not None else 0.0 if named else getattr(known, "confirm", None) or 0.0
    shared = _first(own.shared, getattr(known, "shared", None), 0) if confirm else 0
    floor = min(least_cosine(confirm), LOOKED_AT if shared else 1.0) if confirm else None
    pair = {name: _first(getattr(own, name), floor, getattr(known, name, None)) for name in _THRESHOLDS}
    if None in pair.values():
        what = f"{recipe.descriptors.network}{', whitened,' if _whitened(recipe) else ''}"
        raise RecipeError(f"{what} has no calibrated thresholds: name {' and '.join(_THRESHOLDS)} in [survivors]")
    return _with_floors(replace(recipe, survivors=replace(own, confirm=confirm, shared=int(shared or 0), **pair)))


def _with_floors(recipe: Recipe) -> Recipe:
    """The recipe with the cosines from which pairs are stored and looked at; RecipeError if a threshold lies below them."""
    own, edges = recipe.survivors, recipe.edges
    asked = {"floor": own.self_similarity, "reference_floor": recipe.lowest_reference}
    asked["agreement"] = least_cosine(own.confirm) if own.confirm else None
    margin = 0.0 if own.confirm else MARGIN  # each pair is looked at where pairs are confirmed: none that cannot count
    floors: dict[str, float | None] = {}
    for key, ask in asked.items():
        named = getattr(edges, key)
        floors[key] = named if named is not None or ask is None else round(max(ask - margin, -1.0), 6)
        if ask is not None and ask < (floors[key] or 0.0):
            raise RecipeError(
                f"pairs are stored from edges.{key} = {floors[key]:g} on, and this asks for those from {ask:g} on; to look "
                f"for them: curate run --recipe RUN/recipe.toml --out RUN --set edges.{key}={ask:g}, and --set the value"
            )
    return replace(recipe, edges=replace(edges, **floors))


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


_THRESHOLDS = ("self_similarity", "reference_similarity")
MARGIN = 0.05  # below the thresholds, down to which pairs are stored where the cosine alone decides
LOOKED_AT = 0.6  # cosine from which keypoints are compared: below it, unlike photographs are too many
