"""Assignment: what numpy says, whoever answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curation import kmeans
from curation.kmeans import fused, nearest
from curation.kmeans.assign import assign
from tests.curation.making import unit_rows


def test_assign_equals_numpy_and_ties_go_to_the_lower_number(monkeypatch):
    x, c = unit_rows(50, 5, 3), unit_rows(9, 5, 4)
    monkeypatch.setattr(nearest, "BLOCK", 16)
    labels, best = kmeans.assign(x, c)
    assert labels.tolist() == (x @ c.T).argmax(axis=1).tolist()
    np.testing.assert_allclose(best, (x @ c.T).max(axis=1), atol=1e-6)
    labels, _ = kmeans.assign(x, np.repeat(c[:1], 3, axis=0))
    assert set(labels.tolist()) == {0}


@pytest.mark.parametrize("bf16", [False, True])
def test_plain_torch_equals_numpy(bf16, monkeypatch):
    monkeypatch.setattr(fused, "BLOCK", 130)
    x, c = unit_rows(1000, 48, 1), unit_rows(60, 48, 2)
    bias = np.random.default_rng(0).normal(size=60).astype(np.float32) / 10
    labels, scores = fused._blocks(*map(torch.from_numpy, (x, c, bias)), bf16=bf16)
    assert labels.tolist() == (x @ c.T + bias).argmax(1).tolist()
    np.testing.assert_allclose(scores.numpy(), (x @ c.T + bias).max(1), atol=1e-6)


def test_best_on_a_cpu_is_the_fallback():
    x, c = unit_rows(100, 8, 1), unit_rows(20, 8, 2)
    labels, _ = fused.best(torch.from_numpy(x), torch.from_numpy(c), torch.zeros(20))
    assert labels.tolist() == assign(x, c)[0].tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("n", "k", "dims"), [(1, 1, 8), (1000, 2, 384), (5000, 1000, 384), (3001, 4099, 1280), (513, 130, 100)]
)
def test_the_kernel_agrees_with_float32(n, k, dims):
    x, c = torch.randn(n, dims, device="cuda"), torch.randn(k, dims, device="cuda")
    bias = torch.randn(k, device="cuda")
    labels, scores = fused.best(x, c, bias)
    exact = x.double() @ c.double().T + bias.double()
    best, place = exact.max(dim=1)
    assert (labels == place).float().mean() > 0.99
    regret = best - exact.gather(1, labels[:, None])[:, 0]
    assert regret.max() < 0.01 * dims**0.5  # rounding to bf16 may hide the best from the two that are looked at
    torch.testing.assert_close(scores.double(), exact.gather(1, labels[:, None])[:, 0], atol=1e-3, rtol=1e-5)
