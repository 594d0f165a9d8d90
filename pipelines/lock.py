"""One run at a time on a run folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curation.store import Store
from pipelines.config import RecipeError


@contextmanager
def exclusive(store: Store) -> Iterator[None]:
    """Hold the folder's lock; RecipeError if another run holds it. The kernel lets go when the holder dies.

    Local folders only: an object store has no lock to offer, so there the caller sees to it.
    """
    if "file" not in store.fs.protocol:
        yield
        return
    path = Path(store.path(".lock"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RecipeError(f"another run is at work on {store.url} (process {file.read().strip() or 'unknown'})") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
