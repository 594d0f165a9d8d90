"""A teacher that needs no labels and no training by gradient: hand-made descriptors, and what in them stays under cuts.

Two descriptors of a 64-pixel view are joined: oriented gradients in 8-pixel cells (Dalal and Triggs 2005; as a training
target, MaskFeat, arXiv 2112.09133), and k-means patch codes with the triangle encoding (Coates, Ng and Lee 2011). Of
their leading principal axes those directions are kept in which pictures differ most, measured by how much one picture
differs from itself when it is cut, mirrored and recoloured: Fisher's discriminant with every picture a class of its own,
in closed form what contrastive learning looks for by gradient (Barlow twins and VICReg of a linear network are its kin,
arXiv 2205.11508). A small transformer learns from these targets in minutes, where contrastive learning alone needs hours.

Letters: B images, P patches, K k-means centres, F raw features, Z principal features, E projected features.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 64  # pixels
PATCH = 6  # pixels of the half-size view
CELL = 8  # pixels
ORIENTATIONS = 12
SOFTEN_PATCH = 10 / 255**2
SOFTEN_AXES = 0.1
SOFTEN_WITHIN = 0.01  # of the mean spread, added to how much a picture differs from itself
AXES = (400, 1200)  # principal axes of gradients and codes
AT_ONCE = 16  # views whose patch codes stay in a core's cache


@dataclass(frozen=True)
class Projection:
    """Centre, project, unit length."""

    mean_F: Tensor
    axes_FE: Tensor

    def __call__(self, features_BF: Tensor) -> Tensor:
        return functional.normalize(self.inside(features_BF), dim=1)

    def inside(self, features_BF: Tensor) -> Tensor:
        """(B, E), not of unit length."""
        return (features_BF - self.mean_F) @ self.axes_FE


@dataclass(frozen=True)
class PatchCodes:
    """Views to k-means patch codes."""

    filters_QK: Tensor  # Q values of a patch to K products with the whitened centres
    bias_K: Tensor
    whiten_QQ: Tensor
    mean_Q: Tensor

    def __call__(self, view_B3SS: Tensor) -> Tensor:
        """Returns (B, 9 K): how much nearer than average each centre is to each patch, averaged over a 3 x 3 layout."""
        z_BPQ = (unit_patches(view_B3SS, stride=2) - self.mean_Q) @ self.whiten_QQ
        squared = z_BPQ.pow(2).sum(-1, keepdim=True) + self.bias_K - 2 * (z_BPQ @ self.filters_QK)
        distance_BPK = squared.clamp(min=0).sqrt_()
        code_BPK = (distance_BPK.mean(-1, keepdim=True) - distance_BPK).clamp_(min=0)
        B, P, K = code_BPK.shape
        rows = round(P**0.5)
        return functional.adaptive_avg_pool2d(code_BPK.reshape(B, rows, rows, K).permute(0, 3, 1, 2), 3).flatten(1)


@dataclass(frozen=True)
class Teacher:
    """Views to unit targets. Build one with `fit_teacher`."""

    codes: PatchCodes
    kept: Projection

    @property
    def dim(self) -> int:
        """Width of a target."""
        return self.kept.axes_FE.shape[1]

    @torch.no_grad()
    def __call__(self, view_B3SS: Tensor) -> Tensor:
        """Returns (B, dim) of unit length. view_B3SS: float32 in [0, 1], of any size."""
        return torch.cat([self.kept(torch.cat(descriptors(part, self.codes), dim=1)) for part in view_B3SS.split(AT_ONCE)])


def descriptors(view_B3SS: Tensor, codes: PatchCodes) -> tuple[Tensor, Tensor]:
    """Returns oriented gradients (B, 768) and patch codes (B, 9 K)."""
    view = shrink(view_B3SS)
    return oriented_gradients(view), codes(view)


def shrink(view_B3SS: Tensor) -> Tensor:
    """Returns the views at 64 pixels."""
    if view_B3SS.shape[-1] == SIDE:
        return view_B3SS
    return functional.interpolate(view_B3SS, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def oriented_gradients(view_B3SS: Tensor) -> Tensor:
    """Returns (B, F): a histogram of 12 unsigned directions in every 8 x 8 pixel cell, of about unit length."""
    grey = functional.pad(view_B3SS.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    dx, dy = grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2], grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]
    strength = (dx**2 + dy**2).sqrt()
    direction = torch.atan2(dy, dx).remainder(torch.pi) / torch.pi * ORIENTATIONS
    lower = direction.floor()
    upper_share = direction - lower
    bins = torch.zeros(len(grey), ORIENTATIONS, *strength.shape[2:])
    bins.scatter_add_(1, lower.long() % ORIENTATIONS, strength * (1 - upper_share))
    bins.scatter_add_(1, (lower.long() + 1) % ORIENTATIONS, strength * upper_share)
    cells = functional.avg_pool2d(bins, CELL)
    return (cells / (cells.pow(2).sum(1, keepdim=True) + 4e-4).sqrt()).flatten(1)


def unit_patches(view_B3SS: Tensor, stride: int) -> Tensor:
    """Returns (B, P, Q): 6 x 6 colour patches of the half-size view, each of zero mean and about unit spread."""
    patches_BPQ = functional.unfold(functional.avg_pool2d(view_B3SS, 2), PATCH, stride=stride).transpose(1, 2)
    spread, mean = torch.var_mean(patches_BPQ, dim=-1, keepdim=True)
    return (patches_BPQ - mean) * (spread + SOFTEN_PATCH).rsqrt()


@torch.no_grad()
def fit_teacher(
    view_B3SS: Tensor,
    pairs: Iterable[tuple[Tensor, Tensor]],
    *,
    centres: int = 600,
    width: int = 256,
    seed: int = 0,
) -> Teacher:
    """Fit centres and axes on a few thousand views; the same seed and pairs give the same teacher.

    view_B3SS: float32 in [0, 1], of any size. pairs: batches of two differently edited views each of the same pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    codes = fit_codes(shrink(view_B3SS), centres, generator)
    parts = zip(*(descriptors(part, codes) for part in view_B3SS.split(AT_ONCE)), strict=True)
    principal = [_principal(torch.cat(part), axes, generator) for part, axes in zip(parts, AXES, strict=True)]

    def inside(view: Tensor) -> Tensor:
        both = (descriptors(part, codes) for part in view.split(AT_ONCE))
        return torch.cat([torch.cat([one.inside(raw) for one, raw in zip(principal, found, strict=True)], 1) for found in both])

    one_BZ, other_BZ = (torch.cat(views) for views in zip(*((inside(a), inside(b)) for a, b in pairs), strict=True))
    steady_ZE = steady(one_BZ, other_BZ, width)
    turns = zip(principal, steady_ZE.split([one.axes_FE.shape[1] for one in principal]), strict=True)
    axes_FE = torch.cat([one.axes_FE @ turn for one, turn in turns])
    return Teacher(codes, Projection(torch.cat([one.mean_F for one in principal]), axes_FE))


