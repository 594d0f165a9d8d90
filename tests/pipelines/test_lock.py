"""One run at a time: held while it lasts, let go after, whatever ends it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from curation.store import Store
from pipelines.config import RecipeError
from pipelines.lock import exclusive


def test_a_second_holder_is_refused_and_told_who(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"))
    with (
        exclusive(store),
        pytest.raises(RecipeError, match=rf"another run is at work on .*\(process {os.getpid()}\)"),
        exclusive(store),
    ):
        raise AssertionError("two runs at once")
    with exclusive(store):
        pass


def test_it_is_let_go_on_an_error(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(KeyError), exclusive(store):
        raise KeyError
    with exclusive(store):
        pass


def test_an_object_store_has_no_lock() -> None:
    with exclusive(Store("memory://run")), exclusive(Store("memory://run")):
        pass
