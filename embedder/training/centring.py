"""From the teacher's scores to probabilities that do not collapse: a moving centre, or Sinkhorn-Knopp. Over all processes.

Source: DINOv2 paper, section 4, and dinov2/loss/; Sinkhorn-Knopp as in SwAV (arXiv 2006.09882), 3 rounds.

Letters: M rows of this process, K prototypes.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

ROUNDS = 3


def summed(x: Tensor, op: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> Tensor:
    """x, reduced over all processes; x itself where there is one."""
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(x, op)
    return x


@torch.no_grad()
def sinkhorn(scores_MK: Tensor, temperature: float) -> Tensor:
    """Probabilities (M, K) whose rows sum to 1 and which use all prototypes alike over the rows of all processes.

    Differs from the reference: the largest score is taken off before exp, which changes nothing but that it cannot overflow;
    and the rounds scale rows and columns by two vectors, so that they read the matrix and do not write it.
    """
    with torch.autocast(scores_MK.device.type, enabled=False):
        q_MK = _exponents(scores_MK, temperature)
        row_M, column_K = q_MK.new_ones(len(q_MK)), q_MK.new_ones(q_MK.shape[1])
        for _ in range(ROUNDS):
            column_K = 1 / summed(row_M @ q_MK)
            row_M = 1 / (q_MK @ column_K)
        return q_MK.mul_(row_M[:, None]).mul_(column_K)


def _exponents(scores_MK: Tensor, temperature: float) -> Tensor:
    """exp of the scores over the temperature, the largest of all processes 1."""
    most = scores_MK.max().float() if len(scores_MK) else scores_MK.new_full((), -torch.inf, dtype=torch.float32)
    return (scores_MK.float() - summed(most, distributed.ReduceOp.MAX)).div_(temperature).exp_()


class Centre(nn.Module):
    """Softmax of scores less their moving mean. The mean of a step counts from the next one on."""

    def __init__(self, prototypes: int, keep: float = 0.9) -> None:
        super().__init__()
        self.keep = keep
        self.register_buffer("centre", torch.zeros(prototypes))

    @torch.no_grad()
    def forward(self, scores_MK: Tensor, temperature: float) -> Tensor:
        """Probabilities (M, K), and the centre moved."""
        scores_MK = scores_MK.float()
        probabilities_MK = torch.softmax((scores_MK - self.centre) / temperature, dim=-1)
        total = summed(torch.cat([scores_MK.sum(dim=0), scores_MK.new_full((1,), float(len(scores_MK)))]))
        share = (1 - self.keep) * (total[-1] > 0)  # no rows leave it where it is; nobody waits to know
        self.centre.lerp_(total[:-1] / total[-1].clamp_min(1), share)
        return probabilities_MK


class Sinkhorn(nn.Module):
    """`sinkhorn` in the place of a `Centre`."""

    def forward(self, scores_MK: Tensor, temperature: float) -> Tensor:
        return sinkhorn(scores_MK, temperature)
