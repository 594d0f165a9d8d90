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

    Differs from the reference: the largest score is taken off before exp, which changes nothing but that it cannot overflow.
    """
    scaled = scores_MK.float() / temperature
    most = scaled.max() if len(scaled) else scaled.new_full((), -torch.inf)
    q_MK = torch.exp(scaled - summed(most.clone(), distributed.ReduceOp.MAX))
    rows = summed(q_MK.new_full((), float(len(q_MK))))
    q_MK /= summed(q_MK.sum())
    for _ in range(ROUNDS):
        q_MK /= summed(q_MK.sum(dim=0)) * q_MK.shape[1]
        q_MK /= q_MK.sum(dim=1, keepdim=True) * rows
    return q_MK * rows


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
        if total[-1] > 0:
            self.centre.lerp_(total[:-1] / total[-1], 1 - self.keep)
        return probabilities_MK


class Sinkhorn(nn.Module):
    """`sinkhorn` in the place of a `Centre`."""

    def forward(self, scores_MK: Tensor, temperature: float) -> Tensor:
        return sinkhorn(scores_MK, temperature)
