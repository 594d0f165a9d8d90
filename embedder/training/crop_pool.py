"""Batches of crops in order, made ahead of time by worker processes.

Crops lie in one piece of shared memory, a buffer per batch under way; only names of images and reasons go through
sockets. A thread per worker keeps it busy, whatever the trainer is doing. A slot whose image is no use is given the
next candidate of that slot, by whichever worker is free.
"""

from __future__ import annotations

import mmap
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection

from embedder.training.manifest import Ref
from embedder.training.worker import Errand, Pixels, Share, Task, views, work

CHUNK = 8  # images of a message, at most
FLYING = 2  # messages with a worker: one that it works on and the next
ATTEMPTS = 100  # candidates of one slot
Candidates = Callable[[int, Sequence[int], int], list[Ref]]  # (batch, places in it, attempt) -> where the images are


@dataclass
class Job:
    """A batch under way. attempts: by place, how many candidates were no use."""

    number: int
    buffer: int
    positions: Sequence[int]
    attempts: list[int]
    left: int
    skipped: Counter[str] = field(default_factory=Counter)


class Workers:
    """Processes that are getting ready, and the memory that they write to. They end when nobody holds this any more."""

    def __init__(self, share: Errand, count: int) -> None:
        file = _memory(share.bytes)
        self.memory = mmap.mmap(file, share.bytes)
        self.each = [_start(file) for _ in range(count)]
        os.close(file)


class CropPool:
    """The batches of workers; without any, everything is done in `finished`, by the caller."""

    def __init__(self, share: Share, workers: Workers, candidates: Candidates) -> None:
        self.share, self.memory, self.workers, self.candidates = share, workers.memory, workers.each, candidates
        self.free, self.jobs = list(range(self.share.buffers)), deque[Job]()
        self.tasks: queue.PriorityQueue[tuple[int, int, list[Task] | None]] = queue.PriorityQueue()
        self.turn, self.changed, self.error = count(), threading.Condition(), ""
        self.numbers, self.closed = dict[int, Job](), False
        self.threads = [threading.Thread(target=self._drive, args=one, daemon=True) for one in self.workers]
        for thread in self.threads:
            thread.start()

    def start(self, number: int, positions: Sequence[int]) -> None:
        """Begin batch `number`, of the images at these positions of the order; `free` has to have a buffer."""
        job = Job(number, self.free.pop(), positions, [0] * len(positions), len(positions))
        self.jobs.append(job)
        self.numbers[job.buffer] = job
        self._ask(job, range(len(positions)), 0)

    def _ask(self, job: Job, places: Sequence[int], attempt: int) -> None:
        """Put images on the list: the candidates of these places whose turn it is."""
        refs = self.candidates(job.number, places, attempt)
        tasks = [Task(job.buffer, at, job.positions[at], ref) for at, ref in zip(places, refs, strict=True)]
        step = min(CHUNK, max(1, len(tasks) // (2 * len(self.workers) or 1)))  # all workers have a part of a small batch
        for first in range(0, len(tasks), step):
            self.tasks.put((job.number, next(self.turn), tasks[first : first + step]))

    def finished(self) -> tuple[Job, Pixels, Pixels]:
        """The oldest batch, once it is whole, and its pixels, which stay until `release`. Raises RuntimeError, ValueError."""
        job = self.jobs[0]
        while not self.workers and job.left:
            tasks = self.tasks.get()[2] or []
            self._done(tasks, work(tasks, self.memory, self.share))
        with self.changed:
            self.changed.wait_for(lambda: not job.left or self.error)
        if self.error:
            raise RuntimeError(self.error)
        return job, *views(self.memory, self.share, job.buffer)

    def release(self) -> None:
        """The oldest batch's buffer may be written to again."""
        self.free.append(self.jobs.popleft().buffer)

    def _done(self, tasks: list[Task], reasons: list[str | None]) -> None:
        """Count what came of some tasks, and ask again for the slots whose images were no use."""
        job = self.numbers[tasks[0].buffer]
        bad = [(task, reason) for task, reason in zip(tasks, reasons, strict=True) if reason]
        with self.changed:
            for task, reason in bad:
                self._again(job, task, reason)
            job.left -= len(tasks) - len(bad)
            self.changed.notify_all()

    def _again(self, job: Job, task: Task, reason: str) -> None:
        job.skipped[reason] += 1
        job.attempts[task.image] += 1
        if job.attempts[task.image] >= ATTEMPTS:
            raise no_use(task.ref, job.skipped)
        self._ask(job, [task.image], job.attempts[task.image])

    def _drive(self, worker: subprocess.Popen[bytes], link: Connection) -> None:
        """One worker's thread."""
        flying = deque[list[Task]]()
        try:
            link.send(self.share)
            while self._feed(link, flying):
                reasons = link.recv()
                if isinstance(reasons, str):
                    raise RuntimeError(f"a data worker failed:\n{reasons}")
                self._done(flying.popleft(), reasons)
        except (EOFError, OSError):
            self._fail(death(worker, [task.ref.uri for task in flying[0]] if flying else []))
        except Exception as error:
            self._fail(str(error))

    def _feed(self, link: Connection, flying: deque[list[Task]]) -> bool:
        """Send until FLYING messages are with the worker; wait for one only if there is none. False: the end."""
        while len(flying) < FLYING:
            try:
                tasks = self.tasks.get(block=not flying)[2]
            except queue.Empty:
                break
            if tasks is None:
                return False
            flying.append(tasks)
            link.send(tasks)
        return True

    def _fail(self, why: str) -> None:
        with self.changed:
            self.error = self.error or ("" if self.closed else why)
            self.changed.notify_all()

    def close(self) -> None:
        """End all workers and wait for them; a dying interpreter leaves that to the sockets."""
        if sys.is_finalizing():
            return
        self.closed = True
        for _ in self.workers:
            self.tasks.put((-1, next(self.turn), None))
        for thread, (worker, link) in zip(self.threads, self.workers, strict=True):
            thread.join(timeout=0.2)
            worker.terminate()
            worker.wait()
            thread.join()
            link.close()


def no_use(last: Ref, skipped: Counter[str]) -> ValueError:
    """What is told when ATTEMPTS candidates of a slot were of no use."""
    told = ", ".join(f"{name} {times}" for name, times in skipped.most_common())
    return ValueError(f"{ATTEMPTS} images in a row are no use, the last one {last.uri}: {told}")


def _memory(size: int) -> int:
    """A descriptor of shared memory that has no name and so leaves nothing behind."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("crops")
    else:
        with tempfile.TemporaryFile() as unnamed:
            file = os.dup(unnamed.fileno())
    os.ftruncate(file, size)
    return file


def _start(memory: int) -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "embedder.training.worker", str(theirs.fileno()), str(memory)]
        room = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        worker = subprocess.Popen(command, pass_fds=(theirs.fileno(), memory), env=room, stdin=subprocess.DEVNULL)
    return worker, Connection(ours.detach())


def death(worker: subprocess.Popen[bytes], uris: Sequence[str]) -> str:
    """What is told of a worker that hung up while at some images."""
    try:
        code = worker.wait(timeout=5)
    except subprocess.TimeoutExpired:
        code = None
    memory = " (out of memory?)" if code == -9 else ""
    end = f"was ended by signal {-code}{memory}" if code and code < 0 else f"ended with {code}"
    return f"a data worker {end}" + (f" while at {', '.join(uris)}" if uris else "")
