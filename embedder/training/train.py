"""The training loop. Read `train` aloud; everything else is named after what it does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from embedder.training import checkpoint
from embedder.training.batches import Batches
from embedder.training.config import TrainConfig
from embedder.training.export import NAME, averaged, write
from embedder.training.gauges import memory, mfu
from embedder.training.learners import halved, learners
from embedder.training.loader import Batch, Loader
from embedder.training.logs import Log, line
from embedder.training.masks import masks
from embedder.training.optim import clip, schedule
from embedder.training.resident import Resident
from embedder.training.sharding import world
from embedder.training.student_teacher import GLOBALS, Losses, StudentTeacher, Views
from embedder.training.watch import knn_top1, told

UNSEEN = {"loop.log_every", "loop.checkpoint_every", "loop.keep", "loop.knn", "data.workers"}  # change nothing that is learned


@dataclass
class State:
    """A training under way."""

    cfg: TrainConfig
    pair: StudentTeacher
    optimizer: torch.optim.Optimizer
    batches: Loader
    device: torch.device
    folder: Path
    seen: dict[str, Any] = field(default_factory=dict)  # of the batches: what has to be kept to go on after the last one
    knn: dict[str, float] = field(default_factory=dict)  # step to top-1
    writing: checkpoint.Writing | None = None
    step: int = 0
    began: float = field(default_factory=time.monotonic)  # of the steps since the last line of the log
    since: int = 0


def train(
    cfg: TrainConfig, data: str, folder: Path, device: str = "cpu", *, run: str = "", say: Callable[[str], None] = print
) -> State:
    """Train to the last step of the schedule; a folder with checkpoints is gone on with. Every process calls this.

    data, run: as for read_manifest. Raises ValueError for what cannot be trained and for a folder that another training
    is at work on, and FloatingPointError when a loss is no longer a number.
    """
    state = begun(cfg, data, folder, device, run)
    with checkpoint.claimed(folder):
        state = resumed(state, say)
        log = Log(folder, state.step) if world()[0] == 0 else None
        images = Ahead(iter(state.batches))
        watch(state, log, say)
        while state.step < cfg.schedule.steps:
            losses = step(state, images)
            report(state, losses, log, say)
            if state.step % cfg.loop.checkpoint_every == 0 or state.step == cfg.schedule.steps:
                watch(state, log, say)
                save(state)
        finish(state)
        if log:
            log.close()
    return state


def step(state: State, images: Ahead) -> dict[str, Tensor]:
    """One step of the optimiser; what its losses were."""
    schedule(state.optimizer, state.cfg.plan, state.step)
    losses, keys = gradients(state, images)
    images.fetch()  # while the device works
    check_finite(losses, state.step, keys)
    clip(state.pair.student, state.cfg.optim.clip)
    state.optimizer.step()
    state.pair.update_average(state.cfg.plan.momentum(state.step))
    state.step += 1
    return losses


class Ahead:
    """Batches, of which the next one can be made before it is asked for."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches, self.ready = batches, list[Batch]()

    def fetch(self) -> None:
        self.ready.append(next(self.batches))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self.ready.pop() if self.ready else next(self.batches)


def begun(cfg: TrainConfig, data: str, folder: Path, device: str, run: str = "") -> State:
    """The state before the first step: the same weights in every process."""
    (rank, count), place = world(), torch.device(device)
    pair, optimizer = learners(cfg, place)
    how = {"batch": cfg.share(count), "seed": cfg.loop.seed, "rank": rank, "world": count, "run": run, "device": place}
    batches = (Resident if cfg.data.resident else Batches)(data, cfg.data, **how)
    return State(cfg, pair, optimizer, batches, place, folder)


def gradients(state: State, images: Ahead) -> tuple[dict[str, Tensor], list[str]]:
    """Gradients of one step's images, part by part; the means of its losses, and whose they are."""
    state.optimizer.zero_grad(set_to_none=True)
    sums, keys, count = dict[str, Tensor](), list[str](), state.cfg.loop.accumulate
    for part in range(count):
        batch = next(images)
        keys += batch.keys
        state.seen = batch.state
        losses = forward(state, batch, part)
        (losses.total / count).backward()
        for name, value in losses.parts().items():
            sums[name] = sums.get(name, 0) + value.detach() / count
    return sums, keys


def forward(state: State, batch: Batch, part: int = 0) -> Losses:
    """Losses of one part of a step."""
    cfg, (rank, count) = state.cfg, world()
    hidden = _hidden(cfg, batch, state.step, part, rank, count)
    views = Views(batch.globals_, batch.locals_, hidden)
    half = halved(cfg, state.device) and count == 1  # shards have a precision of their own
    with torch.autocast(state.device.type, torch.bfloat16, enabled=half):
        return state.pair.losses(views, cfg.plan.teacher_temperature(state.step))


