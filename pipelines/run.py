"""A run: work through the flow, part by part, doing only what is missing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from curation.records import POOL
from curation.stage import MapStage, Stage, WholeStage
from curation.store import Receipt, Store, fingerprint
from pipelines.config import Recipe, RecipeError, as_toml, plain
from pipelines.flow import FLOW, Step, network, resolve
from pipelines.lock import exclusive
from pipelines.progress import Progress, tally
from pipelines.runner import Cluster, Task
from pipelines.summary import summarise

VERSIONED = ("torch", "faiss-cpu", "pyarrow", "pillow", "ray", "numpy")


@dataclass
class _Run:
    """The state of one run: where, by whom, and what every noun looks like so far."""

    store: Store
    recipe: Recipe
    cluster: Cluster
    progress: Progress
    receipts: dict[str, dict[int, Receipt]]


def execute(recipe: Recipe, out: str, *, workers: int | None = None, address: str | None = None, progress: Progress) -> Recipe:
    """Run the whole flow into `out`; a second call does only what is missing. Returns the resolved recipe.

    Raises RecipeError for what the user can mend in the recipe, RunError for what stopped a worker, OSError for the disk.
    """
    recipe = absolute(resolve(recipe))
    store = Store(_absolute(out))
    with exclusive(store):
        store.write_bytes(as_toml(recipe, resolved(recipe)).encode(), "recipe.toml")
        with Cluster(store.url, workers, address) as cluster:
            progress.started(cluster.workers, cluster.device, recipe)
            run = _Run(store, recipe, cluster, progress, {})
            for step in FLOW:
                _do(run, step)
                _stop_if_empty(run, step.stage.name)
        summarise(out)
    return recipe


def absolute(recipe: Recipe) -> Recipe:
    """Local paths made absolute, so that a run folder means the same from anywhere."""
    seeds = tuple(replace(s, path=_absolute(s.path)) for s in recipe.seeds)
    protect = tuple(replace(p, path=_absolute(p.path)) for p in recipe.protect)
    pool = replace(recipe.pool, sources=tuple(_absolute(s) for s in recipe.pool.sources))
    return replace(recipe, pool=pool, seeds=seeds, protect=protect)


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Versions and weight hashes that decide the result."""
    found = {"python": platform.python_version()} | {name: _version(name) for name in VERSIONED}
    weights = {name: network(name).digest for name in (recipe.descriptors.network, recipe.embeddings.network)}
    return {"versions": found, "weights": weights}


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "absent"


def _do(run: _Run, step: Step) -> None:
    cfg = step.config(run.recipe)
    stage = step.stage
    made_by = recipe_print(stage, cfg)
    found = run.store.receipts(stage.name)
    if isinstance(stage, MapStage):
        run.receipts[stage.name] = _map(run, stage, cfg, made_by, found)
    else:
        run.receipts[stage.name] = _whole(run, stage, cfg, made_by, found)


def recipe_print(stage: Stage, cfg: Any) -> str:
    """The hash of what a stage does, whatever it is given: name, version, config, weights."""
    return fingerprint(stage.name, stage.version, plain(cfg), stage.weights(cfg))


def _map(run: _Run, stage: MapStage, cfg: Any, made_by: str, found: Mapping[int, Receipt]) -> dict[int, Receipt]:
    """Parts whose receipt carries another fingerprint, or none, are done again."""
    parts = list(run.receipts[stage.consumes[0]])
    side = [[r.digest for r in run.receipts[noun].values()] for noun in stage.also]
    prints = {p: fingerprint(made_by, [run.receipts[n][p].digest for n in stage.consumes], side) for p in parts}
    done = {p: found[p] for p in parts if p in found and found[p].fingerprint == prints[p]}
    tasks = [Task(p, prints[p]) for p in parts if p not in done]
    expected = {p: run.receipts[stage.consumes[0]][p].kept for p in parts}
    with run.progress.stage(stage.name, sum(expected.values()), sum(expected[p] for p in done)) as bar:
        for task, (receipt,) in run.cluster.run(stage, cfg, tasks, bar.lost):
            done[task.part or 0] = receipt
            bar.advance(expected[task.part or 0])
        run.store.trim(stage.name, set(parts))
        if stage.tar:
            run.store.trim(stage.tar.rpartition("/")[0], set(parts))
        bar.close(done.values())
    return dict(sorted(done.items()))


def _whole(run: _Run, stage: WholeStage, cfg: Any, made_by: str, found: Mapping[int, Receipt]) -> dict[int, Receipt]:
    """Done again unless every part there is carries the fingerprint, and a list of them was closed with it."""
    print_ = fingerprint(made_by, [[r.digest for r in run.receipts[noun].values()] for noun in stage.consumes])
    closed = run.store.read_bytes(stage.name, ".all.done")
    expected = fingerprint(print_, sorted((p, r.digest) for p, r in found.items())).encode()
    with run.progress.stage(stage.name, None, 0) as bar:
        if stage.consumes and closed == expected:
            bar.close(found.values())
            return dict(found)
        run.store.discard(run.store.path(stage.name, ".all.done"))
        for _ in run.cluster.run(stage, cfg, [Task(None, print_)], bar.lost):
            pass
        made = run.store.receipts(stage.name)
        bar.close(made.values())
    mark = fingerprint(print_, sorted((p, r.digest) for p, r in made.items()))
    run.store.write_bytes(mark.encode(), stage.name, ".all.done")
    return made


def _stop_if_empty(run: _Run, noun: str) -> None:
    """A set without one usable image is an error, not an empty manifest."""
    if noun not in ("scanned", "sanitized"):
        return
    by_set: dict[str, list[Receipt]] = {}
    for part, receipt in run.receipts[noun].items():
        by_set.setdefault(_set_of(run.store, part), []).append(receipt)
    for name, receipts in by_set.items():
        kept, reasons = tally(receipts)
        if not kept and not (noun == "sanitized" and name != POOL):
            told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1]))
            raise RecipeError(f"no usable image in {_called(run.recipe, name)}: {told}")


def _set_of(store: Store, part: int) -> str:
    """A part belongs to exactly one set."""
    return store.part("sources", part, ["set"])["set"][0].as_py()


def _called(recipe: Recipe, name: str) -> str:
    kind, _, own = name.partition(":")
    return ", ".join(recipe.pool.sources) if name == POOL else f"{'seed' if kind == 'seed' else 'protected'} set {own}"
