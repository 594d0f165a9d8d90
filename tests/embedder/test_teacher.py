"""The hand-made teacher: gradients by hand, projections that whiten, and targets that tell pictures apart."""

import torch
from torch.nn import functional

from embedder.drawings import draw_pictures
from embedder.teacher import ORIENTATIONS, SIDE, fit_teacher, oriented_gradients, shrink, unit_patches


def test_stripes_fill_one_direction() -> None:
    ramp = torch.linspace(0, 1, SIDE).expand(1, 3, SIDE, SIDE)  # brightness changes from left to right only
    across = oriented_gradients(ramp).reshape(ORIENTATIONS, SIDE // 8, SIDE // 8)
    assert (across[0] > 0.5).all()
    assert across[1:].abs().max() < 1e-6
    down = oriented_gradients(ramp.transpose(2, 3)).reshape(ORIENTATIONS, SIDE // 8, SIDE // 8)
    assert (down[ORIENTATIONS // 2] > 0.5).all()  # at right angles: half of the directions further


def test_a_flat_picture_has_no_gradients_and_no_patches() -> None:
    flat = torch.full((1, 3, SIDE, SIDE), 0.4)
    assert oriented_gradients(flat).abs().max() == 0
    assert unit_patches(flat, stride=2).abs().max() < 1e-3


def test_patches_are_centred_and_about_unit_spread() -> None:
    patches = unit_patches(torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)), stride=2)
    assert patches.shape == (2, 14 * 14, 108)
    assert patches.mean(-1).abs().max() < 1e-5
    assert 0.9 < patches.std(-1).mean() < 1.0


def test_shrink_leaves_64_pixels_alone() -> None:
    view = torch.rand(1, 3, SIDE, SIDE)
    assert shrink(view) is view
    assert shrink(torch.rand(1, 3, 100, 100)).shape == view.shape


def test_targets_are_unit_rows_the_same_every_time_and_nearest_to_their_like() -> None:
    views = draw_pictures(96, SIDE).float() / 255
    one, two = (fit_teacher(views, centres=32, width=24) for _ in range(2))
    target = one(views)
    assert target.shape == (96, one.dim) == (96, 12 + 24)
    assert torch.allclose(target.norm(dim=1), torch.ones(96), atol=1e-5)
    assert torch.equal(target, two(views))
    darker = one(views * 0.8)
    assert (darker @ target.T).argmax(1).eq(torch.arange(96)).double().mean() > 0.9


def test_projected_axes_are_centred_and_uncorrelated() -> None:
    views = draw_pictures(120, SIDE).float() / 255
    teacher = fit_teacher(views, centres=16, width=16)
    raw = oriented_gradients(views)
    inside = (raw - teacher.gradients.mean_F) @ teacher.gradients.axes_FE
    assert inside.mean(0).abs().max() < 1e-4
    spread = torch.cov(inside.T)
    assert (spread - spread.diag().diag()).abs().max() < 0.02 * spread.diag().max()
    assert torch.allclose(teacher.gradients(raw), functional.normalize(inside, dim=1))