def _hidden(cfg: TrainConfig, batch: Batch, step: int, part: int, rank: int, count: int) -> Tensor | None:
    """Masks of this process's global crops; None where nothing is hidden, as in a distillation."""
    if cfg.loop.teacher or not cfg.masks.share or not cfg.loss.ibot:
        return None
    images, every = len(batch.keys), len(batch.keys) * count
    crops = [crop * every + rank * images + image for crop in range(GLOBALS) for image in range(images)]
    grid = tuple(side // cfg.model.patch for side in batch.globals_.shape[2:])
    return masks(crops, GLOBALS * every, grid, cfg.masks, cfg.loop.seed, step * cfg.loop.accumulate + part)


def check_finite(losses: dict[str, Tensor], step: int, keys: list[str]) -> None:
    """Raises FloatingPointError, in every process, before anything has moved."""
    finite = torch.isfinite(torch.stack([value.float() for value in losses.values()])).tolist()
    bad = [name for name, good in zip(losses, finite, strict=True) if not good]
    told = torch.tensor([float(bool(bad))])
    if world()[1] > 1:
        told = told.to(next(iter(losses.values())).device)
        distributed.all_reduce(told)
    if told.item():
        here = f"{', '.join(bad)} of process {world()[0]}; its images: {', '.join(keys)}" if bad else "in another process"
        raise FloatingPointError(f"step {step}: a loss is not finite: {here}. Nothing was updated.")


def report(state: State, losses: dict[str, Tensor], log: Log | None, say: Callable[[str], None]) -> None:
    """A row of the log, means over all processes, every so often."""
    cfg = state.cfg
    if state.step % cfg.loop.log_every and state.step != cfg.schedule.steps:
        return
    if state.writing and state.writing.done():
        finish(state)
    values = torch.stack([value.float() for value in losses.values()])
    if world()[1] > 1:
        distributed.all_reduce(values)
    means = dict(zip(losses, (values / world()[1]).tolist(), strict=True))
    if log is None:
        return
    seconds, steps = time.monotonic() - state.began, state.step - state.since
    state.began, state.since = time.monotonic(), state.step
    rate = steps * cfg.loop.batch / seconds
    row = {"step": state.step, **means, "lr": cfg.plan.lr(state.step - 1), "images_per_s": round(rate, 2),
           "mfu": round(mfu(cfg, rate / world()[1], state.device), 4), "memory_gib": round(memory(state.device), 2),
           "skipped": sum(state.seen["skipped"].values())}  # fmt: skip
    log.add(row)
    say(line(row, cfg.schedule.steps))


def watch(state: State, log: Log | None, say: Callable[[str], None]) -> None:
    """k-NN top-1 at this step beside that of the start, where `loop.knn` asks for it."""
    if not state.cfg.loop.knn:
        return
    began = time.monotonic()
    if (now := str(state.step)) not in state.knn:
        state.knn[now] = knn_top1(state.pair, state.cfg, state.device)
        if log:
            log.add({"step": state.step, "knn": round(state.knn[now], 4)})
    if log:
        say(told(state.knn))
    state.began += time.monotonic() - began  # no time of the steps


def save(state: State) -> None:
    """Begin a checkpoint of everything that the next step depends on, once the one before is whole."""
    finish(state)
    loop = {"data": state.batches.digest, "batches": state.seen, "config": asdict(state.cfg), "knn": dict(state.knn)}
    rng = {"torch": torch.get_rng_state().tolist()} if world()[1] == 1 else {}
    learned = averaged(state.pair, state.cfg)
    args = (state.folder, state.step, state.pair, state.optimizer, {**loop, **rng}, state.cfg.loop.keep)
    state.writing = checkpoint.begin(*args, lambda folder: write(learned, state.cfg, folder / NAME))


def finish(state: State) -> None:
    """Wait for the checkpoint that is being written, if there is one."""
    if state.writing:
        state.writing.finish()
    state.writing = None


def resumed(state: State, say: Callable[[str], None] = print) -> State:
    """The state of the folder's last checkpoint, if it has one; says what of the config is another now. Raises ValueError if
    that was trained on other data, or further than is asked for."""
    saved = checkpoint.found(state.folder)
    if not saved:
        return state
    loop = checkpoint.load(saved[-1], state.pair, state.optimizer)
    if loop["data"] != state.batches.digest:
        raise ValueError(f"{state.folder} was trained on another manifest; train into another folder")
    if loop["step"] > state.cfg.schedule.steps:
        asked = state.cfg.schedule.steps
        raise ValueError(f"{state.folder} is at step {loop['step']}, and schedule.steps is {asked}; train into another folder")
    if (changed := changes(loop["config"], state.cfg)) and world()[0] == 0:
        say(f"goes on from step {loop['step']} with another config: {', '.join(changed)}")
    state.batches.load_state_dict(loop["batches"])
    if loop["config"]["loop"].get("knn") == list(state.cfg.loop.knn):  # figures of other images would be no comparison
        state.knn = loop["knn"]
    state.seen = loop["batches"]
    if "torch" in loop and world()[1] == 1:
        torch.set_rng_state(torch.tensor(loop["torch"], dtype=torch.uint8))
    state.step = state.since = int(loop["step"])
    return state


def changes(before: dict[str, Any], cfg: TrainConfig) -> list[str]:
    """What differs from the config of a checkpoint, as section.key before -> now; how it is watched aside."""
    now = json.loads(json.dumps(asdict(cfg)))  # tuples as they are read back
    return [
        f"{section}.{key} {before[section][key]} -> {value}"
        for section, values in now.items()
        for key, value in values.items()
        if f"{section}.{key}" not in UNSEEN and key in before.get(section, {}) and before[section][key] != value
    ]
