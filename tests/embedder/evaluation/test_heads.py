"""Linear heads, logistic regression and retrieval on answers that are known beforehand."""

import math

import pytest
import torch

from embedder.evaluation.linear import RATES, LinearConfig, linear
from embedder.evaluation.logistic import STRENGTHS, logistic
from embedder.evaluation.retrieval import average_precision, mean_average_precision


def blobs(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes told apart by the first three of eight numbers, another eight being noise."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % 3
    return torch.randn(rows, 16, generator=generator) * 0.3 + torch.nn.functional.one_hot(label, 16) * 3, label


def test_grids_are_the_published_ones() -> None:
    assert len(RATES) == 13
    assert (RATES[0], RATES[1], RATES[-2], RATES[-1]) == (1e-5, 2e-5, 5e-2, 0.1)
    assert len(STRENGTHS) == 45
    assert STRENGTHS[0] == pytest.approx(1e-6)
    assert STRENGTHS[-1] == pytest.approx(1e5)


def test_linear_heads_solve_what_is_separable_and_not_what_is_noise() -> None:
    (train, label), (val, truth) = blobs(300, 0), blobs(90, 1)
    cfg = LinearConfig(steps=60, batch=64)
    assert linear(train, label, val, truth, 8, cfg)["top1"] > 0.98
    shuffled = truth[torch.randperm(90, generator=torch.Generator().manual_seed(3))]
    assert linear(train, label, val, shuffled, 8, cfg)["top1"] < 0.6


def test_the_mean_patch_helps_where_the_class_token_knows_nothing() -> None:
    (train, label), (val, truth) = blobs(300, 0), blobs(90, 1)
    found = linear(train.roll(8, 1), label, val.roll(8, 1), truth, 8, LinearConfig(steps=60, batch=64))
    assert found["top1"] > 0.98
    assert "mean patch" in str(found["head"])


def test_logistic_regression_chooses_a_strength_and_solves_what_is_separable() -> None:
    (train, label), (val, truth) = blobs(300, 0), blobs(90, 1)
    found = logistic(train, label, val, truth, STRENGTHS[::6])
    assert found["top1"] > 0.98
    assert found["strength"] in STRENGTHS


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match="two classes"):
        logistic(torch.eye(4), torch.zeros(4, dtype=torch.int64), torch.eye(4), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="positive"):
        LinearConfig(steps=0)


def test_average_precision_by_hand() -> None:
    found = average_precision(torch.tensor([[True, False, True, False], [False, False, False, True], [False] * 4]))
    assert found[:2].tolist() == pytest.approx([(1 + 2 / 3) / 2, 1 / 4])
    assert math.isnan(found[2])


def test_mean_average_precision_by_hand() -> None:
    base = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    label = torch.tensor([0, 1, 0])
    # Ranks of query [1, 0]: rows 0, 1, 2, of which the first and the third are positive; class 9 has none and does not count.
    query, truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 9])
    assert mean_average_precision(base, label, query, truth) == pytest.approx((1 + 2 / 3) / 2)
    with pytest.raises(ValueError, match="no query"):
        mean_average_precision(base, label, query, torch.tensor([9, 9]))
