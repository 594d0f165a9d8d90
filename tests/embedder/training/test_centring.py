"""Teacher probabilities: a moving centre by hand, Sinkhorn-Knopp by its definition."""

from __future__ import annotations

import torch

from embedder.training.centring import Centre, sinkhorn


def test_a_centre_counts_from_the_next_step_on():
    centre, first = Centre(3, keep=0.9), torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    torch.testing.assert_close(centre(first, 0.5), torch.softmax(first / 0.5, -1))
    torch.testing.assert_close(centre.centre, torch.tensor([0.2, 0.2, 0.2]))
    second = torch.tensor([[1.0, 0.0, 0.0]])
    torch.testing.assert_close(centre(second, 0.5), torch.softmax((second - 0.2) / 0.5, -1))
    torch.testing.assert_close(centre.centre, torch.tensor([0.28, 0.18, 0.18]))


def test_no_rows_leave_the_centre_where_it_is():
    centre = Centre(3)
    assert centre(torch.zeros(0, 3), 0.1).shape == (0, 3)
    assert centre.centre.tolist() == [0, 0, 0]


def naive_sinkhorn(scores, temperature):
    q = torch.exp(scores.double() / temperature).T
    prototypes, rows = q.shape
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(dim=1, keepdim=True)
        q /= prototypes
        q /= q.sum(dim=0, keepdim=True)
        q /= rows
    return (q * rows).T


def test_sinkhorn_is_three_rounds_and_uses_prototypes_alike():
    scores = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    found = sinkhorn(scores, 0.3)
    torch.testing.assert_close(found.double(), naive_sinkhorn(scores, 0.3), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(12))
    plain = torch.softmax(scores / 0.3, -1).mean(0)
    assert (found.mean(0) - 0.2).abs().max() < (plain - 0.2).abs().max() / 3


def test_sinkhorn_of_large_scores_is_finite_and_of_none_empty():
    assert torch.isfinite(sinkhorn(torch.tensor([[900.0, 0.0], [0.0, 900.0]]), 0.04)).all()
    assert sinkhorn(torch.zeros(0, 4), 0.04).shape == (0, 4)


def test_sinkhorn_of_half_precision_scores_computes_in_float32():
    scores = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = sinkhorn(scores, 0.3)
    torch.testing.assert_close(found, naive_sinkhorn(scores, 0.3).float(), rtol=1e-5, atol=1e-6)
