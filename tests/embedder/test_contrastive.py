"""The trainer: losses by hand, schedules, and a few real steps on drawn pictures that make the loss fall and can be
resumed.
"""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from embedder.augment import EDITS, GENTLE, AugmentConfig
from embedder.contrastive import Targets, edits, learning_rate, main, new_state, pairs, taught_by, train, train_step
from embedder.contrastive_config import DEFAULTS, TrainConfig
from embedder.contrastive_learner import elder, fold_head
from embedder.copy_losses import info_nce, koleo, local_nce
from embedder.drawings import draw_pictures
from embedder.encoder import load_encoder, normalise
from embedder.pictures import Pictures
from embedder.teacher import fit_teacher
from embedder.vit import VitConfig

COPY = replace(DEFAULTS["copy"], augment=replace(EDITS, side=32), batch=16, finish_side=0, ramp=0.0, warmup=0.01, minutes=1.0)
VIT = TrainConfig(
    network="vit",
    augment=replace(GENTLE, side=32),
    teach=1.0,
    contrast=0.0,
    vit=VitConfig(side=32, depth=1, stem=True, pool="grid", cells=2),
)


def test_info_nce_of_perfect_twins_by_hand() -> None:
    z = torch.eye(2, 4).repeat(2, 1)  # two images, two equal views each, images at right angles
    assert math.isclose(info_nce(z, 0.5).item(), -math.log(math.e**2 / (math.e**2 + 2)), rel_tol=1e-6)


def test_small_views_look_for_both_large_ones_by_hand() -> None:
    z = torch.cat([torch.eye(2, 4), torch.eye(2, 4).flip(0)])  # the second halves are the other image's
    small = torch.eye(2, 4).repeat(3, 1)
    right, wrong = -math.log(math.e**2 / (math.e**2 + 1)), -math.log(1 / (math.e**2 + 1))
    assert math.isclose(local_nce(small, z, 0.5).item(), (right + wrong) / 2, rel_tol=1e-6)


def test_koleo_counts_only_other_images() -> None:
    z = torch.eye(2, 4).repeat(2, 1)
    assert math.isclose(koleo(z).item(), -math.log(math.sqrt(2)), rel_tol=1e-6)  # the twin, at distance 0, is left out


def test_learning_rate_warms_up_and_ends_at_a_hundredth() -> None:
    cfg = replace(COPY, lr=1.0, warmup=0.1)
    assert learning_rate(cfg, 0.05) == pytest.approx(0.5)
    assert learning_rate(cfg, 0.1) == pytest.approx(1.0)
    assert learning_rate(cfg, 1.0) == pytest.approx(0.01)


def test_edits_grow_then_stay_and_finish_larger() -> None:
    cfg = replace(COPY, ramp=0.5, finish=0.2, finish_side=48, first_view=0.0)
    assert edits(cfg, 0.0, view=1).jpeg < edits(cfg, 0.3, view=1).jpeg < edits(cfg, 0.5, view=1).jpeg == EDITS.jpeg
    assert (edits(cfg, 0.7, view=1).side, edits(cfg, 0.9, view=1).side) == (32, 48)
    assert edits(cfg, 0.7, view=0).overlay == 0.0
    assert edits(cfg, 0.7, view=0).area == (1.0, 1.0)


FEW = Pictures((draw_pictures(16, 40),))


def few_taught(cfg: TrainConfig) -> Targets:
    return fit_teacher(FEW.folders[0].float() / 255, pairs(FEW, cfg), centres=24, width=16)


def fall(cfg: TrainConfig, steps: int, teacher: Targets | None = None) -> tuple[float, float]:
    """Train for some steps on 16 drawn pictures; returns the mean summed loss of the first and last ten steps."""
    state, seen = new_state(cfg, teacher), []
    for _ in range(steps):
        state.seconds += 1.0
        seen.append(sum(train_step(state, cfg, FEW.batch(16, 0.0, state.generator), teacher).values()))
    return sum(seen[:10]) / 10, sum(seen[-10:]) / 10


def test_copy_training_lowers_the_loss() -> None:
    gentle = AugmentConfig(side=32, area=(0.7, 1.0))
    first, last = fall(replace(COPY, augment=gentle, entropy=0.0, temperature=0.2), steps=50)
    assert last < 0.85 * first


