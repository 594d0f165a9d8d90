"""The only file that knows Ray: a private local cluster or one that is joined, a pool of workers, one part per task.

A worker is an actor that reads a part, works and commits it; between driver and worker travel part numbers and
receipts, never images. One task is in flight per worker, so a worker that dies takes one part with it, which is tried
again elsewhere.
"""

from __future__ import annotations

import os
import secrets

# Ray reads these when it is imported: a private cluster stays on loopback, behind a token, and reports to nobody.
for _name, _value in {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}.items():
    os.environ.setdefault(_name, _value)

import logging
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from curation.stage import JournalStage, PartStage, PlannedStage, Stage, WholeStage
from curation.store import Receipt, Store
from pipelines import work

ATTEMPTS = 3  # workers that may die over one task before the run stops
TICK = 1.0  # seconds between looks at what workers are doing
STORE_BYTES = 80 * 2**20  # Ray's object store: receipts only, so the smallest it takes


class RunError(RuntimeError):
    """A run that cannot go on; the message is one line for the user. `trace` holds the worker's traceback."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


@dataclass(frozen=True)
class Task:
    """One part of a stage (part is its number), or a whole stage (part is None)."""

    part: int | None
    made_by: str


class Worker:
    """One actor. Keeps the tool of the stage it last worked for."""

    def __init__(self, url: str) -> None:
        self.store, self.ready, self.tool = Store(url), "", None

    def run(self, stage: Stage, cfg: Any, task: Task) -> list[Receipt] | tuple[str, str]:
        """Receipts, or (message, traceback) of what went wrong: exceptions of libraries need not survive a pickle."""
        try:
            if isinstance(stage, WholeStage):
                return self._whole(stage, cfg, task)
            if isinstance(stage, PlannedStage):
                return [self._planned(stage, cfg, task)]
            self._set_up(stage, cfg)
            threads(1)
            if isinstance(stage, JournalStage):
                return [work.run_journal(self.store, stage, self.tool, task.part or 0, task.made_by)]
            return [work.run_part(self.store, stage, cfg, self.tool, task.part or 0, task.made_by)]
        except Exception as error:
            return explain(error), traceback.format_exc()

    def _set_up(self, stage: PartStage, cfg: Any) -> None:
        also = () if isinstance(stage, JournalStage) else stage.also
        state = repr((stage.name, cfg, [self.store.receipts(noun) for noun in also]))
        if self.ready == state:
            return
        if isinstance(stage, JournalStage):
            self.tool = stage.setup(cfg, self.store.root)
        else:
            self.tool = stage.setup(cfg, {noun: self.store.parts(noun).whole() for noun in also})
        self.ready = state

    def _whole(self, stage: WholeStage, cfg: Any, task: Task) -> list[Receipt]:
        self.tool, self.ready = None, ""
        threads(os.cpu_count() or 1)
        return work.run_whole(self.store, stage, cfg, task.made_by)

    def _planned(self, stage: PlannedStage, cfg: Any, task: Task) -> Receipt:
        self.tool, self.ready = None, ""
        threads(1)
        return work.run_planned(self.store, stage, cfg, task.part or 0, task.made_by)


def threads(count: int) -> None:
    """Threads of torch and Faiss in this process, where a stage has brought them: a crawler needs neither."""
    torch, faiss = sys.modules.get("torch"), sys.modules.get("faiss")
    if torch:
        torch.set_num_threads(count)
    if faiss:
        faiss.omp_set_num_threads(count)


def _sweep() -> None:
    """Remove the temporary folders of runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob("curate-*-*"):
        owner = folder.name.split("-")[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def explain(error: BaseException) -> str:
    """An exception as one line."""
    text = str(error).strip().splitlines()
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    plain = isinstance(error, ValueError) and text
    return text[0] if plain else f"{type(error).__name__}: {text[0] if text else ''}"


def reason(error: BaseException) -> str:
    """The innermost cause of an error that Ray has wrapped, as one line."""
    failures = getattr(error, "worker_failures", None)
    cause = next(iter(failures.values())) if failures else getattr(error, "cause", None) or error.__cause__
    return reason(cause) if isinstance(cause, BaseException) else explain(error)


class Cluster:
    """Ray, started or joined, and a pool of workers on one run folder. Use as a context manager."""

    def __init__(self, url: str, workers: int | None = None, address: str | None = None) -> None:
        self.url, self.address = url, address
        self.workers = workers or 0
        self.pool: list[Any] = []
        self.temporary = ""

    def __enter__(self) -> Cluster:
        if self.address:
            ray.init(address=self.address, logging_level=logging.ERROR, log_to_driver=False)
        else:
            self._start_private()
        gpus = int(ray.cluster_resources().get("GPU", 0))
        self.device = "cuda" if gpus else "cpu"
        self.workers = self.workers or gpus or max(1, int(ray.cluster_resources()["CPU"]) - (0 if self.address else 1))
        options: Any = {"num_cpus": 1, "num_gpus": min(1.0, gpus / self.workers), "max_restarts": 0}
        self.actor: Any = ray.remote(**options)(Worker)
        return self

    def _start_private(self) -> None:
        """Quiet, without a dashboard, in a temporary folder of its own."""
        _sweep()
        self.temporary = tempfile.mkdtemp(prefix=f"curate-{os.getpid()}-")
        cores = max(self.workers, os.cpu_count() or 1)
        ray.init(
            address="local",
            num_cpus=cores + 1,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            object_store_memory=STORE_BYTES,
            _temp_dir=self.temporary,
        )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ray.shutdown()
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def run(
        self,
        stage: Stage,
        cfg: Any,
        tasks: Sequence[Task],
        lost: Callable[[Task], None] = lambda _: None,
        tick: Callable[[list[Task]], None] | None = None,
    ) -> Iterator[tuple[Task, list[Receipt]]]:
        """Work through `tasks`, yielding each with its receipts as it ends. Raises RunError.

        lost: told of every task whose worker died and that is tried again. tick: given the tasks at work about every second.
        """
        waiting, deaths = list(reversed(tasks)), dict.fromkeys(tasks, 0)
        running: dict[Any, tuple[Task, Any]] = {}
        while waiting or running:
            self._fill(running, waiting, stage, cfg)
            done, _ = ray.wait(list(running), num_returns=1, timeout=TICK)
            if tick:
                tick([task for task, _ in running.values()])
            if not done:
                continue
            task, worker = running.pop(done[0])
            try:
                result = ray.get(done[0])
            except (ActorDiedError, ActorUnavailableError) as error:
                self._bury(worker, task, deaths, f"{stage.name}{'' if task.part is None else f' part {task.part}'}", error)
                waiting.append(task)
                lost(task)
                continue
            except RayError as error:
                raise RunError(f"{stage.name}: {explain(error)}") from error
            self.pool.append(worker)
            if isinstance(result, tuple):
                raise RunError(f"{stage.name}: {result[0]}", result[1])
            yield task, result

    def train(self, work: Callable[[dict[str, Any]], None], told: dict[str, Any]) -> None:
        """`work(told)` in as many processes as there are workers, joined into one group of torch.distributed by Ray Train.

        If one is lost, all begin again, ATTEMPTS times in all: `work` goes on from what it left. Raises RunError.
        """
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpus = self.device == "cuda"
        with tempfile.TemporaryDirectory(prefix="curate-train-") as folder:
            how = RunConfig(name="train", storage_path=folder, failure_config=FailureConfig(max_failures=ATTEMPTS - 1))
            trainer = TorchTrainer(
                work,
                train_loop_config=told,
                torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
                scaling_config=ScalingConfig(num_workers=self.workers, use_gpu=gpus),
                run_config=how,
            )
            try:
                trainer.fit()
            except Exception as error:  # Ray's own kinds of error wrap the workers'
                raise RunError(f"the training failed: {reason(error)}", str(error)) from error

    def _fill(self, running: dict[Any, tuple[Task, Any]], waiting: list[Task], stage: Any, cfg: Any) -> None:
        while waiting and len(running) < self.workers:
            worker = self.pool.pop() if self.pool else self.actor.remote(self.url)
            task = waiting.pop()
            running[worker.run.remote(stage, cfg, task)] = (task, worker)

    def _bury(self, worker: Any, task: Task, deaths: dict[Task, int], what: str, error: RayError) -> None:
        ray.kill(worker)
        deaths[task] += 1
        if deaths[task] >= ATTEMPTS:
            why = "out of memory, or a file that crashes a decoder"
            raise RunError(f"{what}: {ATTEMPTS} workers died over it ({why})", str(error))
