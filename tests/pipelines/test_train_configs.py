"""The configs that go on from another training, small, as their commands: `highres` and `distill`."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path

import pytest
import tomli_w
import torch

from embedder.encoder import load_encoder, resized
from pipelines.cli import main
from tests.embedder.training.drawn import labelled_folder, run_folder, tiny

SMALL = ("model.variant=ti", "model.patch=8", "model.layerscale=0.1", "heads.prototypes=32", "heads.hidden=16",
         "heads.dino_bottleneck=8", "heads.ibot_bottleneck=8", "loss.koleo_group=2", "data.local_side=16", "data.locals_=2",
         "data.workers=0", "loop.batch=8", "loop.precision=fp32", "loop.log_every=1")  # fmt: skip


def curate(verb: str, run: Path, *options: object, changes: tuple[str, ...] = ()) -> None:
    said = [word for change in changes for word in ("--set", change)]
    with pytest.raises(SystemExit) as ended:
        main([verb, str(run), *map(str, options), *said])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a training at 32 pixels, RUN/train/tiny."""
    folder = run_folder(tmp_path_factory.mktemp("run"))
    values = {name: {k: v for k, v in part.items() if v is not None} for name, part in asdict(tiny()).items()}
    (folder / "tiny.toml").write_text(tomli_w.dumps(values))
    curate("train", folder, "--config", folder / "tiny.toml")
    return folder


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def test_highres_goes_on_from_an_encoder_of_fewer_pixels(run: Path) -> None:
    start = run / "train" / "tiny" / "encoder.safetensors"
    sides = ("model.depth=2", "model.side=64", "data.global_side=64", "schedule.steps=3", "schedule.warmup=1",
             "schedule.teacher_warmup=1", "schedule.freeze_prototypes=1", f"loop.start={start}")  # fmt: skip
    curate("train", run, "--config", "highres", changes=(*SMALL, *sides))
    before, after = load_encoder(str(start)), load_encoder(str(run / "train" / "highres" / "encoder.safetensors"))
    assert (before.side, after.side) == (32, 64)
    images = torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    cosines = (resized(before, "64")(images) * after(images)).sum(1)
    assert cosines.min() > 0.99  # little moves at its learning rate: it began where the other ended
    assert cosines.max() < 1.0
    assert len(losses(run / "train" / "highres")) == 3


def test_distill_learns_from_the_folder_of_a_training(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known, asked = labelled_folder(tmp_path)
    less = ("model.depth=1", "model.side=32", "data.global_side=32", "schedule.steps=12", "schedule.warmup=2",
            "schedule.base_lr=4e-3", "schedule.freeze_prototypes=1")  # fmt: skip
    curate("distill", run, "--teacher", run / "train" / "tiny", "--knn", known, asked, changes=(*SMALL, *less))
    said, found = capsys.readouterr().out, losses(run / "train" / "distill")
    assert len(found) == 12
    assert found[-1] < found[0]
    assert "at step 12" in said
    student = load_encoder(str(run / "train" / "distill" / "encoder.safetensors"))
    assert (student.side, len(student.network.blocks)) == (32, 1)
