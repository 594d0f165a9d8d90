"""The three losses of DINOv2, each one function of scores or features.

Source: DINOv2 paper, section 4, and dinov2/loss/. All of them compute in fp32. Cross-entropies are written as the log of
the sum of exponents less the mean score, which a compiler makes one pass over the scores, and one back.

Letters: C student crops, T teacher crops (2), B images, K prototypes, M masked tokens, D width, G images of a group.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dino(student_CBK: Tensor, teacher_TBK: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of every student crop with every teacher crop but its own, the mean over pairs and images.

    student_CBK: scores, the T global crops first, in the teacher's order. teacher_TBK: float32 probabilities.
    """
    crops, views = len(student_CBK), len(teacher_TBK)
    logits_CBK = student_CBK.float() / temperature
    log_CB = torch.logsumexp(logits_CBK, dim=-1)
    every = views * log_CB.sum() - (teacher_TBK.sum(dim=0) * logits_CBK).sum()
    own = log_CB[:views].sum() - (teacher_TBK * logits_CBK[:views]).sum()
    return (every - own) / (crops * views - views) / student_CBK.shape[1]


def ibot(student_MK: Tensor, teacher_MK: Tensor, weight_M: Tensor, crops: int, temperature: float) -> Tensor:
    """Cross-entropy at masked tokens: the mean of each crop's tokens, summed, over all crops; one without a mask adds nothing.

    student_MK: scores; teacher_MK: float32 probabilities. weight_M: 1 / masked tokens of the token's crop. crops: global crops.
    """
    logits_MK = student_MK.float() / temperature
    entropy_M = torch.logsumexp(logits_MK, dim=-1) - (teacher_MK * logits_MK).sum(dim=-1)
    return (entropy_M * weight_M).sum() / crops


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
