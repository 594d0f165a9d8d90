"""Reading ahead: the next piece is read while one is worked on, so that disk and arithmetic overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Name = TypeVar("Name")
Piece = TypeVar("Piece")


def ahead(read: Callable[[Name], Piece], names: Iterable[Name]) -> Iterator[tuple[Name, Piece]]:
    """(name, read(name)) in order. A second piece is in memory meanwhile; what `read` raises, the turn of its piece raises."""
    with ThreadPoolExecutor(1, "ahead") as reader:
        coming = None
        for name in names:
            following = (name, reader.submit(read, name))
            if coming:
                yield coming[0], coming[1].result()
            coming = following
        if coming:
            yield coming[0], coming[1].result()
