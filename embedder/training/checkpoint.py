"""A training on disk: shards of the pair and the optimiser, and where the loop was. Whole, or not there.

    RUN/train/step-00000500/  .metadata and *.distcp of torch.distributed.checkpoint, encoder.safetensors, loop.json, SHA256SUMS

Copied between two steps, written by threads under another name while the training goes on, and renamed when every process is
done. Read by any number of processes, which look at the checksums first. What goes wrong in one process is raised in all.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import distributed
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from curation.lock import locked
from curation.paths import one_line
from embedder.training import sums
from embedder.training.sharding import world
from embedder.training.student_teacher import StudentTeacher

warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is one process

T = TypeVar("T")

LOOP = "loop.json"
_GROUPS: dict[str, distributed.ProcessGroup] = {}


@dataclass
class Writing:
    """A checkpoint that threads are writing while the training goes on. One at a time."""

    final: Path
    waiting: Path
    keep: int
    written: Future[dict[str, str]]  # checksums of this process's files

    def done(self) -> bool:
        """Whether all processes have written theirs; every process asks."""
        told = torch.tensor([float(self.written.done())])
        if world()[1] > 1:
            distributed.all_reduce(told, distributed.ReduceOp.MIN, group=_group("asking"))
        return bool(told.item())

    def finish(self) -> Path:
        """Wait until it is whole and give it its name; every process calls this. Raises OSError, in one line, for what went
        wrong in writing it, in whichever process."""
        said, summed = _tried(self.written.result)
        told = _gathered((said, summed or {}))
        self._stop_at([said for said, _ in told])
        everything = {name: value for _, sums_ in told for name, value in sums_.items()}
        self._stop_at(_gathered(_tried(lambda: self._name(everything))[0] if world()[0] == 0 else ""))
        return self.final

    def _name(self, everything: dict[str, str]) -> None:
        sums.write(self.waiting, everything)
        shutil.rmtree(self.final, ignore_errors=True)
        self.waiting.rename(self.final)
        for old in found(self.final.parent)[: -self.keep]:
            shutil.rmtree(old)

    def _stop_at(self, told: list[str]) -> None:
        if said := next(filter(None, told), ""):
            shutil.rmtree(self.waiting, ignore_errors=True)
            raise OSError(f"checkpoint {self.final} could not be written: {said}")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder for one training. Every process calls this; the first one holds it. Raises ValueError in all of them."""
    with ExitStack() as held:
        said = ""
        if world()[0] == 0:
            try:
                held.enter_context(locked(folder / ".lock", f"another training is at work on {folder}"))
            except (ValueError, OSError) as error:
                said = str(error)
        if said := _gathered(said)[0]:
            raise ValueError(said)
        yield


def begin(
    folder: Path,
    step: int,
    pair: StudentTeacher,
    optimizer: torch.optim.Optimizer,
    loop: dict[str, Any],
    keep: int,
    result: Callable[[Path], Any],
) -> Writing:
    """Copy what a checkpoint holds and begin to write it; every process calls this. loop: what JSON can hold. keep:
    checkpoints that stay once it is whole. result: called by a thread of the first process, with the folder that it writes what
    has been learned into; it may use nothing that moves."""
    final, waiting = folder / f"step-{step:08d}", folder / f".step-{step:08d}.tmp"
    rank, count = world()
    if rank == 0:
        for left in folder.glob(".step-*.tmp"):  # of a training that was killed
            shutil.rmtree(left, ignore_errors=True)
        waiting.mkdir(parents=True)
    _meet()
    model, optim = get_state_dict(pair, optimizer)
    alone = {"no_dist": True} if count == 1 else {"process_group": _group("writing")}
    shards = cast("Future[Any]", dcp.async_save({"pair": model, "optim": optim}, checkpoint_id=waiting, **alone))

    def rest() -> dict[str, str]:
        try:
            if rank == 0:
                (waiting / LOOP).write_text(json.dumps({"step": step, **loop}, indent=1))
                result(waiting)
        finally:
            shards.result()  # nobody writes any more when it fails
        return sums.of([path for path in waiting.iterdir() if path.name.startswith(f"__{rank}_") or _shared(path, rank)])

    thread = ThreadPoolExecutor(1, "written")
    written = thread.submit(rest)
    thread.shutdown(wait=False)
    return Writing(final, waiting, keep, written)


