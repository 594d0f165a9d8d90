"""The hand-made teacher: gradients by hand, projections that whiten, and targets that tell pictures apart."""

import torch
from torch.nn import functional

from embedder.augment import GENTLE, make_view
from embedder.drawings import draw_pictures
from embedder.teacher import ORIENTATIONS, SIDE, descriptors, fit_teacher, oriented_gradients, shrink, steady, unit_patches


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


def pairs(views: torch.Tensor, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each picture cut and recoloured twice."""
    generator = torch.Generator().manual_seed(seed)
    image = (views * 255).byte()
    return [(make_view(image, GENTLE, generator)[1], make_view(image, GENTLE, generator)[1])]


def test_targets_are_unit_rows_the_same_every_time_and_nearest_to_their_like() -> None:
    views = draw_pictures(96, SIDE).float() / 255
    one, two = (fit_teacher(views, pairs(views), centres=32, width=24) for _ in range(2))
    target = one(views)
    assert target.shape == (96, one.dim) == (96, 24)
    assert torch.allclose(target.norm(dim=1), torch.ones(96), atol=1e-5)
    assert torch.equal(target, two(views))
    darker = one(views * 0.8)
    assert (darker @ target.T).argmax(1).eq(torch.arange(96)).double().mean() > 0.9


def test_what_stays_under_cuts_finds_other_cuts_better_than_what_differs_most() -> None:
    views = draw_pictures(300, SIDE).float() / 255
    teacher = fit_teacher(views[:200], pairs(views[:200]), centres=32, width=48)
    ((one, other),) = pairs(views[200:], seed=1)  # of pictures that it was not fitted on
    raw_one, raw_other = (torch.cat(descriptors(view, teacher.codes), dim=1) for view in (one, other))
    found = (teacher(one) @ teacher(other).T).argmax(1).eq(torch.arange(100)).double().mean()
    unturned = (functional.normalize(raw - raw_one.mean(0), dim=1) for raw in (raw_one, raw_other))
    blunt, blunt_other = unturned
    assert found > (blunt @ blunt_other.T).argmax(1).eq(torch.arange(100)).double().mean() + 0.05


def test_steady_axes_ignore_what_changes_between_views() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(4000, 2, generator=generator)  # what a picture keeps
    views = [torch.cat([own, 10 * torch.randn(4000, 2, generator=generator)], dim=1) for _ in range(2)]
    mixed = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    axes = steady(views[0] @ mixed, views[1] @ mixed, width=2)
    seen = views[0] @ mixed @ axes
    predicted = seen @ torch.linalg.lstsq(seen, own).solution
    assert (predicted - own).norm() < 0.15 * own.norm()
