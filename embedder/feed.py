"""Encoded pictures to features at the rate of the network: threads decode the next piece while a GPU is at the last one.

Pillow and the resizing let go of Python's lock. A piece is decoded only when the one before it is taken (back-pressure), into
pinned memory that three pieces share in turn; it becomes numbers on the device.

Letters: N pictures, B of a piece, S pixels, E output width.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from curation.decode import Reject, decode
from embedder.forward import LOG, Forward

START = 2  # decoders
BUFFERS = 3
ALL_AT_ONCE = 256  # pictures of a piece where the network takes any number

Rejects = dict[int, Reject]


@dataclass
class Piece:
    """Pictures from `start` on in (B, 3, S, S) uint8; zeros in place of those that cannot be decoded."""

    start: int
    image_B3SS: Tensor
    rejects: Rejects = field(default_factory=dict)
    copied: torch.cuda.Event | None = None  # when the device has the pixels


class Feed:
    """Decoders before a network. `decoders`: how many work at a time; it grows while the network waits for them."""

    def __init__(self, forward: Forward, most: int = 0) -> None:
        self.forward, self.most = forward, most or cores()
        self.decoders = min(START, self.most)
        self._pool = ThreadPoolExecutor(self.most, "decoder", _one_thread_each)
        self._buffers: list[Tensor] = []

    @torch.inference_mode()
    def __call__(self, data: Sequence[bytes | None], side: int, fit: str) -> tuple[Tensor, Rejects]:
        """(N, E) float32 on the CPU, rows of unit length, and the pictures that could not be decoded, whose rows mean nothing.

        fit: as of `curation.decode.decode`, one that makes a square.
        """
        features: list[Tensor] = []
        rejects: Rejects = {}
        done: torch.cuda.Event | None = None
        for piece in self._pieces(data, side, fit):
            rejects |= piece.rejects
            if features and (done is None or done.query()):
                self._more()
            pixels = piece.image_B3SS.to(self.forward.device, non_blocking=True)
            piece.copied = self._mark()
            features.append(functional.normalize(self.forward(pixels), dim=1))
            done = self._mark()
        return torch.cat(features).cpu() if features else torch.empty(0), rejects

    def _pieces(self, data: Sequence[bytes | None], side: int, fit: str) -> Iterator[Piece]:
        """In order, each decoded while the one before it is used."""
        size = self.forward.piece(side, side) or ALL_AT_ONCE
        used: list[Piece] = []
        ahead = self._start(data, 0, size, side, fit, used)
        while ahead:
            piece, work = ahead
            for future in work:
                piece.rejects |= future.result()
            used.append(piece)
            ahead = self._start(data, piece.start + size, size, side, fit, used)
            yield piece

    def _start(
        self, data: Sequence[bytes | None], start: int, size: int, side: int, fit: str, used: list[Piece]
    ) -> tuple[Piece, list[Future[Rejects]]] | None:
        """Sets the decoders to work on a piece, in the buffer that has been free for longest."""
        some = data[start : start + size]
        if not some:
            return None
        if len(used) >= BUFFERS and (copied := used[-BUFFERS].copied):
            copied.synchronize()
        piece = Piece(start, self._buffer(start // size, size, side)[: len(some)])
        numbers = iter(range(len(some)))  # every decoder takes the next picture that none has
        work = [self._pool.submit(_decode, some, numbers, piece, side, fit) for _ in range(self.decoders)]
        return piece, work

    @torch.inference_mode(False)  # the decoders write into it from threads of their own
    def _buffer(self, number: int, size: int, side: int) -> Tensor:
        shape = (size, 3, side, side)
        if not self._buffers or self._buffers[0].shape != shape:
            pinned = self.forward.device.type == "cuda"
            self._buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=pinned) for _ in range(BUFFERS)]
        return self._buffers[number % BUFFERS]

    def _more(self) -> None:
        """The network had nothing to do when a piece was ready."""
        grown = min(self.most, self.decoders + (self.decoders + 1) // 2)
        if grown > self.decoders:
            LOG.info("the network waits: %d decoders in place of %d", grown, self.decoders)
            self.decoders = grown

    def _mark(self) -> torch.cuda.Event | None:
        if self.forward.device.type != "cuda":
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.forward.device))
        return event


def cores() -> int:
    """Cores of this process, divided among the machine's GPUs."""
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return max(1, len(os.sched_getaffinity(0)) // max(1, gpus))


def _decode(data: Sequence[bytes | None], numbers: Iterator[int], piece: Piece, side: int, fit: str) -> Rejects:
    rejects: Rejects = {}
    for number in numbers:
        try:
            piece.image_B3SS[number] = decode(data[number] or b"", side, fit)
        except Reject as reject:
            piece.image_B3SS[number] = 0
            rejects[piece.start + number] = reject
    return rejects


def _one_thread_each() -> None:
    torch.set_num_threads(1)
