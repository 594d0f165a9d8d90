"""Weighted k-NN: exact, over training features in blocks (facebookresearch/dinov2, eval/knn.py).

Letters: N training rows, M queries, E feature width, K neighbours kept, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from embedder.encoder import Encoder
from embedder.evaluation.features import embed, numbered
from embedder.evaluation.folder import labelled

KS = (10, 20, 100, 200)
KEPT = 200  # neighbours that share the softmax, whatever k
TEMPERATURE = 0.07


def nearest(train_NE: Tensor, query_ME: Tensor, kept: int = KEPT, block: int = 50_000) -> tuple[Tensor, Tensor]:
    """The `kept` largest cosines (M, K), falling, and their training rows (M, K); K is at most N. Rows need no unit length."""
    query_ME = functional.normalize(query_ME.float(), dim=1)
    best_MK, row_MK = query_ME.new_zeros(len(query_ME), 0), query_ME.new_zeros(len(query_ME), 0, dtype=torch.int64)
    for start in range(0, len(train_NE), block):
        part_nE = functional.normalize(train_NE[start : start + block].float(), dim=1)
        cosine_Mn = query_ME @ part_nE.T
        number_Mn = torch.arange(start, start + len(part_nE), device=query_ME.device).expand(len(query_ME), -1)
        all_MX, rows_MX = torch.cat([best_MK, cosine_Mn], 1), torch.cat([row_MK, number_Mn], 1)
        best_MK, at_MK = all_MX.topk(min(kept, all_MX.shape[1]), dim=1)
        row_MK = rows_MX.gather(1, at_MK)
    return best_MK, row_MK


def votes(cosine_MK: Tensor, label_MK: Tensor, classes: int, ks: Sequence[int] = KS) -> dict[int, Tensor]:
    """(M, C) class weights by k: softmax of cosine / 0.07 over all K neighbours, then the first k are summed per class."""
    weight_MK = (cosine_MK / TEMPERATURE).softmax(1)
    empty_MC = weight_MK.new_zeros(len(weight_MK), classes)
    return {k: empty_MC.scatter_add(1, label_MK[:, :k], weight_MK[:, :k]) for k in ks}


def classify(
    train_NE: Tensor, label_N: Tensor, query_ME: Tensor, classes: int, ks: Sequence[int] = KS, queries: int = 500
) -> dict[int, Tensor]:
    """The heaviest class (M,) int64 by k. Raises ValueError without training rows."""
    if not len(train_NE):
        raise ValueError("k-NN needs training rows")
    guesses: dict[int, list[Tensor]] = {k: [] for k in ks}
    for part_mE in query_ME.split(queries):
        cosine_mK, row_mK = nearest(train_NE, part_mE, max(KEPT, *ks))
        for k, vote_mC in votes(cosine_mK[:, :KEPT], label_N[row_mK[:, :KEPT]], classes, ks).items():
            guesses[k].append(vote_mC.argmax(1))
    return {k: torch.cat(parts) for k, parts in guesses.items()}


def accuracy(train_NE: Tensor, label_N: Tensor, query_ME: Tensor, truth_M: Tensor, ks: Sequence[int] = KS) -> dict[int, float]:
    """Top-1 by k."""
    classes = int(torch.cat([label_N, truth_M]).max()) + 1
    guesses = classify(train_NE, label_N, query_ME, classes, ks)
    return {k: (guess_M == truth_M).double().mean().item() for k, guess_M in guesses.items()}


def knn_accuracy(encoder: Encoder, train: Path, val: Path, k: int = 20) -> float:
    """Top-1 of an encoder from one labelled place to another (`folder.labelled`); unreadable images are left out."""
    known, asked = embed(encoder, labelled(train)), embed(encoder, labelled(val))
    label_N, truth_M, _ = numbered(known.labels, asked.labels)
    return accuracy(known.rows_NE, label_N, asked.rows_NE, truth_M, (k,))[k]