def steady(one_BZ: Tensor, other_BZ: Tensor, width: int) -> Tensor:
    """Axes (Z, E) along which pictures differ most for what one differs from its other view.

    Spread of a picture's own views is 1 along each axis, so that what only cuts change weighs no more than what counts.
    """
    within_ZZ = _scatter(one_BZ - other_BZ) / 2
    both = torch.cat([one_BZ, other_BZ])
    all_ZZ = _scatter(both - both.mean(0))
    soft = SOFTEN_WITHIN * all_ZZ.diagonal().mean() * torch.eye(len(all_ZZ), dtype=all_ZZ.dtype)
    inverse_ZZ = torch.linalg.inv(torch.linalg.cholesky(within_ZZ + soft))
    axes = torch.linalg.eigh(inverse_ZZ @ (all_ZZ - within_ZZ) @ inverse_ZZ.T).eigenvectors.flip(1)[:, :width]
    return (inverse_ZZ.T @ axes).float()


def _scatter(rows_BZ: Tensor) -> Tensor:
    rows = rows_BZ.double()
    return rows.T @ rows / len(rows)


def fit_codes(view_B3SS: Tensor, centres: int, generator: torch.Generator) -> PatchCodes:
    """Whitening and k-means centres of 150,000 patches of 64-pixel views."""
    some = view_B3SS[torch.randperm(len(view_B3SS), generator=generator)[:4000]]
    patches_NQ = unit_patches(some, stride=3).flatten(0, 1)
    patches_NQ = patches_NQ[torch.randperm(len(patches_NQ), generator=generator)[:150_000]]
    mean_Q, whiten_QQ = patches_NQ.mean(0), _zca(patches_NQ)
    centre_KQ = _centres((patches_NQ - mean_Q) @ whiten_QQ, centres, generator)
    return PatchCodes(centre_KQ.T.contiguous(), centre_KQ.pow(2).sum(1), whiten_QQ, mean_Q)


def _zca(patches_NQ: Tensor) -> Tensor:
    value, axes = torch.linalg.eigh(torch.cov(patches_NQ.T))
    return axes @ torch.diag((value + SOFTEN_AXES).rsqrt()) @ axes.T


def _centres(z_NQ: Tensor, count: int, generator: torch.Generator, rounds: int = 10) -> Tensor:
    """Returns (K, Q): plain k-means from random patches."""
    centre_KQ = z_NQ[torch.randperm(len(z_NQ), generator=generator)[:count]].clone()
    for _ in range(rounds):
        nearest_N = torch.cat([torch.cdist(part, centre_KQ).argmin(1) for part in z_NQ.split(20_000)])
        size_K = torch.bincount(nearest_N, minlength=count).clamp(min=1)
        centre_KQ = torch.zeros_like(centre_KQ).index_add_(0, nearest_N, z_NQ) / size_K[:, None]
    return centre_KQ


def _principal(features_BF: Tensor, width: int, generator: torch.Generator) -> Projection:
    """Leading principal axes by randomised subspace iteration, scaled to a total spread of 1."""
    centred = features_BF - features_BF.mean(0)
    width = min(width, *centred.shape)
    basis = torch.randn(centred.shape[1], min(width + 32, centred.shape[1]), generator=generator)
    for _ in range(3):
        basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
    inside = centred @ basis
    value, turn = torch.linalg.eigh(inside.T @ inside / len(centred))
    value, turn = value.flip(0)[:width], turn.flip(1)[:, :width]
    return Projection(features_BF.mean(0), basis @ turn * value.clamp(min=0).sum().rsqrt())
