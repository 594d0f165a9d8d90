"""Segmentation and depth on drawn discs: clearly better than what the commonest answer gives; figures by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from embedder.encoder import load_encoder
from embedder.evaluation.dense import (
    DenseConfig,
    depth,
    depth_scores,
    gradient_loss,
    mean_iou,
    read_maps,
    segmentation,
    sig_loss,
)


def draw(where: Path, count: int, seed: int) -> Path:
    """Bright discs, 15% of the pixels, class 1 and 2 m away, on dark noise, class 0 and 6 m away."""
    random = np.random.default_rng(seed)
    for name in ("images", "masks", "depth"):
        (where / name).mkdir(parents=True)
    rows, columns = np.mgrid[:64, :64]
    for n in range(count):
        y, x = random.integers(16, 48, 2)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < 14**2
        pixels = np.where(disc[..., None], (230, 180, 40), (30, 40, 60)) + random.integers(0, 25, (64, 64, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(where / "images" / f"{n}.png")
        Image.fromarray(disc.astype(np.uint8)).save(where / "masks" / f"{n}.png")
        Image.fromarray(np.where(disc, 2000, 6000).astype(np.uint16)).save(where / "depth" / f"{n}.png")
    return where


@pytest.fixture(scope="module")
def discs(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("dense")
    return draw(root / "train", 24, 0), draw(root / "val", 8, 1)


def test_discs_are_found(discs) -> None:
    encoder = load_encoder("vitti16-small")
    train, val = (read_maps(encoder, where, "segmentation", 1) for where in discs)
    found = segmentation(train, val, DenseConfig(steps=80, batch=8, rate=1e-2))
    assert found["miou"] > 0.6  # all background would give about 0.43
    assert found["pixel_accuracy"] > 0.9


def test_discs_are_near(discs) -> None:
    encoder = load_encoder("vitti16-small")
    train, val = (read_maps(encoder, where, "depth", 1) for where in discs)
    assert val.truth_NSS.unique().tolist() == [2, 6]
    found = depth(train, val, DenseConfig(steps=80, batch=8, rate=1e-2))
    assert found["rmse"] < 0.75 * val.truth_NSS.std().item()  # the error of the mean depth


def test_figures_by_hand() -> None:
    assert mean_iou(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])) == pytest.approx((3 / 4 + 2 / 3) / 2)
    scores = depth_scores(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 4.0]))
    assert scores == pytest.approx({"rmse": 0.5**0.5, "abs_rel": 0.5, "delta1": 0.5})
    guess, truth = torch.full((1, 4, 4), 3.0), torch.full((1, 4, 4), 1.0)
    assert sig_loss(guess, truth, 10).item() == pytest.approx(0.15**0.5 * np.log(3.001 / 1.001), rel=1e-4)
    assert gradient_loss(guess, truth, 10).item() == 0
    truth[0, 0, 0] = 0  # unknown: no step to or from it counts
    assert gradient_loss(guess, truth, 10).item() == 0


def test_missing_truth_is_told_and_damage_counted(tmp_path: Path) -> None:
    where, encoder = draw(tmp_path / "set", 2, 0), load_encoder("vitti16-small")
    (where / "images" / "9.png").write_bytes(b"nothing")
    assert read_maps(encoder, where, "segmentation", 1).skipped == {"not_an_image": 1}
    (where / "masks" / "1.png").unlink()
    with pytest.raises(ValueError, match="no truth for"):
        read_maps(encoder, where, "segmentation", 1)
    with pytest.raises(ValueError, match="no readable image"):
        read_maps(encoder, tmp_path, "segmentation", 1)
