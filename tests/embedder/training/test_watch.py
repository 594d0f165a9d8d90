"""k-NN while training: of what is exported at a checkpoint, by any number of processes; nothing learns from it."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import pytest

from embedder.encoder import load_encoder
from embedder.evaluation.knn import knn_accuracy
from embedder.training import checkpoint
from embedder.training.train import train
from embedder.training.watch import told
from tests.embedder.training.drawn import labelled_folder, run_folder, tiny
from tests.embedder.training.launched import in_two

Told = list[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return labelled_folder(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def watched(run: Path, places: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    said, folder = Told(), tmp_path_factory.mktemp("watched")
    train(tiny(loop={"knn": places, "log_every": 4}), str(run), folder, say=said.append)
    return folder, [text for text in said if text.startswith("k-NN")]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def figures(folder: Path) -> dict[int, float]:
    return {int(row["step"]): float(row["knn"]) for row in rows(folder) if row["knn"]}


def losses(folder: Path) -> list[str]:
    return [row["loss"] for row in rows(folder) if row["loss"]]


def test_it_is_told_and_logged_at_the_start_at_checkpoints_and_at_the_end(watched: tuple[Path, Told]) -> None:
    folder, said = watched
    found = figures(folder)
    assert list(found) == [0, 5, 10, 12]
    start = f"k-NN top-1: {found[0]:.3f} at step 0"
    assert said == [start, *(f"{start} -> {found[step]:.3f} at step {step}" for step in (5, 10, 12))]


def test_it_is_that_of_the_encoder_in_the_checkpoint(watched: tuple[Path, Told], places: tuple[str, str]) -> None:
    folder, _ = watched
    for path in checkpoint.found(folder):
        exported = knn_accuracy(load_encoder(str(path / "encoder.safetensors")), *map(Path, places))
        step = int(path.name.removeprefix("step-"))
        assert figures(folder)[step] == pytest.approx(exported, abs=1 / 24 + 1e-3)  # the file is float16: a vote may turn


def test_nothing_learns_from_it(watched: tuple[Path, Told], run: Path, tmp_path: Path) -> None:
    train(tiny(loop={"log_every": 4}), str(run), tmp_path, say=lambda _: None)
    assert losses(tmp_path) == losses(watched[0])


def test_a_training_that_goes_on_keeps_the_figure_of_its_start(
    watched: tuple[Path, Told], run: Path, places: tuple[str, str], tmp_path: Path
) -> None:
    said, cfg = Told(), tiny(loop={"knn": places, "log_every": 4})
    train(cfg, str(run), tmp_path, say=lambda _: None)
    checkpoint.found(tmp_path)[-1].rename(tmp_path / "gone")  # as if killed before the last checkpoint was whole
    train(cfg, str(run), tmp_path, say=said.append)
    assert figures(tmp_path) == figures(watched[0])
    assert len(rows(tmp_path)) == len(rows(watched[0]))
    assert said[-1] == watched[1][-1]


def test_figures_of_other_images_are_left_behind(
    watched: tuple[Path, Told], run: Path, places: tuple[str, str], tmp_path: Path
) -> None:
    said, known = Told(), places[0]
    shutil.copytree(watched[0], tmp_path / "copy")
    train(tiny(loop={"knn": (known, known), "log_every": 4}), str(run), tmp_path / "copy", say=said.append)
    assert len(said) == 1
    assert said[0].endswith("at step 12")


def several(run: Path, folder: Path, places: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    lines = """from embedder.training.train import train
cfg = tiny(loop={"knn": tuple(sys.argv[3:]), "log_every": 4})
train(cfg, sys.argv[1], Path(sys.argv[2]))"""
    return in_two(lines, folder.with_suffix(".py"), run, folder, *places)


def test_two_processes_share_it_and_tell_it_once(
    watched: tuple[Path, Told], run: Path, places: tuple[str, str], tmp_path: Path
) -> None:
    done = several(run, tmp_path / "two", places)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stdout.splitlines() if line.startswith("k-NN")] == watched[1]


def test_one_image_among_two_processes_is_enough_and_none_is_refused_by_both(run: Path, tmp_path: Path) -> None:
    known, asked = labelled_folder(tmp_path / "few", each=1)
    (Path(asked) / "fine" / "0.png").write_bytes(b"no image")
    done = several(run, tmp_path / "one", (known, asked))
    assert "k-NN top-1" in done.stdout, done.stderr[-2000:]
    (Path(asked) / "coarse" / "0.png").write_bytes(b"no image")
    done = several(run, tmp_path / "none", (known, asked))
    assert done.returncode
    assert "no readable image in" in done.stderr


def test_places_that_are_not_there_are_told_before_anything_is_learned(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a folder of labelled images"):
        train(tiny(loop={"knn": (str(tmp_path / "a"), str(tmp_path / "b"))}), str(run), tmp_path / "out")
    with pytest.raises(ValueError, match="two labelled places"):
        tiny(loop={"knn": ("one",)})


def test_the_line_for_people() -> None:
    assert told({"0": 0.7024}) == "k-NN top-1: 0.702 at step 0"
    assert told({"0": 0.7024, "60": 0.75, "120": 0.7771}) == "k-NN top-1: 0.702 at step 0 -> 0.777 at step 120"
