"""Retrieval by cosine: mean average precision of each image's own class.

Letters: N images searched, M queries, E feature width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def mean_average_precision(base_NE: Tensor, label_N: Tensor, query_ME: Tensor, truth_M: Tensor, queries: int = 500) -> float:
    """Mean over queries of the mean precision at each positive's rank; queries without a positive do not count.

    Raises ValueError if no query has a positive.
    """
    base_NE, found = functional.normalize(base_NE.float(), dim=1), list[Tensor]()
    for part_mE, truth_m in zip(query_ME.split(queries), truth_M.split(queries), strict=True):
        order_mN = (functional.normalize(part_mE.float(), dim=1) @ base_NE.T).argsort(dim=1, descending=True, stable=True)
        found.append(average_precision(label_N[order_mN] == truth_m[:, None]))
    each_M = torch.cat(found)
    if each_M.isnan().all():
        raise ValueError("no query shares its class with an image that is searched")
    return each_M.nanmean().item()


def average_precision(positive_MN: Tensor) -> Tensor:
    """(M,) float64 from which ranks are positive, best first; NaN where none is."""
    hits_MN = positive_MN.cumsum(1, dtype=torch.float64)
    precision_MN = hits_MN / torch.arange(1, positive_MN.shape[1] + 1)
    return (precision_MN * positive_MN).sum(1) / positive_MN.sum(1)
