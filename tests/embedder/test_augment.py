"""Augmentations: geometry by hand, shares, ranges, and the same generator gives the same views."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from embedder.augment import (
    EDITS,
    AugmentConfig,
    blur,
    by_pillow,
    colour,
    crop_maps,
    cut,
    draw_overlay,
    make_view,
    on_share,
    paste,
    pixelate,
    recompress,
)

PLAIN = AugmentConfig(side=8, area=(1.0, 1.0), aspect=1.0, flip=0.0, colour=0.0, grey=0.0)


def chance(seed: int = 0) -> torch.Generator:
    """A seeded generator."""
    return torch.Generator().manual_seed(seed)


def gradient(side: int = 8) -> torch.Tensor:
    """(1, 3, side, side): brightness rises from left to right, 0 to 1."""
    return torch.linspace(0, 1, side).expand(1, 3, side, side).contiguous()


def test_no_edit_returns_the_image() -> None:
    image = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8, generator=chance())
    as_cut, edited = make_view(image, PLAIN, chance())
    assert torch.allclose(as_cut, image / 255, atol=1e-6)
    assert torch.allclose(edited, image / 255, atol=1e-6)


def test_flip_mirrors_left_and_right() -> None:
    assert torch.allclose(cut(gradient(), replace(PLAIN, flip=1.0), chance()), gradient().flip(3), atol=1e-6)


def test_quarter_turn_is_one_of_three_rotations() -> None:
    turned = cut(gradient(), replace(PLAIN, quarter_turns=1.0), chance())
    assert any(torch.allclose(turned, gradient().rot90(k, (2, 3)), atol=1e-5) for k in (1, 2, 3))


def test_crop_covers_the_area_asked_for_and_stays_inside() -> None:
    maps = crop_maps(500, replace(PLAIN, area=(0.25, 0.25)), chance())
    width, height, x, y = maps[:, 0, 0], maps[:, 1, 1], maps[:, 0, 2], maps[:, 1, 2]
    assert torch.allclose(width * height, torch.tensor(0.25))
    assert (x.abs() + width).max() <= 1 + 1e-6
    assert (y.abs() + height).max() <= 1 + 1e-6
    assert x.std() > 0.2  # crops are spread over the image


def test_frame_surrounds_the_image_with_one_colour() -> None:
    view = cut(torch.full((1, 3, 8, 8), 0.55), replace(PLAIN, frame=1.0, side=32), chance(3))
    corner, centre = view[0, :, 0, 0], view[0, :, 16, 16]
    assert torch.allclose(centre, torch.tensor(0.55), atol=1e-4)
    assert torch.equal(view[0, :, 0], corner[:, None].expand(3, 32))


def test_on_share_touches_about_that_share() -> None:
    touched = on_share(torch.zeros(2000, 3, 1, 1), 0.25, lambda x: x + 1, chance()).mean().item()
    assert 0.22 < touched < 0.28
    assert on_share(torch.zeros(4, 3, 1, 1), 0.0, lambda x: x + 1, chance()).sum() == 0


def test_blur_keeps_the_mean_and_spreads_a_point_evenly() -> None:
    point = torch.zeros(1, 3, 15, 15)
    point[..., 7, 7] = 1
    out = blur(point, 1.0)
    assert torch.allclose(out.sum((2, 3)), torch.ones(1, 3), atol=1e-5)
    assert torch.allclose(out, out.flip(3), atol=1e-7)
    assert abs(out[0, 0, 7, 8] / out[0, 0, 7, 7] - np.exp(-0.5)) < 1e-5


def test_pixelate_keeps_size_and_loses_detail() -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 1.0
    out = pixelate(board.expand(1, 3, 16, 16), 0.5)
    assert out.shape == (1, 3, 16, 16)
    assert out.std() < 0.25 < board.std()


def test_paste_leaves_the_other_image_around() -> None:
    out = paste(torch.ones(1, 3, 40, 40), torch.zeros(1, 3, 40, 40), (0.55, 0.85), chance())
    assert 0.55**2 - 0.05 < out.mean() < 0.85**2 + 0.05
    assert set(out.unique().tolist()) <= {0.0, 1.0} or out.unique().numel() < 20


def test_colour_without_strength_changes_nothing() -> None:
    image = torch.rand(4, 3, 8, 8, generator=chance())
    assert torch.allclose(colour(image, replace(PLAIN, colour=1.0, strength=0.0), chance()), image, atol=1e-6)


def test_pillow_edits_change_pixels_but_not_size() -> None:
    noise = torch.rand(2, 3, 32, 32, generator=chance())
    for edit in (recompress, draw_overlay):
        out = by_pillow(noise, edit, chance())
        assert out.shape == noise.shape
        assert 0.001 < (out - noise).abs().mean() < 0.5
    assert recompress(Image.new("RGB", (16, 16), "red"), np.random.default_rng(0)).mode == "RGB"


def test_the_same_generator_state_gives_the_same_views() -> None:
    image = torch.randint(256, (16, 3, 64, 64), dtype=torch.uint8, generator=chance())
    one, two, other = (make_view(image, EDITS, chance(seed))[1] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.shape == (16, 3, EDITS.side, EDITS.side)
    assert 0 <= one.min() <= one.max() <= 1
