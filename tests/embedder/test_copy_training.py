"""SSCD's training: losses by hand, views, LARS, resuming, and the same steps on one process and on two."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from embedder.copy_losses import SharedNorm, info_nce, koleo, share_norms, sscd_losses
from embedder.copy_training import RECIPES, CopyRecipe, changed, learning_rate, new_state, train
from embedder.copy_views import ViewConfig, draw_emoji, draw_text, make_views, mix
from embedder.copynet import CopyNet
from embedder.encoder import load_encoder
from embedder.lars import Lars
from embedder.tar_pictures import TarPictures
from tests.curation.making import picture

TINY = [
    'variant="small"',
    "views.side=32",
    "stored_side=40",
    "batch=8",
    "chunk=2",
    "warmup=0",
    "base_lr=30",
    "views.mix=0.5",
    "views.jpeg=0",
]


def unit_rows(count: int, seed: int = 0) -> Tensor:
    rows = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return functional.normalize(rows + 1, dim=1).requires_grad_()


def by_hand(z: Tensor, sources: list[set[int]], temperature: float) -> tuple[float, float]:
    """Equations 6 and 5, pair by pair."""
    s = (z @ z.T).tolist()
    views, contrast, entropy = range(len(s)), [], []
    for i in views:
        twins = [j for j in views if j != i and sources[i] & sources[j]]
        apart = [j for j in views if not sources[i] & sources[j]]
        below = sum(math.exp(s[i][j] / temperature) for j in apart)
        pairs = [math.exp(s[i][j] / temperature) for j in twins]
        contrast.append(sum(-math.log(pair / (pair + below)) for pair in pairs) / len(pairs))
        entropy.append(-math.log(math.sqrt(2 - 2 * max(s[i][j] for j in apart))))
    return sum(contrast) / len(s), sum(entropy) / len(s)


def test_losses_of_mixed_views_pair_by_pair() -> None:
    z = unit_rows(8)
    sources = torch.tensor([[0, 0], [1, 2], [2, 2], [3, 3], [0, 3], [1, 1], [2, 2], [3, 3]])
    found = [loss.item() for loss in sscd_losses(z, sources, 0.05)]
    assert found == pytest.approx(by_hand(z, [set(row) for row in sources.tolist()], 0.05), rel=1e-9)


def test_losses_of_plain_views_are_those_of_the_small_training() -> None:
    z = unit_rows(12)
    sources = torch.arange(6).repeat(2)[:, None].repeat(1, 2)
    contrast, entropy = sscd_losses(z, sources, 0.05)
    assert contrast.item() == pytest.approx(info_nce(z, 0.05).item(), rel=1e-9)
    assert entropy.item() == pytest.approx(koleo(z).item(), rel=1e-9)
    (contrast + entropy).backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0


def test_lars_by_hand() -> None:
    weight, still = torch.nn.Parameter(torch.tensor([3.0, 4.0])), torch.nn.Parameter(torch.zeros(1))
    optimizer = Lars([weight, still], momentum=0.9, weight_decay=0.1, trust=0.5)
    optimizer.param_groups[0]["lr"] = 2.0
    expected, speed = np.array([3.0, 4.0]), np.zeros(2)
    for _ in range(2):
        weight.grad, still.grad = torch.tensor([0.0, 2.0]), torch.tensor([1.0])
        optimizer.step()
        length = np.linalg.norm(expected)
        speed = 0.9 * speed + (np.array([0.0, 2.0]) + 0.1 * expected) * 0.5 * length / (2 + 0.1 * length)
        expected = expected - 2 * speed
    np.testing.assert_allclose(weight.detach(), expected, rtol=1e-5)
    first = optimizer.state[still]["speed"]
    assert torch.isfinite(first).all()
    assert still.item() < -2  # a plain step of lr x gradient first


def test_the_papers_constants() -> None:
    paper = RECIPES["resnet50"]
    assert (paper.lr, paper.temperature, paper.entropy, paper.weight_decay) == (pytest.approx(4.8), 0.05, 30.0, 1e-6)
    assert learning_rate(paper, 5 * 244, 244) == pytest.approx(4.8)
    assert learning_rate(paper, 100 * 244, 244) == pytest.approx(0)
    assert learning_rate(paper, 244, 244) == pytest.approx(4.8 / 5)
    with pytest.raises(ValueError, match="no whole number of chunks"):
        CopyRecipe(batch=100, chunk=64)
    with pytest.raises(ValueError, match=r"no 'views\.colours'"):
        changed(paper, ["views.colours=1"])


def images(count: int, side: int = 48) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(picture(n, side)) for n in range(count)])).permute(0, 3, 1, 2)


def test_views_repeat_and_say_whose_they_are() -> None:
    cfg = ViewConfig(side=32, mix=0.5, text=0.5, emoji=0.5)
    first, second = (make_views(images(6), torch.arange(10, 16), cfg, torch.Generator().manual_seed(3)) for _ in range(2))
    views, sources = first
    assert torch.equal(views, second[0])
    assert (views.shape, sources.shape) == ((12, 3, 32, 32), (12, 2))
    assert 0 <= views.min() < views.max() <= 1
    assert sources[:, 0].tolist() == [*range(10, 16)] * 2
    assert 0 < (sources[:, 0] != sources[:, 1]).sum() < 12


def test_mixing_takes_from_the_view_it_names() -> None:
    views = torch.arange(4.0).view(4, 1, 1, 1).expand(-1, 3, 16, 16).clone()
    mixed, sources = mix(views, torch.arange(4), ViewConfig(mix=1.0), torch.Generator().manual_seed(0))
    assert sources.tolist() == [[0, 3], [1, 2], [2, 1], [3, 0]]
    for row, (own, partner) in enumerate(sources.tolist()):
        share = (mixed[row] - own) / (partner - own)
        assert 0 <= share.min() <= share.max() <= 1
    untouched, alone = mix(views, torch.arange(4), ViewConfig(mix=0.0), torch.Generator())
    assert torch.equal(untouched, views)
    assert alone.tolist() == [[n, n] for n in range(4)]


@pytest.mark.parametrize("draw", [draw_text, draw_emoji])
def test_drawings_change_some_of_the_picture(draw) -> None:
    image = picture(0, 64)
    changed_pixels = [
        (np.asarray(draw(image, np.random.default_rng(seed))) != np.asarray(image)).any(axis=2).mean() for seed in range(12)
    ]
    assert 0 < np.mean(changed_pixels) < 0.5


def test_shared_norms_keep_names_and_numbers_on_one_process() -> None:
    torch.manual_seed(0)
    plain = CopyNet("small")
    shared = share_norms(CopyNet("small"))
    shared.load_state_dict(plain.state_dict())
    image = torch.randn(4, 3, 32, 32)
    assert any(isinstance(module, SharedNorm) for module in shared.modules())
    assert torch.equal(plain(image), shared(image))


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """17 pictures, one of them broken, in two tars."""
    folder = tmp_path_factory.mktemp("tars")
    for number, keys in enumerate((range(9), range(9, 17))):
        with tarfile.open(folder / f"{number}.tar", "w") as tar:
            for key in keys:
                file = io.BytesIO()
                picture(key, 48).save(file, "JPEG")
                data = b"broken" if key == 16 else file.getvalue()
                info = tarfile.TarInfo(f"{key:04d}.jpg")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                tar.addfile(tarfile.TarInfo(f"{key:04d}.txt"), io.BytesIO())
    return folder


def test_tar_pictures_are_read_by_number(tars: Path) -> None:
    pictures = TarPictures([tars], 40)
    assert len(pictures) == 17
    assert (pictures[3].shape, pictures[3].dtype) == ((3, 40, 40), torch.uint8)
    assert not torch.equal(pictures[3], pictures[12])
    assert (pictures[16] == 128).all()
    with pytest.raises(ValueError, match=r"no \.tar files"):
        TarPictures([tars / "none"], 40)


def test_a_training_goes_on_where_it_was_stopped(tars: Path, tmp_path: Path) -> None:
    cfg, pictures = changed(RECIPES["resnet50"], TINY), TarPictures([tars], 40)
    straight = train(pictures, cfg, tmp_path / "straight.safetensors", steps=4)
    train(pictures, cfg, tmp_path / "twice.safetensors", steps=2)
    resumed = train(pictures, cfg, tmp_path / "twice.safetensors", steps=4)
    assert resumed.step == straight.step == 4
    for one, other in zip(straight.network.state_dict().values(), resumed.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    encoder = load_encoder(str(tmp_path / "twice.safetensors"))
    assert (encoder.side, encoder.fit, encoder.dim) == (288, "short", 256)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(tars: Path, tmp_path: Path) -> None:
    cfg = changed(RECIPES["resnet50"], [*TINY, "temperature=NaN"])
    with pytest.raises(ValueError, match="loss is not finite at step 0"):
        train(TarPictures([tars], 40), cfg, tmp_path / "x.safetensors", steps=1)


def test_too_few_images_and_uneven_shares_are_told(tars: Path, tmp_path: Path) -> None:
    cfg = replace(changed(RECIPES["resnet50"], TINY), batch=32)
    with pytest.raises(ValueError, match="17 images do not fill one batch of 32"):
        train(TarPictures([tars], 40), cfg, tmp_path / "x.safetensors", steps=1)


def run_on_two(tars: Path, out: Path) -> list[str]:
    """What the command prints, run by torchrun on two processes."""
    sets = [part for setting in TINY for part in ("--set", setting)]
    options = ["--recipe", "resnet50", "--data", tars, "--steps", 3, "--threads", 1, "--out", out, *sets]
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "embedder.copy_training"]
    command = [sys.executable, "-m", *launch, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_two_processes_take_the_steps_of_one(tars: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(TarPictures([tars], 40), changed(RECIPES["resnet50"], TINY), tmp_path / "1.safetensors", steps=3)
    alone = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    first, *pair = [json.loads(line) for line in run_on_two(tars, tmp_path / "2.safetensors")]
    assert first["processes"] == 2
    assert [line["step"] for line in alone] == [line["step"] for line in pair] == [1, 2, 3]
    for one, other in zip(alone, pair, strict=True):
        assert other["contrast"] == pytest.approx(one["contrast"], rel=1e-4)
        assert other["entropy"] == pytest.approx(one["entropy"], abs=1e-3)
    saved = [torch.load(tmp_path / f"{n}.safetensors.checkpoint", weights_only=True)["network"] for n in (1, 2)]
    for name, value in saved[0].items():
        torch.testing.assert_close(saved[1][name], value, rtol=1e-3, atol=1e-4, msg=name)
    moved = saved[0]["fc.weight"] - new_state(changed(RECIPES["resnet50"], TINY), "cpu").network.fc.weight
    assert moved.abs().max() > 5e-4
