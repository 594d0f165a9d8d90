"""The one file that knows Ray: errors come back whole, lost workers are replaced, the cluster is private."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curation.stage import MapStage, WholeStage
from pipelines import runner
from pipelines.runner import Cluster, RunError, Task, explain


@dataclass(frozen=True)
class Config:
    folder: str
    deaths: int = 0


def number_parts(_inputs: Mapping[str, Any], _cfg: Config) -> Iterator[tuple[int, pa.Table]]:
    return ((n, pa.table({"set": ["pool"], "n": [n]})) for n in range(4))


def square(batch: pa.Table, _tool: None, cfg: Config) -> pa.Table:
    """n squared; kills its own worker `deaths` times on part 2, and refuses a negative number."""
    n = batch["n"][0].as_py()
    if n == 2:
        marks = list(Path(cfg.folder).glob("death-*"))
        if len(marks) < cfg.deaths:
            (Path(cfg.folder) / f"death-{len(marks)}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if cfg.deaths < 0 and n == 3:
        raise ValueError("three is refused\nwith a second line")
    return pa.table({"n": [n * n]})


NUMBERS = WholeStage(name="sources", consumes=(), version=1, fn=number_parts)
SQUARES = MapStage(name="squares", consumes=("sources",), version=1, setup=lambda _c, _s: None, fn=square)
TASKS = [Task(part, "print") for part in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runner")


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cluster]:
    with Cluster(str(folder / "run"), workers=2) as started:
        list(started.run(NUMBERS, Config(str(folder)), [Task(None, "print")]))
        yield started


def squares(folder: Path) -> list[int]:
    store = runner.Store(str(folder / "run"))
    return store.parts("squares").whole()["n"].to_pylist()


def test_every_part_is_done(cluster: Cluster, folder: Path) -> None:
    done = {task.part for task, _ in cluster.run(SQUARES, Config(str(folder)), TASKS)}
    assert done == {0, 1, 2, 3}
    assert squares(folder) == [0, 1, 4, 9]


def test_a_worker_that_dies_is_replaced(cluster: Cluster, folder: Path) -> None:
    lost: list[Task] = []
    done = list(cluster.run(SQUARES, Config(str(folder), deaths=2), TASKS, lost.append))
    assert len(done) == 4
    assert [task.part for task in lost] == [2, 2]
    assert squares(folder) == [0, 1, 4, 9]


def test_a_part_that_kills_every_worker_stops_the_run(cluster: Cluster, folder: Path) -> None:
    with pytest.raises(RunError, match=r"squares part 2: 3 workers died"):
        list(cluster.run(SQUARES, Config(str(folder), deaths=99), TASKS))


def test_an_error_comes_back_as_one_line_and_a_traceback(cluster: Cluster, folder: Path) -> None:
    with pytest.raises(RunError, match=r"^squares: three is refused$") as caught:
        list(cluster.run(SQUARES, Config(str(folder), deaths=-1), TASKS))
    assert "in square" in caught.value.trace


def test_a_private_cluster_listens_on_loopback_only(cluster: Cluster) -> None:
    assert [node["NodeManagerAddress"] for node in runner.ray.nodes() if node["Alive"]] == ["127.0.0.1"]


def test_explain() -> None:
    assert explain(OSError(28, "No space left on device", "part")) == "No space left on device: part"
    assert explain(ValueError("plain\nmore")) == "plain"
    assert explain(KeyError("x")) == "KeyError: 'x'"