def test_transformer_learns_the_targets() -> None:
    first, last = fall(VIT, 40, few_taught(VIT))
    assert last < 0.7 * first


def test_a_loss_that_is_not_finite_stops_before_the_update() -> None:
    state = new_state(COPY, None)
    with torch.no_grad():
        state.learner.net.fc.weight.fill_(math.nan)
    before = state.learner.net.conv1.weight.clone()
    with pytest.raises(ValueError, match="not finite at step 0"):
        train_step(state, COPY, draw_pictures(16, 40), None)
    assert torch.equal(before, state.learner.net.conv1.weight)


def test_folded_head_gives_the_learners_descriptors() -> None:
    state = new_state(COPY, None)
    train_step(state, COPY, draw_pictures(16, 40), None)
    image = torch.randn(3, 3, 32, 32)
    learner = state.learner.eval()
    assert torch.allclose(fold_head(learner)(image), learner(image)[0], atol=1e-5)


def test_training_writes_an_encoder_and_a_second_call_resumes(tmp_path: Path) -> None:
    pictures, out = Pictures((draw_pictures(32, 40),)), tmp_path / "tiny.safetensors"
    cfg = replace(COPY, minutes=1 / 60)
    first = train(pictures, cfg, out)
    assert load_encoder(str(out)).side == 32
    again = train(pictures, replace(cfg, minutes=first.seconds / 60 + 0.5 / 60), out)
    assert again.step > first.step
    assert again.seconds > first.seconds
    with pytest.raises(ValueError, match="is of another training"):
        train(pictures, replace(cfg, lr=1.0), out)


def test_the_average_is_kept_along_the_way(tmp_path: Path) -> None:
    pictures, out = Pictures((draw_pictures(40, 40),)), tmp_path / "tiny.safetensors"
    train(pictures, replace(VIT, batch=8, minutes=2 / 60, keep_minutes=1 / 60), out)
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {
        "tiny.safetensors",
        "tiny-1.safetensors",
        "tiny-2.safetensors",
    }


def test_folded_transformer_guesses_the_targets() -> None:
    pictures = draw_pictures(40, 40)
    teacher = fit_teacher(pictures.float() / 255, pairs(Pictures((pictures,)), VIT), centres=8, width=8)
    learner = new_state(VIT, teacher).learner.eval()
    image = torch.randn(3, 3, 32, 32)
    assert fold_head(learner).dim == teacher.dim
    assert torch.allclose(torch.nn.functional.normalize(fold_head(learner)(image), dim=1), learner(image)[1], atol=1e-5)


GOES_ON = replace(
    VIT,
    contrast=1.0,
    teach=0.2,
    temperature=0.2,
    lr=3e-3,
    locals_=2,
    small=AugmentConfig(side=16, area=(0.3, 0.6)),
    halved=False,
)


@pytest.fixture
def start(tmp_path: Path) -> str:
    pictures, path = Pictures((draw_pictures(40, 40),)), tmp_path / "start.safetensors"
    train(pictures, replace(VIT, batch=8, minutes=1 / 60), path)
    return str(path)


def test_a_training_goes_on_from_an_encoder(start: str) -> None:
    cfg, image = replace(GOES_ON, start=start), torch.rand(4, 3, 32, 32)
    teacher = taught_by(FEW, cfg)
    state = new_state(cfg, teacher)
    began = torch.nn.functional.normalize(fold_head(state.learner.eval())(normalise(image)), dim=1)
    assert torch.allclose(began, elder(start)(image), atol=0.02)  # the teacher's products may be in bfloat16
    first, last = fall(cfg, 30, teacher)
    assert last < 0.9 * first


def test_a_training_cannot_begin_as_another_network(start: str) -> None:
    with pytest.raises(ValueError, match="cannot begin as another network"):
        new_state(replace(GOES_ON, start=start, vit=replace(VIT.vit, depth=2)), elder(start))
    with pytest.raises(ValueError, match="cannot begin as another network"):
        new_state(replace(GOES_ON, start=start), None)  # its last layer would have no place


@pytest.mark.parametrize("words", [["--network", "vit-contrast"], ["--network", "copy", "--start", "vitti16-small"]])
def test_a_start_is_for_the_training_that_needs_one(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["contrastive", *words, "--data", "none/", "--out", "none"])
    with pytest.raises(SystemExit):
        main()
    assert "--start is for --network vit-contrast" in capsys.readouterr().err
