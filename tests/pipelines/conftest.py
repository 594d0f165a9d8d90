"""One small world and one finished run of it, shared by every test that only reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipelines import tiny


@dataclass(frozen=True)
class World:
    """pool: dirty images; seeds: a seed set; protected: an evaluation set with copies in the pool; run: a finished run."""

    pool: Path
    seeds: Path
    protected: Path
    run: Path

    @property
    def options(self) -> list[str]:
        return [
            "--pool",
            str(self.pool),
            "--seeds",
            str(self.seeds),
            "--protect",
            str(self.protected),
            "--set",
            "pool.part_rows=20",
            *tiny.UNCHECKED,
        ]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    made = World(
        tiny.make_pool(root / "pool"),
        tiny.make_seeds(root / "seeds", 1000, 6),
        tiny.make_seeds(root / "protected", 20, 4),  # the pool holds pictures 20 to 23 too
        root / "run",
    )
    done = tiny.curate("run", *made.options, "--out", made.run, "--workers", 2)
    assert done.returncode == 0, done.stderr
    return made
