"""SSCD's two losses over the views of all processes, and what it takes to have gradients through them.

Every process holds its own views, sees all descriptors, and computes the loss of its own rows against them; the mean of
the processes' losses is the loss of the whole batch, and so is its gradient, whatever their number.
Source: SSCD (arXiv 2202.10261), equations 3 and 5 to 7.

Letters: N views of this process, M views of all, E descriptor width, C channels.
"""

import math
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional


def world() -> int:
    """Processes that train together; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process among them."""
    return distributed.get_rank() if distributed.is_initialized() else 0


class _Gather(torch.autograd.Function):
    """Rows of all processes in the order of their ranks; backward sums what every process's loss says of ours."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(world())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        distributed.all_reduce(gradient)
        return gradient[rank() * ctx.rows : (rank() + 1) * ctx.rows]


class _Sum(torch.autograd.Function):
    """The sum over all processes, and of its gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        distributed.all_reduce(gradient)
        return gradient


def _total(value: Tensor) -> Tensor:
    return _Sum.apply(value)  # pyright: ignore[reportReturnType]


def gather(rows: Tensor) -> Tensor:
    """Rows of all processes, with gradient where they have one."""
    return _Gather.apply(rows) if world() > 1 else rows  # pyright: ignore[reportReturnType]


def sscd_losses(z_NE: Tensor, sources_N2: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Returns InfoNCE and KoLeo, each the mean over this process's views.

    z_NE: unit rows. sources_N2: the one or two images that each view shows (an unmixed view names its own twice), by
    numbers that no two images of the whole batch share. Views that show a common image match.
    InfoNCE of a matching pair (i, j) has e^s_ij and the non-matches of i in its denominator, not the other matches; a
    view's loss is the mean over its matches. KoLeo is minus the log distance to the nearest non-match.
    """
    all_ME, sources_M2 = gather(z_NE), gather(sources_N2)
    similarity_NM = z_NE @ all_ME.T
    match_NM = (sources_N2[:, None, :, None] == sources_M2[None, :, None, :]).flatten(2).any(2)
    own_N = rank() * len(z_NE) + torch.arange(len(z_NE), device=z_NE.device)
    twin_NM = match_NM.clone().scatter_(1, own_N[:, None], value=False)
    logit_NM = similarity_NM / temperature
    apart_N1 = logit_NM.masked_fill(match_NM, -torch.inf).logsumexp(1, keepdim=True)
    surprise_NM = functional.softplus(apart_N1 - logit_NM)  # -log (e^s_ij / (e^s_ij + sum over non-matches))
    contrast_N = (surprise_NM * twin_NM).sum(1) / twin_NM.sum(1)
    nearest_N = similarity_NM.masked_fill(match_NM, -2.0).amax(1)
    return contrast_N.mean(), -(2 - 2 * nearest_N).clamp(min=1e-6).sqrt().log().mean()


def info_nce(z_NE: Tensor, temperature: float) -> Tensor:
    """Mean over views of -log softmax of the view's own twin among all other views.

    z_NE: unit rows; rows i and i + N/2 are twins.
    """
    N = len(z_NE)
    similarity_NN = (z_NE @ z_NE.T) / temperature
    similarity_NN = similarity_NN.masked_fill(torch.eye(N, dtype=torch.bool), -math.inf)
    twin_N = torch.arange(N).roll(N // 2)
    return functional.cross_entropy(similarity_NN, twin_N)


def local_nce(z_LE: Tensor, other_NE: Tensor, temperature: float) -> Tensor:
    """Mean over small views and both halves of the large ones of -log softmax of the same image among that half.

    z_LE: unit rows, a multiple of N/2 of them, in the images' order each time. other_NE: the large views, as in `info_nce`.
    """
    half = len(other_NE) // 2
    image_L = torch.arange(half).repeat(len(z_LE) // half)
    return torch.stack([functional.cross_entropy(z_LE @ part.T / temperature, image_L) for part in other_NE.split(half)]).mean()


def koleo(z_NE: Tensor) -> Tensor:
    """Minus the mean log distance of each view to its nearest view of another image (SSCD, equation 5)."""
    N = len(z_NE)
    same_NN = torch.eye(N // 2, dtype=torch.bool).repeat(2, 2)
    nearest_N = (z_NE @ z_NE.T).masked_fill(same_NN, -2.0).amax(1)
    return -(2 - 2 * nearest_N).clamp(min=1e-6).sqrt().log().mean()


class SharedNorm(nn.BatchNorm2d):
    """Batch norm over the views of all processes, on any device: torch's SyncBatchNorm takes GPUs only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the parent's name)
        if not self.training or world() == 1:
            return super().forward(input)
        count = input.numel() / input.shape[1] * world()
        mean_C = _total(input.sum((0, 2, 3))) / count
        centred = input - mean_C[:, None, None]
        variance_C = _total(centred.square().sum((0, 2, 3))) / count
        self._remember(mean_C.detach(), variance_C.detach() * count / (count - 1))
        scale_C = self.weight * (variance_C + self.eps).rsqrt()
        return centred * scale_C[:, None, None] + self.bias[:, None, None]

    def _remember(self, mean_C: Tensor, variance_C: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C, self.momentum)
        self.num_batches_tracked.add_(1)


def share_norms(network: nn.Module) -> nn.Module:
    """The network with batch norms over all processes: torch's on a GPU, this file's on a CPU. Tensors keep their names."""
    if next(network.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedNorm
    return network
