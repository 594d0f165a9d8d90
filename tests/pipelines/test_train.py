"""Training on a Ray cluster: real workers, the losses of one process, and a lost worker costs nothing but time."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import tomli_w

from embedder.encoder import load_encoder
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
    told = {"run": str(tmp_path), "config": str(config(tmp_path / "tiny.toml")), "out": str(tmp_path / "out"), "data": None}
    as_worker({**told, "changes": ()})  # ends like work that is done: Ray would start a worker that raises anew
    assert "there is no manifest" in (tmp_path / "out" / REFUSED).read_text()


def test_what_ends_a_training_ends_its_processes(tmp_path: Path) -> None:
    asked = ["sh", "-c", f"trap 'touch {tmp_path}/ended; exit' TERM; touch {tmp_path}/begun; while :; do sleep 0.1; done"]
    with subprocess.Popen([sys.executable, "-c", f"from pipelines.train import waited; waited({asked!r})"]) as parent:
        while not (tmp_path / "begun").exists():
            time.sleep(0.1)
            assert parent.poll() is None
        parent.terminate()
        assert parent.wait(timeout=30) == 143
    assert (tmp_path / "ended").exists()
