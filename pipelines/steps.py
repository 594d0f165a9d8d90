"""Working through a list of steps, part by part, doing only what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curation.stage import JournalStage, PartStage, PlannedStage, RoundsStage, Stage, WholeStage
from curation.store import Receipt, Store, fingerprint
from pipelines.config import Recipe, plain
from pipelines.flow import Step
from pipelines.live import Live
from pipelines.progress import Bar, Progress
from pipelines.runner import Cluster, Task


@dataclass
class Job:
    """The state of one run or crawl: where, by whom, and what every noun looks like so far."""

    store: Store
    recipe: Recipe
    cluster: Cluster
    progress: Progress
    receipts: dict[str, dict[int, Receipt]] = field(default_factory=dict[str, dict[int, Receipt]])


def do(job: Job, step: Step) -> None:
    """Bring one noun up to date."""
    cfg = step.config(job.recipe)
    stage = step.stage
    made_by = recipe_print(stage, cfg)
    found = job.store.receipts(stage.name)
    if isinstance(stage, WholeStage):
        job.receipts[stage.name] = _whole(job, stage, cfg, made_by, found)
    elif isinstance(stage, RoundsStage):
        job.receipts[stage.name] = _rounds(job, stage, cfg, made_by, found)
    elif isinstance(stage, PlannedStage):
        job.receipts[stage.name] = _planned(job, stage, cfg, made_by, found)
    else:
        job.receipts[stage.name] = _parts(job, stage, cfg, made_by, found)


def recipe_print(stage: Stage, cfg: Any) -> str:
    """The hash of what a stage does, whatever it is given: name, version, config, weights."""
    if isinstance(stage, JournalStage):
        return fingerprint(stage.name, stage.version)
    return fingerprint(stage.name, stage.version, plain(cfg), stage.weights(cfg))


def part_prints(job: Job, stage: PartStage, made_by: str) -> dict[int, str]:
    """The fingerprint that each part of a stage must carry, given what it is made from."""
    also = () if isinstance(stage, JournalStage) else stage.also
    side = [[r.digest for r in job.receipts[noun].values()] for noun in also]
    parts = job.receipts[stage.consumes[0]]
    return {p: fingerprint(made_by, [job.receipts[n][p].digest for n in stage.consumes], side) for p in parts}


def _parts(job: Job, stage: PartStage, cfg: Any, made_by: str, found: Mapping[int, Receipt]) -> dict[int, Receipt]:
    """Parts whose receipt carries another fingerprint, or none, are done again."""
    prints = part_prints(job, stage, made_by)
    parts = list(prints)
    done = {p: found[p] for p in parts if p in found and found[p].fingerprint == prints[p]}
    tasks = [Task(p, prints[p]) for p in parts if p not in done]
    expected = {p: job.receipts[stage.consumes[0]][p].kept for p in parts}
    with job.progress.stage(stage.name, sum(expected.values()), sum(expected[p] for p in done)) as bar:
        journaled = isinstance(stage, JournalStage)
        live = Live(job.store, stage, bar, job.recipe.crawl.alarm_below, done.values()) if journaled else None
        for task, (receipt,) in job.cluster.run(stage, cfg, tasks, bar.lost, live.look if live else None):
            done[task.part or 0] = receipt
            live.finish(receipt) if live else bar.advance(expected[task.part or 0])
        job.store.trim(stage.name, set(parts))
        if stage.tar:
            job.store.trim(stage.tar.rpartition("/")[0], set(parts))
        bar.close(done.values())
    return dict(sorted(done.items()))


def _all_inputs(job: Job, stage: WholeStage | PlannedStage | RoundsStage, made_by: str) -> str:
    """The fingerprint of what is made from every part of every noun consumed."""
    return fingerprint(made_by, [[r.digest for r in job.receipts[noun].values()] for noun in stage.consumes])


def _planned(job: Job, stage: PlannedStage, cfg: Any, made_by: str, found: Mapping[int, Receipt]) -> dict[int, Receipt]:
    """The parts of the plan that do not carry the fingerprint of all inputs are made, each by a task."""
    print_ = _all_inputs(job, stage, made_by)
    with job.progress.stage(stage.name, None, 0) as bar:
        done = _made(job, stage, cfg, print_, found, bar)
        bar.close(done.values())
    return done


def _made(
    job: Job, stage: PlannedStage, cfg: Any, print_: str, found: Mapping[int, Receipt], bar: Bar
) -> dict[int, Receipt]:  # fmt: skip
    parts = stage.plan({noun: job.store.parts(noun) for noun in stage.consumes}, cfg)
    done = {p: found[p] for p in parts if p in found and found[p].fingerprint == print_}
    for task, (receipt,) in job.cluster.run(stage, cfg, [Task(p, print_) for p in parts if p not in done], bar.lost):
        done[task.part or 0] = receipt
        bar.advance(receipt.rows)
    job.store.trim(stage.name, set(parts))
    return dict(sorted(done.items()))


def _rounds(job: Job, stage: RoundsStage, cfg: Any, made_by: str, found: Mapping[int, Receipt]) -> dict[int, Receipt]:
    """Done again unless its parts carry the fingerprint of all inputs; rounds that were committed are not done again."""
    print_ = _all_inputs(job, stage, made_by)
    with job.progress.stage(stage.name, None, 0) as bar:
        if found and all(receipt.fingerprint == print_ for receipt in found.values()):
            bar.close(found.values())
            return dict(found)
        number = -1
        while number < 0 or not stage.ended(number, job.store):
            number += 1
            for each in stage.rounds(number):
                _scratch(job, each, cfg, print_, bar)
        *before, noun = stage.last(number)
        for each in before:
            _scratch(job, each, cfg, print_, bar)
        made = _made(job, noun, cfg, print_, found, bar)
        bar.close(made.values())
    job.store.discard_folder(stage.scratch)
    job.receipts = {noun: receipts for noun, receipts in job.receipts.items() if not noun.startswith(stage.scratch)}
    return made


def _scratch(job: Job, stage: PlannedStage, cfg: Any, made_by: str, bar: Bar) -> None:
    """What was committed of it is not done again."""
    own = fingerprint(made_by, stage.name, [[r.digest for r in job.receipts[noun].values()] for noun in stage.consumes])
    job.receipts[stage.name] = _made(job, stage, cfg, own, job.store.receipts(stage.name), bar)


def _whole(job: Job, stage: WholeStage, cfg: Any, made_by: str, found: Mapping[int, Receipt]) -> dict[int, Receipt]:
    """Done again unless every part there is carries the fingerprint, and a list of them was closed with it."""
    print_ = _all_inputs(job, stage, made_by)
    closed = job.store.read_bytes(stage.name, ".all.done")
    expected = fingerprint(print_, sorted((p, r.digest) for p, r in found.items())).encode()
    with job.progress.stage(stage.name, None, 0) as bar:
        if stage.consumes and closed == expected:
            bar.close(found.values())
            return dict(found)
        job.store.discard(job.store.path(stage.name, ".all.done"))
        for _ in job.cluster.run(stage, cfg, [Task(None, print_)], bar.lost):
            pass
        made = job.store.receipts(stage.name)
        bar.close(made.values())
    mark = fingerprint(print_, sorted((p, r.digest) for p, r in made.items()))
    job.store.write_bytes(mark.encode(), stage.name, ".all.done")
    return made
