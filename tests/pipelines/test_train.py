"""Training on a Ray cluster: real workers, the losses of one process, and a lost worker costs nothing but time."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import tomli_w

from embedder.encoder import load_encoder
from pipelines.together import together
from pipelines.train import REFUSED, as_worker, train
from tests.embedder.training.drawn import run_folder, tiny


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def config(path: Path) -> Path:
    values = asdict(tiny(schedule={"steps": 6}))
    path.write_text(tomli_w.dumps({name: {k: v for k, v in part.items() if v is not None} for name, part in values.items()}))
    return path


@pytest.mark.slow
def test_two_workers_of_a_cluster_train_as_one_process_does(tmp_path: Path) -> None:
    run, recipe = run_folder(tmp_path / "run"), config(tmp_path / "tiny.toml")
    train(str(run), str(recipe), tmp_path / "one")
    made = train(str(run), str(recipe), tmp_path / "two", processes=2, address="local")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    assert load_encoder(str(made)).dim == 192


def test_what_cannot_be_trained_is_not_tried_again(tmp_path: Path) -> None:
    told = {"run": str(tmp_path), "config": tiny(), "out": str(tmp_path / "out"), "data": None}
    as_worker(told)  # ends like work that is done: Ray would start a worker that raises anew
    assert "there is no manifest" in (tmp_path / "out" / REFUSED).read_text()


def test_what_ends_a_training_ends_its_processes(tmp_path: Path) -> None:
    asked = f"import os, time; open('{tmp_path}/' + str(os.getpid()), 'w').close(); time.sleep(300)"
    script = f"from pipelines.together import together; together(2, '-c', {asked!r})"
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        while len(started := list(tmp_path.iterdir())) < 2:
            time.sleep(0.1)
            assert parent.poll() is None
        parent.terminate()
        assert parent.wait(timeout=60) == 143
    assert not any(psutil.pid_exists(int(path.name)) for path in started)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            "from pipelines.together import failed; failed(ValueError('no such manifest')); raise SystemExit(1)",
            "^no such manifest$",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "process [01] of 2 failed: Signal 9"),
        ("raise SystemExit(3)", "process [01] of 2 failed: it ended with 3; its message is above"),
    ],
)
def test_what_a_process_dies_of_is_told_once(asked: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match=told):
        together(2, "-c", asked)
    assert capfd.readouterr().err == ""