def _shared(path: Path, rank: int) -> bool:
    """Whether a file is no process's shard, and this is the process that counts those."""
    return rank == 0 and not path.name.startswith("__")


def _tried(what: Callable[[], T]) -> tuple[str, T | None]:
    """What went wrong, in one line, or ""; and what was returned."""
    try:
        return "", what()
    except (Exception, dcp.api.CheckpointException) as error:  # a full disk is many kinds of error
        return _why(error), None


def _gathered(told: T) -> list[T]:
    """What every process has to tell; all of them call this."""
    all_ = [told] * world()[1]
    if world()[1] > 1:
        distributed.all_gather_object(all_, told, group=_group("asking"))
    return all_


def _group(use: str) -> distributed.ProcessGroup:
    """Processes on their CPUs, a group for each use: threads that write must not get between the collectives of a step, nor
    between the questions whether they are done, since a group takes its collectives in one order in all processes."""
    if use not in _GROUPS:
        _GROUPS[use] = cast(distributed.ProcessGroup, distributed.new_group(backend="gloo"))
    return _GROUPS[use]


def load(path: Path, pair: StudentTeacher, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Fill the pair and the optimiser from a checkpoint; what `loop` was. Raises ValueError if it is damaged, or of another
    model."""
    loop = loop_of(path)
    model, optim = get_state_dict(pair, optimizer)
    state = {"pair": model, "optim": optim}
    held = fill(state, path, alone=world()[1] == 1)
    if more := {name for name in held if name.startswith("pair.")} - {f"pair.{name}" for name in model}:
        raise ValueError(f"{path} is a checkpoint of another model: this one has no {min(more).removeprefix('pair.')}")
    set_state_dict(pair, optimizer, model_state_dict=state["pair"], optim_state_dict=state["optim"])
    return loop


def loop_of(path: Path) -> dict[str, Any]:
    """What `loop` was. Raises ValueError if the file is damaged."""
    try:
        if (told := sums.read(path)) is not None:
            sums.compare(path, told, [LOOP])
        return dict(json.loads((path / LOOP).read_text()))
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{path} is damaged: {LOOP}: {one_line(error)}") from error


def _compare(path: Path, rank: int, count: int) -> None:
    """Every `count`-th file with its checksum, from the `rank`-th on; those that are read must have one."""
    if (told := sums.read(path)) is not None:
        names = {*told, ".metadata", LOOP, *(one.name for one in path.glob("*.distcp"))}
        sums.compare(path, told, sorted(names)[rank::count])


def fill(state: dict[str, Any], path: Path, *, alone: bool) -> set[str]:
    """Tensors of a checkpoint into those of `state`; the names of all that it holds. alone: by this process only. Raises
    ValueError, as `load`."""
    reader = dcp.FileSystemReader(path)
    said, _ = _tried(lambda: _compare(path, *((0, 1) if alone else world())))
    if said := next(filter(None, [said] if alone else _gathered(said)), ""):
        raise ValueError(f"{path} is damaged: {said}")
    try:
        held = set(reader.read_metadata().state_dict_metadata)  # its own error: `load` would look for other files and log it
        dcp.load(state, storage_reader=reader, no_dist=alone)
    except (Exception, dcp.api.CheckpointException) as error:  # a damaged pickle raises any kind
        raise ValueError(f"{path} is damaged, or a checkpoint of another model: {_why(error)}") from error
    return held


def _why(error: BaseException) -> str:
    """One line of an error, or of the first of those that the processes had."""
    if isinstance(error, dcp.api.CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    kind, said = type(error).__name__, one_line(error)
    return said if said == kind or isinstance(error, sums.Differs) else f"{kind}: {said}"


def found(folder: Path) -> list[Path]:
    """Whole checkpoints, the oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / LOOP).exists())


def _meet() -> None:
    if world()[1] > 1:
        distributed.barrier()
