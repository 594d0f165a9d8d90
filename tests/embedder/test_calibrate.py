"""Closed-form finishing: whitening by hand, folding that changes nothing else, and thresholds on made-up
similarities.
"""

import torch

from embedder.calibrate import (
    SINGLE_EDITS,
    edited,
    false_similarities,
    features,
    project_transformer,
    self_threshold,
    whiten_copynet,
    whitening,
)
from embedder.copynet import CopyNet
from embedder.drawings import draw_pictures
from embedder.vit import VisionTransformer, VitConfig


def test_full_whitening_makes_equal_uncorrelated_axes() -> None:
    torch.manual_seed(0)
    rows = torch.randn(4000, 3) @ torch.tensor([[5.0, 1, 0], [0, 1, 0], [0, 0, 0.1]]) + 7
    weight, bias = whitening(rows, width=3, power=1.0)
    spread = torch.cov((rows @ weight.T + bias).T)
    assert torch.allclose(spread / spread[0, 0], torch.eye(3), atol=1e-3)
    assert (rows @ weight.T + bias).mean(0).abs().max() < 1e-3


def test_power_zero_only_rotates() -> None:
    torch.manual_seed(0)
    rows = torch.randn(500, 4)
    weight, _ = whitening(rows, width=4, power=0.0)
    assert torch.allclose(weight @ weight.T, torch.eye(4), atol=1e-5)


def test_projection_is_the_whitening_of_the_output() -> None:
    torch.manual_seed(0)
    image = draw_pictures(40, 32)
    for wide in (0, 20):  # with and without a linear layer to start from
        network = VisionTransformer(VitConfig(side=32, depth=1, pool="mean", project=wide)).eval()
        shipped = project_transformer(network, image, width=8, power=0.5)
        weight, bias = whitening(features(network, image), 8, 0.5)
        assert shipped.dim == 8
        assert torch.allclose(features(shipped, image), features(network, image) @ weight.T + bias, atol=1e-4)


def test_whitened_copynet_puts_out_uncorrelated_channels() -> None:
    torch.manual_seed(0)
    image = draw_pictures(400, 32)
    network = whiten_copynet(CopyNet("small").eval(), image, power=1.0)
    spread = torch.cov(features(network, image).T)
    strong = spread.diag() > 0.5 * spread.diag().max()
    assert strong.sum() > 20
    inside = spread[strong][:, strong]
    assert (inside - inside.diag().diag()).abs().max() < 0.05 * inside.diag().max()


def test_self_threshold_by_hand() -> None:
    true = torch.tensor([0.9] * 99 + [0.5] * 100 + [0.1])
    nine, five, one = true[0].item(), true[99].item(), true[199].item()
    assert self_threshold(true, torch.tensor([0.4])) == one  # 1 of 201 pairs is false
    assert self_threshold(true, torch.tensor([0.4, 0.3, 0.2])) == five  # 3 of 203 would be too many, none of 199 are
    assert self_threshold(true, torch.tensor([0.6, 0.6, 0.6])) == nine  # 3 of 202 would be too many
    assert self_threshold(torch.tensor([0.2]), torch.tensor([0.8])) > 0.8  # nothing can be told apart


def test_false_pairs_leave_out_an_image_and_its_own_edit() -> None:
    rows = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0.6, 0.8]])  # two originals, then an edit of each
    found = false_similarities(rows, originals=2)
    assert torch.allclose(found, torch.tensor([0.6, 0.6, 0.0, 0.0]))


def test_every_kind_of_edit_changes_the_picture() -> None:
    image = draw_pictures(6, 48)
    plain = edited(image, SINGLE_EDITS["jpeg"].__class__(side=32, area=(1, 1), flip=0, colour=0, grey=0), 32, seed=0).float()
    for kind, cfg in SINGLE_EDITS.items():
        changed = edited(image, cfg, 32, seed=0)
        assert changed.shape == (6, 3, 32, 32), kind
        assert (changed.float() - plain).abs().mean() > 0.05, kind
