"""Each loss against its formula, written out naively."""

from __future__ import annotations

import math

import pytest
import torch

from embedder.training import losses


def test_dino_is_the_mean_cross_entropy_of_all_pairs_of_different_crops():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3, 7), torch.softmax(torch.randn(2, 3, 7), -1)
    terms = []
    for t in range(2):
        for c in range(5):
            if c == t:
                continue
            for image in range(3):
                log = student[c, image] / 0.1 - torch.logsumexp(student[c, image] / 0.1, 0)
                terms.append(-sum(teacher[t, image, k] * log[k] for k in range(7)))
    expected = sum(terms) / (8 * 3)  # 2 global and 6 local pairs, 3 images
    assert losses.dino(student, teacher, 0.1).item() == pytest.approx(float(expected), rel=1e-6)


def test_ibot_is_the_mean_of_each_crop_and_crops_without_a_mask_count():
    torch.manual_seed(1)
    student, teacher = torch.randn(5, 4), torch.softmax(torch.randn(5, 4), -1)
    crop = [0, 0, 0, 2, 2]  # crops 1 and 3 have no mask
    weights = torch.tensor([1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2])
    by_crop = {0: [], 2: []}
    for token in range(5):
        log = torch.log_softmax(student[token].double() / 0.2, 0)
        by_crop[crop[token]].append(-float((teacher[token].double() * log).sum()))
    expected = sum(sum(v) / len(v) for v in by_crop.values()) / 4
    assert losses.ibot(student, teacher, weights, 4, 0.2).item() == pytest.approx(expected, rel=1e-6)
    assert losses.ibot(student[:0], teacher[:0], weights[:0], 4, 0.2).item() == 0


def naive_koleo(x):
    x = [[float(v) / math.sqrt(sum(float(w) ** 2 for w in row)) for v in row] for row in x]
    total = 0.0
    for i, row in enumerate(x):
        products = [(sum(a * b for a, b in zip(row, other, strict=True)), j) for j, other in enumerate(x) if j != i]
        near = x[max(products)[1]]
        total -= math.log(math.sqrt(sum((a - b + 1e-8) ** 2 for a, b in zip(row, near, strict=True))) + 1e-8)
    return total / len(x)


def test_koleo_is_minus_the_mean_log_distance_to_the_nearest_of_the_group():
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(2))
    assert losses.koleo(x).item() == pytest.approx(naive_koleo(x), abs=1e-6)
    halves = (naive_koleo(x[:4]) + naive_koleo(x[4:])) / 2
    assert losses.koleo(x, group=4).item() == pytest.approx(halves, abs=1e-6)
    assert losses.koleo(x[:1]).item() == 0


def test_koleo_of_equal_images_is_finite_with_finite_gradients():
    x = torch.ones(4, 5, requires_grad=True)
    value = losses.koleo(x)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(x.grad).all()
