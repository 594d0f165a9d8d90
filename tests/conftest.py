"""Fixtures that every folder of tests shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty run folder."""
    return Store(str(tmp_path / "run"))
