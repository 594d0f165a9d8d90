"""Logistic regression on frozen features; the strength is chosen on a tenth of the training rows.

After facebookresearch/dinov2, eval/log_regression.py.
Letters: N training rows, M validation rows, E feature width.
"""

from __future__ import annotations

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

STRENGTHS = tuple((10.0 ** torch.linspace(-6, 5, 45, dtype=torch.float64)).tolist())
"""scikit-learn's C: the weight of the summed loss against half the squared norm."""


def logistic(
    train_NE: Tensor, label_N: Tensor, val_ME: Tensor, truth_M: Tensor,
    strengths: tuple[float, ...] = STRENGTHS, iterations: int = 1000, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Top-1 on the validation rows of the chosen strength, refitted on all training rows. Raises ValueError for too few."""
    held = max(1, len(train_NE) // 10)
    order_N = torch.randperm(len(train_NE), generator=torch.Generator().manual_seed(seed))
    fit_n, held_n = order_N[held:], order_N[:held]
    if len(label_N[fit_n].unique()) < 2:
        raise ValueError(f"logistic regression needs two classes among its training rows, of which there are {len(train_NE)}")
    scores = {c: _score(train_NE[fit_n], label_N[fit_n], train_NE[held_n], label_N[held_n], c, iterations) for c in strengths}
    chosen = max(strengths, key=lambda c: scores[c])  # the smallest of equals
    top1 = _score(train_NE, label_N, val_ME, truth_M, chosen, iterations)
    return {"top1": top1, "strength": chosen, "top1_held_out": scores[chosen]}


def _score(train_NE: Tensor, label_N: Tensor, val_ME: Tensor, truth_M: Tensor, strength: float, iterations: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the count of steps is part of the protocol
        model = LogisticRegression(C=strength, max_iter=iterations).fit(train_NE.double().numpy(), label_N.numpy())
    return float(model.score(val_ME.double().numpy(), truth_M.numpy()))
