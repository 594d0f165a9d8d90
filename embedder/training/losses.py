"""The three losses of DINOv2, each one function of scores or features.

Source: DINOv2 paper, section 4, and dinov2/loss/. All of them compute in fp32.

Letters: C student crops, T teacher crops (2), B images, K prototypes, M masked tokens, D width, G images of a group.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dino(student_CBK: Tensor, teacher_TBK: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of every student crop with every teacher crop but its own, the mean over pairs and images.

    student_CBK: scores, the T global crops first, in the teacher's order. teacher_TBK: probabilities.
    """
    log_CBK = functional.log_softmax(student_CBK.float() / temperature, dim=-1)
    crops, views = len(student_CBK), len(teacher_TBK)
    sums_TC = -torch.einsum("tbk,cbk->tc", teacher_TBK.float(), log_CBK)
    others = sums_TC.sum() - sums_TC.diagonal().sum()
    return others / (crops * views - views) / student_CBK.shape[1]


def ibot(student_MK: Tensor, teacher_MK: Tensor, weight_M: Tensor, crops: int, temperature: float) -> Tensor:
    """Cross-entropy at masked tokens: the mean of each crop's tokens, summed, over all crops; one without a mask adds nothing.

    student_MK: scores; teacher_MK: probabilities. weight_M: 1 / masked tokens of the token's crop. crops: global crops.
    """
    log_MK = functional.log_softmax(student_MK.float() / temperature, dim=-1)
    return -((teacher_MK.float() * log_MK).sum(dim=-1) * weight_M).sum() / crops


def koleo(x_BD: Tensor, group: int = 0) -> Tensor:
    """Minus the mean log distance of each feature to its nearest: spreads features out (Kozachenko-Leonenko).

    group: images among which the nearest is looked for, consecutive ones; 0: all. The reference looks among those of one
    GPU; groups keep the loss the same for any number of processes. B is a multiple of the group. One image has loss 0.
    """
    with torch.autocast(x_BD.device.type, enabled=False):
        size = group or len(x_BD)
        if size < 2:
            return x_BD.float().sum() * 0
        x_gGD = functional.normalize(x_BD.float(), dim=-1, eps=1e-8).unflatten(0, (-1, size))
        with torch.no_grad():
            likeness = x_gGD @ x_gGD.transpose(1, 2)
            nearest_gG = likeness.diagonal_scatter(likeness.new_full((len(x_gGD), size), -2.0), dim1=1, dim2=2).argmax(dim=2)
        nearest_gGD = x_gGD.gather(1, nearest_gG[:, :, None].expand_as(x_gGD))
        distance = functional.pairwise_distance(x_gGD.flatten(0, 1), nearest_gGD.flatten(0, 1), eps=1e-8)
        return -torch.log(distance + 1e-8).mean()
