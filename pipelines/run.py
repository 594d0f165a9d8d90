"""A run: work through the flow, part by part, doing only what is missing."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from curation.records import POOL
from curation.stages.links import lists_urls
from curation.store import Receipt, Store
from pipelines.card import write_card
from pipelines.config import Recipe, RecipeError, absolute, absolute_path, as_toml
from pipelines.crawl import crawl
from pipelines.flow import FLOW, detectors, network, resolve
from pipelines.lock import exclusive
from pipelines.progress import Progress, tally
from pipelines.runner import Cluster
from pipelines.steps import Job, do
from pipelines.summary import summarise

VERSIONED = ("torch", "faiss-cpu", "pyarrow", "pillow", "ray", "numpy")


def execute(recipe: Recipe, out: str, *, workers: int | None = None, address: str | None = None, progress: Progress) -> Recipe:
    """Run the whole flow into `out`; a second call does only what is missing. Returns the resolved recipe.

    Raises RecipeError for what the user can mend in the recipe, RunError for what stopped a worker, OSError for the disk.
    """
    recipe = absolute(resolve(recipe))
    store = Store(absolute_path(out))
    fetched = _crawled(recipe, store.url, workers, address, progress)
    with exclusive(store):
        store.write_bytes(as_toml(recipe, resolved(recipe)).encode(), "recipe.toml")
        with Cluster(store.url, workers, address) as cluster:
            progress.started(cluster.workers, cluster.device, recipe)
            job = Job(store, fetched, cluster, progress)
            _forget_unasked(store, recipe)
            for step in FLOW:
                if step.wanted(recipe):
                    do(job, step)
                    _stop_if_empty(job, step.stage.name)
        facts = summarise(out).facts
        write_card(out, facts["funnel"], facts["curated"])
    return recipe


def _crawled(recipe: Recipe, out: str, workers: int | None, address: str | None, progress: Progress) -> Recipe:
    """The recipe with its URL lists and WAT archives fetched into OUT.crawl, beside the run: nothing unblurred is in it."""
    lists = tuple(source for source in recipe.pool.sources if lists_urls(source))
    if not lists:
        return recipe
    rest = tuple(source for source in recipe.pool.sources if source not in lists)
    folder = f"{out.rstrip('/')}.crawl"
    only = replace(recipe, pool=replace(recipe.pool, sources=lists))
    crawl(only, folder, workers=workers, address=address, progress=progress)
    return replace(recipe, pool=replace(recipe.pool, sources=(*rest, folder)))


def _forget_unasked(store: Store, recipe: Recipe) -> None:
    """Remove the parts of nouns that an earlier recipe of the folder asked for and this one does not."""
    wanted = {step.stage.name for step in FLOW if step.wanted(recipe)}
    for noun in {step.stage.name for step in FLOW} - wanted:
        store.trim(noun, set())


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Versions and weight hashes that decide the result."""
    found = {"python": platform.python_version()} | {name: _version(name) for name in VERSIONED}
    weights = {name: network(name).digest for name in (recipe.descriptors.network, recipe.embeddings.network)}
    weights |= detectors(recipe.sanitized)
    return {"versions": found, "weights": weights}


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "absent"


def _stop_if_empty(job: Job, noun: str) -> None:
    """A set without one usable image is an error, not an empty manifest."""
    if noun not in ("scanned", "cleaned"):
        return
    by_set: dict[str, list[Receipt]] = {}
    for part, receipt in job.receipts[noun].items():
        by_set.setdefault(_set_of(job.store, part), []).append(receipt)
    for name, receipts in by_set.items():
        kept, reasons = tally(receipts)
        if not kept and not (noun == "cleaned" and name != POOL):
            told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1]))
            raise RecipeError(f"no usable image in {_called(job.recipe, name)}: {told}")


def _set_of(store: Store, part: int) -> str:
    """A part belongs to exactly one set."""
    return store.part("sources", part, ["set"])["set"][0].as_py()


def _called(recipe: Recipe, name: str) -> str:
    kind, _, own = name.partition(":")
    return ", ".join(recipe.pool.sources) if name == POOL else f"{'seed' if kind == 'seed' else 'protected'} set {own}"
