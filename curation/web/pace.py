"""Per-host turns that hold for every crawler of a machine: one file of time slots, mapped into each of them.

A host's slot says when it may next be asked (seconds since the epoch). Taking a turn is a locked read and write of eight
bytes, done at the moment of asking: a crawler that comes late moves the next turn back instead of meeting it. Two hosts
may share a slot; then they share a turn, which is slower and never ruder.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Callable

SLOTS = 1 << 20  # 8 MiB
FAR = 86_400.0  # seconds; a slot further ahead than this is not believed

Step = Callable[[float, float], tuple[float, float]]  # (free, now) -> (answer, free from now on)


class HostClock:
    """Turns by host, shared through the file at `path` (made if needed)."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.posix_fallocate(self.file, 0, SLOTS * 8)  # a hole that finds no room on the disk later would end the process
        self.slots = mmap.mmap(self.file, SLOTS * 8)

    def take(self, host: str, delay: float) -> bool:
        """Whether this is a turn at `host`: it is taken then, and the next one comes `delay` seconds from now."""
        return self._move(host, lambda free, now: (0.0, free) if free > now else (1.0, now + delay)) > 0

    def hold(self, host: str, until: float) -> None:
        """No further turn before `until`."""
        self._move(host, lambda free, _: (free, max(free, until)))

    def free_at(self, host: str) -> float:
        """When the next turn would be."""
        return self._move(host, lambda free, _: (free, free))

    def _move(self, host: str, step: Step) -> float:
        at = 8 * (int.from_bytes(hashlib.blake2b(host.encode(), digest_size=8).digest(), "little") % SLOTS)
        fcntl.lockf(self.file, fcntl.LOCK_EX, 8, at)
        try:
            now = time.time()
            (free,) = struct.unpack_from("<d", self.slots, at)
            answer, after = step(0.0 if free > now + FAR else free, now)
            struct.pack_into("<d", self.slots, at, after)
            return answer
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 8, at)

    def close(self) -> None:
        self.slots.close()
        os.close(self.file)
