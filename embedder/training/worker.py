"""A process that reads, decodes and crops: images in, pixels into memory that it shares with the trainer.

`python -m embedder.training.worker SOCKET MEMORY` (two inherited descriptors); it ends when the socket is closed, so
none outlives its trainer. Messages: first a Share, or what else has `bytes` and `done`, then lists of Task, each answered
by a list of reasons, or what else `done` has to say.

Letters: C crops of an image, B images of a buffer, G l sides of global and local crops.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from curation.decode import Reject
from curation.paths import filesystem
from embedder.training.crops import GLOBALS, CropConfig, cut
from embedder.training.manifest import Ref

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Share:
    """What a worker has to know once. images: of a buffer."""

    cfg: CropConfig
    seed: int
    images: int
    buffers: int

    @property
    def buffer_bytes(self) -> int:
        return self.images * self.cfg.image_bytes

    @property
    def bytes(self) -> int:
        return self.buffers * self.buffer_bytes

    def done(self, tasks: Sequence[Task], memory: Any) -> list[str | None]:
        return work(tasks, memory, self)


class Task(NamedTuple):
    """One image: whose crops go to place `image` of a buffer. position: in the order of the training."""

    buffer: int
    image: int
    position: int
    ref: Ref


class Errand(Protocol):
    """What a worker has to know once. bytes: of the shared memory."""

    @property
    def bytes(self) -> int: ...

    def done(self, tasks: Sequence[Any], memory: Any) -> Any:
        """The answer to a message."""


def views(memory: Any, share: Share, buffer: int) -> tuple[Pixels, Pixels]:
    """(2, B, 3, G, G) and (C - 2, B, 3, l, l) of a buffer of the shared memory."""
    cfg, images = share.cfg, share.images
    wide = (GLOBALS, images, 3, cfg.global_side, cfg.global_side)
    near = (cfg.locals_, images, 3, cfg.local_side, cfg.local_side)
    start = buffer * share.buffer_bytes
    middle = start + int(np.prod(wide))
    flat = np.frombuffer(memory, np.uint8)
    return flat[start:middle].reshape(wide), flat[middle : start + share.buffer_bytes].reshape(near)


def work(tasks: Sequence[Task], memory: Any, share: Share) -> list[str | None]:
    """Crops of tasks of one buffer into the memory; per task None, or the reason why its image is no use."""
    found, home = fetched([task.ref for task in tasks]), views(memory, share, tasks[0].buffer)
    return [_crops(task, data, home, share) for task, data in zip(tasks, found, strict=True)]


def _crops(task: Task, data: bytes | None, home: tuple[Pixels, Pixels], share: Share) -> str | None:
    if data is None:
        return "source_missing"
    globals_, locals_ = home
    try:
        for crop, pixels in enumerate(cut(data, share.cfg, share.seed, task.position)):
            kind, at = (globals_, crop) if crop < GLOBALS else (locals_, crop - GLOBALS)
            kind[at, task.image] = pixels
    except Reject as reject:
        return reject.reason
    return None


def fetched(refs: Sequence[Ref]) -> list[bytes | None]:
    """Encoded bytes; None where they cannot be had whole. Ranges of one file system are asked for at once."""
    out: list[bytes | None] = [None] * len(refs)
    for at, ref in enumerate(refs):
        if ref.member is not None:
            out[at] = _member(ref)
        elif ref.uri.startswith("/"):
            out[at] = _local(ref)
    plain = [at for at, ref in enumerate(refs) if ref.member is None and not ref.uri.startswith("/")]
    opened = {at: _opened(refs[at].uri) for at in plain}
    for fs in {id(one[0]): one[0] for one in opened.values() if one}.values():
        here = [at for at in plain if (one := opened[at]) and one[0] is fs]
        for at, data in zip(here, _ranges(fs, [(opened[at][1], refs[at]) for at in here]), strict=True):
            out[at] = data
    return out


def _opened(uri: str) -> tuple[Any, str] | None:
    try:
        return filesystem(uri)
    except (OSError, ValueError, ImportError):
        return None


def _ranges(fs: Any, wanted: list[tuple[str, Ref]]) -> list[bytes | None]:
    starts = [ref.offset for _, ref in wanted]
    ends = [None if ref.length is None else ref.offset + ref.length for _, ref in wanted]
    found = fs.cat_ranges([path for path, _ in wanted], starts, ends, on_error="return")
    return [
        bytes(data) if not isinstance(data, Exception) and ref.length in (None, len(data)) else None
        for data, (_, ref) in zip(found, wanted, strict=True)
    ]


def _local(ref: Ref) -> bytes | None:
    """A file of this machine: in a third of the time that fsspec takes."""
    try:
        with open(ref.uri, "rb", buffering=0) as file:
            file.seek(ref.offset)
            data = file.read(-1 if ref.length is None else ref.length)
    except (OSError, ValueError):
        return None
    return data if data is not None and ref.length in (None, len(data)) else None


def _member(ref: Ref) -> bytes | None:
    from curation.sources import read_bytes

    row = {"uri": [ref.uri], "member": [ref.member], "offset": [ref.offset], "length": [ref.length]}
    return read_bytes(pa.table(row))[0]


def main(socket: int, memory: int) -> None:
    """Work until the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer's own affair; it closes the socket
    torch.set_num_threads(1)
    trainer = Connection(socket)
    try:
        share: Errand = trainer.recv()
        shared = mmap.mmap(memory, share.bytes)
        os.close(memory)
        while True:
            tasks = trainer.recv()
            try:
                trainer.send(share.done(tasks, shared))
            except Exception:
                uris = [getattr(task, "ref", task).uri for task in tasks]
                trainer.send(f"{traceback.format_exc()}while at {', '.join(uris)}")
                return
    except (EOFError, ConnectionError):
        return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
