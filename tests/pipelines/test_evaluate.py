"""`curate evaluate` on two classes of drawn pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.evaluate import TASKS, evaluate


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """train/ and val/ with red and blue noise, and one damaged file in val."""
    root = tmp_path_factory.mktemp("labelled")
    random = np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 4)):
        for name, colour in (("red", (200, 20, 20)), ("blue", (20, 20, 200))):
            (root / part / name).mkdir(parents=True)
            for n in range(count):
                pixels = (np.asarray(colour) + random.integers(0, 40, (40, 40, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{n}.png")
    (root / "val" / "red" / "broken.png").write_bytes(b"nothing")
    return root


def score(place: Path, task: str, changes: tuple[str, ...] = ()) -> dict:
    return evaluate("vitti16-small", place / "train", place / "val", task, changes)


def test_every_task_tells_red_from_blue_and_says_what_it_skipped(place: Path) -> None:
    knn, retrieval = score(place, "knn"), score(place, "retrieval")
    assert knn["top1"]["10"] == 1.0
    assert retrieval["map"] > 0.99
    assert score(place, "linear", ("linear.steps=40", "linear.batch=16"))["top1"] == 1.0
    assert score(place, "logistic")["top1"] == 1.0
    for facts in (knn, retrieval):
        assert (facts["train_images"], facts["val_images"], facts["classes"]) == (20, 8, 2)
        assert facts["val_skipped"] == {"not_an_image": 1}


def test_segmentation_and_depth_by_their_folders(tmp_path: Path) -> None:
    for folder in ("images", "masks", "depth"):
        (tmp_path / folder).mkdir()
    half = np.arange(64)[None].repeat(64, 0) < 32
    Image.fromarray(np.where(half[..., None], (230, 30, 30), (30, 30, 230)).astype(np.uint8)).save(
        tmp_path / "images" / "a.png"
    )
    Image.fromarray(half.astype(np.uint8)).save(tmp_path / "masks" / "a.png")
    np.save(tmp_path / "depth" / "a.npy", np.where(half, 2.0, 6.0))
    changes = ("dense.steps=40", "dense.batch=2", "dense.rate=0.01")
    found = {task: evaluate("vitti16-small", tmp_path, tmp_path, task, changes) for task in ("segmentation", "depth")}
    assert found["segmentation"]["train_images"] == 1
    assert set(found["depth"]) >= {"rmse", "abs_rel", "delta1", "val_skipped"}


def test_the_verb_prints_one_json_object(place: Path) -> None:
    told = CliRunner().invoke(
        app, ["evaluate", "vitti16-small", "--train", f"{place}/train", "--val", f"{place}/val", "--json"]
    )
    assert told.exit_code == 0
    assert json.loads(told.stdout)["task"] == "knn"


def test_what_is_not_there_is_told(place: Path) -> None:
    with pytest.raises(ValueError, match=", ".join(TASKS)):
        score(place, "guess")
    with pytest.raises(ValueError, match="nothing to set"):
        score(place, "knn", ("linear.steps=4",))
    with pytest.raises(ValueError, match="positive"):
        score(place, "linear", ("linear.steps=0",))
