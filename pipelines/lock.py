"""One run at a time on a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from curation.lock import locked
from curation.store import Store
from pipelines.config import RecipeError


@contextmanager
def exclusive(store: Store) -> Iterator[None]:
    """Hold the folder's lock; RecipeError if another run holds it.

    Local folders only: an object store has no lock to offer, so there the caller sees to it.
    """
    with ExitStack() as held:
        if "file" in store.fs.protocol:
            try:
                held.enter_context(locked(Path(store.path(".lock")), f"another run is at work on {store.url}"))
            except ValueError as error:
                raise RecipeError(str(error)) from None
        yield
