"""The loop on a drawn manifest: it learns, stops cleanly, and goes on as if nothing had happened."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from embedder.encoder import load_encoder
from embedder.training import checkpoint
from embedder.training.export import export
from embedder.training.train import begun, check_finite, forward, train
from tests.embedder.training.drawn import run_folder, tiny
from tests.embedder.training.launched import in_two

quiet = {"say": lambda _: None}


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training from its first step to its last."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny(), str(run), folder, **quiet)
    return folder


def test_a_training_stopped_and_taken_up_again_has_the_same_losses(run: Path, whole: Path, tmp_path: Path) -> None:
    train(tiny(schedule={"steps": 12}, loop={"checkpoint_every": 5}), str(run), tmp_path, **quiet)
    assert losses(tmp_path) == losses(whole)
    for path in checkpoint.found(tmp_path)[1:]:
        path.rename(path.with_name(f"gone-{path.name}"))  # as if killed after the first of the two that are kept
    train(tiny(), str(run), tmp_path, **quiet)
    assert losses(tmp_path) == pytest.approx(losses(whole), abs=1e-6)
    assert len(losses(tmp_path)) == 12


def test_checkpoints_are_whole_and_few(whole: Path) -> None:
    assert [path.name for path in checkpoint.found(whole)] == ["step-00000010", "step-00000012"]
    assert not list(whole.glob(".step-*"))


def test_a_checkpoint_holds_the_encoder_of_its_step(run: Path, whole: Path, tmp_path: Path) -> None:
    earlier, last = (load_encoder(str(path / "encoder.safetensors")) for path in checkpoint.found(whole))
    state = train(tiny(), str(run), whole, **quiet)  # nothing is left to do
    assert last.digest == load_encoder(str(export(state.pair, state.cfg, tmp_path / "encoder.safetensors"))).digest
    assert last.digest != earlier.digest
    assert earlier.dim == 192


def test_two_processes_have_the_losses_of_one_and_resume_its_checkpoint(run: Path, whole: Path, tmp_path: Path) -> None:
    lines = """from embedder.training.train import train
train(tiny(), sys.argv[1], Path(sys.argv[2]), say=lambda _: None)"""
    done = in_two(lines, tmp_path / "two.py", run, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(whole), abs=1e-4)
    for path in checkpoint.found(tmp_path / "two")[1:]:
        path.rename(path.with_name(f"gone-{path.name}"))
    train(tiny(), str(run), tmp_path / "two", **quiet)  # two processes' shards, one process
    assert losses(tmp_path / "two") == pytest.approx(losses(whole), abs=1e-4)


def test_a_killed_training_goes_on(run: Path, whole: Path, tmp_path: Path) -> None:
    script = tmp_path / "one.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom embedder.training.train import train\n"
        "from tests.embedder.training.drawn import tiny\ntrain(tiny(), sys.argv[1], Path(sys.argv[2]))\n"
    )
    folder, here = tmp_path / "killed", os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, str(script), str(run), str(folder)], env=here, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not checkpoint.found(folder):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    train(tiny(), str(run), folder, **quiet)
    assert losses(folder) == pytest.approx(losses(whole), abs=1e-6)


def test_another_manifest_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another manifest"):
        train(tiny(), str(run_folder(tmp_path / "other", 12)), whole, **quiet)


def test_another_model_is_refused(run: Path, whole: Path) -> None:
    with pytest.raises(ValueError, match="a checkpoint of another model"):
        train(tiny(model={"depth": 3}), str(run), whole, **quiet)


def test_another_config_is_told_and_a_shorter_one_refused(run: Path, whole: Path, tmp_path: Path) -> None:
    folder, said = Path(shutil.copytree(whole, tmp_path / "copy")), list[str]()
    train(tiny(optim={"clip": 1.0}, loop={"log_every": 2}), str(run), folder, say=said.append)
    assert said[0] == "goes on from step 12 with another config: optim.clip 3.0 -> 1.0"
    with pytest.raises(ValueError, match=r"is at step 12, and schedule\.steps is 8"):
        train(tiny(schedule={"steps": 8}), str(run), folder, **quiet)


def test_what_is_not_finite_stops_before_anything_moves(run: Path, tmp_path: Path) -> None:
    state = begun(tiny(), str(run), tmp_path, "cpu")
    with torch.no_grad():
        state.pair.student["backbone"].norm.weight.fill_(float("nan"))
    batch = next(iter(state.batches))
    found = {name: value.detach() for name, value in forward(state, batch).parts().items()}
    with pytest.raises(FloatingPointError, match=f"step 7: .*dino.*{batch.keys[0]}"):
        check_finite(found, 7, batch.keys)


def test_the_result_is_an_encoder(run: Path, whole: Path, tmp_path: Path) -> None:
    state = train(tiny(), str(run), whole, **quiet)  # nothing is left to do
    encoder = load_encoder(str(export(state.pair, state.cfg, tmp_path / "made.safetensors")))
    image = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    assert encoder(image).shape == (2, 192)
    assert (encoder.side, encoder.fit, encoder.name) == (32, "crop", "made")


def test_a_distillation_learns_from_the_checkpoint_of_a_training(run: Path, whole: Path, tmp_path: Path) -> None:
    small = tiny(model={"depth": 1}, loop={"teacher": str(whole)}, masks={"share": 0.0}, schedule={"steps": 6})
    state = train(small, str(run), tmp_path, **quiet)
    assert all(value == value for value in losses(tmp_path))
    assert state.pair.frozen is not None
    with pytest.raises(ValueError, match="no checkpoint in"):
        train(tiny(loop={"teacher": str(tmp_path / "none")}), str(run), tmp_path / "x", **quiet)


def test_accumulation_needs_an_even_share(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"multiple of loop\.accumulate"):
        tiny(loop={"batch": 8, "accumulate": 3})
    train(tiny(loop={"accumulate": 2}, schedule={"steps": 2, "warmup": 0}), str(run), tmp_path, **quiet)
    assert len(losses(tmp_path)) == 2
