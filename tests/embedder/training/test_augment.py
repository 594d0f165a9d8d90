"""Colours: each edit is Pillow's or its published formula, each crop has parameters of its own, and shares hold."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

from embedder.training import augment
from embedder.training.augment import MEAN, STD, ColourConfig, coloured, drawn, joined

PLAIN = ColourConfig(flip=0, jitter=0, grey=0, blur=(0, 0, 0), solarise=(0, 0, 0))
MANY = np.arange(20_000)


def pixels(count: int = 1, side: int = 24, seed: int = 0) -> torch.Tensor:
    """(B, 3, S, S) uint8: smooth pictures with all kinds of colour."""
    small = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, 6, 6))).float()
    return torch.nn.functional.interpolate(small, size=side, mode="bilinear").round().byte()


def edited(edit, factor: float, x: torch.Tensor) -> np.ndarray:
    """Grey levels after an edit with one factor."""
    return (edit(x.float() / 255, torch.full((len(x), 1, 1, 1), factor)) * 255)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.35])
@pytest.mark.parametrize(
    ("edit", "theirs"),
    [
        (augment.brightened, ImageEnhance.Brightness),
        (augment.contrasted, ImageEnhance.Contrast),
        (augment.saturated, ImageEnhance.Color),
    ],
)
def test_brightness_contrast_and_saturation_are_pillows(edit, theirs, factor):
    x = pixels()
    pillow = np.asarray(theirs(Image.fromarray(x[0].permute(1, 2, 0).numpy())).enhance(factor)).astype(float)
    assert np.abs(edited(edit, factor, x) - pillow).max() <= 1.6  # Pillow rounds the grey first, then drops fractions


@pytest.mark.parametrize("shift", [-0.1, 0.0, 0.07, 0.5])
def test_hue_turns_as_in_colorsys(shift):
    x = torch.cat([pixels(side=8), torch.tensor([0, 128, 255]).byte().view(1, 3, 1, 1).expand(1, 3, 8, 8)])
    x[0, :, 0, 0] = 77  # grey has no hue
    ours = augment.hued(x.float() / 255, torch.full((2, 1, 1, 1), shift))
    for image, row, column in np.ndindex(2, 8, 8):
        hue, saturation, value = colorsys.rgb_to_hsv(*(x[image, :, row, column] / 255).tolist())
        assert ours[image, :, row, column].tolist() == pytest.approx(
            colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value), abs=1e-5
        )


def test_grey_and_solarisation_are_pillows():
    x = pixels()
    image = Image.fromarray(x[0].permute(1, 2, 0).numpy())
    assert np.abs(augment.grey(x / 255)[0, 0].numpy() * 255 - np.asarray(image.convert("L"))).max() <= 0.51
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    theirs = np.asarray(ImageOps.solarize(Image.fromarray(levels[0].permute(1, 2, 0).numpy()), 128))
    ours = (augment.solarised(levels / 255) * 255).round()[0].permute(1, 2, 0).numpy()
    assert np.array_equal(ours, theirs)


def test_blur_is_a_gaussian_of_nine_pixels_each_crop_with_its_own():
    x, sigmas = pixels(3) / 255, [0.1, 1.3, 2.0]
    ours = augment.blurred(x, torch.tensor(sigmas).view(-1, 1, 1, 1))
    for image, sigma in enumerate(sigmas):
        theirs = gaussian_filter(x[image].numpy(), sigma, axes=(1, 2), mode="mirror", radius=4)
        assert np.abs(ours[image].numpy() - theirs).max() < 1e-5


def test_shares_are_those_that_the_released_checkpoints_saw():
    first, second, local = (drawn(ColourConfig(), 0, MANY, crop) for crop in (0, 1, 5))
    assert [round(float((one.sigma > 0).mean()), 1) for one in (first, second, local)] == [0.0, 0.9, 0.5]
    assert [float(one.solarise.mean()) for one in (first, local)] == [0.0, 0.0]
    assert second.solarise.mean() == pytest.approx(0.2, abs=0.01)
    for one in (first, second, local):
        assert one.flip.mean() == pytest.approx(0.5, abs=0.015)
        assert one.jitter.mean() == pytest.approx(0.8, abs=0.01)
        assert one.grey.mean() == pytest.approx(0.2, abs=0.01)
        assert np.allclose(one.factors.min(0), [0.6, 0.6, 0.8, -0.1], atol=2e-3)
        assert np.allclose(one.factors.max(0), [1.4, 1.4, 1.2, 0.1], atol=2e-3)
    assert 0.1 <= second.sigma[second.sigma > 0].min() < 0.11 < 1.99 < second.sigma.max() <= 2
    assert np.bincount(local.order @ [64, 16, 4, 1]).astype(bool).sum() == 24  # all orders


def test_nothing_but_the_norm_where_nothing_is_asked():
    x = pixels(4)
    mean, std = (torch.tensor(levels).view(3, 1, 1) for levels in (MEAN, STD))
    assert torch.allclose(coloured(x, drawn(PLAIN, 0, np.arange(4), 0)), (x / 255 - mean) / std, atol=1e-6)


def test_a_flip_mirrors_left_and_right():
    x = pixels(2)
    flipped, plain = (coloured(x, drawn(replace(PLAIN, flip=share), 0, np.arange(2), 0)) for share in (1.0, 0.0))
    assert torch.equal(flipped, plain.flip(-1))


def test_jitter_comes_in_the_order_drawn():
    x, one = pixels(1), drawn(replace(PLAIN, jitter=1.0), 5, np.array([3]), 0)
    expected = x / 255
    for which in one.order[0]:
        edit = (augment.brightened, augment.contrasted, augment.saturated, augment.hued)[which]
        expected = edit(expected, torch.tensor(one.factors[0, which], dtype=torch.float32).view(1, 1, 1, 1))
    assert torch.allclose(augment.edited(x / 255, augment.jitter_steps(one)), expected, atol=1e-6)
    assert not torch.allclose(expected, x / 255, atol=1e-2)


def test_a_crop_is_the_same_whoever_is_beside_it():
    x, cfg = pixels(8), ColourConfig()
    whole = coloured(x, drawn(cfg, 1, np.arange(8), 1))
    halves = [coloured(x[part], drawn(cfg, 1, np.arange(8)[part], 1)) for part in (slice(0, 3), slice(3, 8))]
    assert torch.allclose(whole, torch.cat(halves), atol=1e-5)
    both = joined([drawn(cfg, 1, np.arange(3), 1), drawn(cfg, 1, np.arange(3, 8), 1)])
    assert torch.equal(whole, coloured(x, both))


def test_the_input_stays_as_it_was():
    x = pixels(2)
    before = x.clone()
    coloured(x, drawn(ColourConfig(), 0, np.arange(2), 1))
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "wrong",
    [{"flip": 1.5}, {"blur": (0.0, 0.9)}, {"solarise": (0, 2, 0)}, {"hue": 0.6}, {"sigma": (0.0, 2.0)}, {"contrast": -1}],
)
def test_shares_and_strengths_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"data.{next(iter(wrong))}"):
        ColourConfig(**wrong)
