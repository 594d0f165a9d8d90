"""What a transformer's block is made of: attention within images, feed-forward, LayerScale, stochastic depth by subset.

Letters: B images, M tokens of all images, T tokens of one, D width, N heads, F hidden width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedder.rope import Groups, rotate

Ffn = Literal["mlp", "swiglu"]
QkvBias = Literal["all", "no_key", "none"]  # "no_key": queries and values alone (DINOv3)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a block is made from; the first four numbers name a size."""

    width: int
    depth: int
    heads: int
    ffn: Ffn = "mlp"
    hidden: int = 0  # width inside the feed-forward; 0 is the kind's own rule
    qkv_bias: QkvBias = "all"
    eps: float = 1e-6  # of the norms

    @property
    def inner(self) -> int:
        """Width inside the feed-forward; by DINOv2's rule SwiGLU has 2/3 of the MLP's, rounded up to a multiple of 8."""
        rule = (4 * self.width * 2 // 3 + 7) // 8 * 8 if self.ffn == "swiglu" else 4 * self.width
        return self.hidden or rule


def stream(x: Tensor) -> Tensor:
    """Tokens in the precision that they go from block to block in: on a GPU that of the products, half the memory traffic."""
    return x.to(torch.get_autocast_dtype("cuda")) if x.is_cuda and torch.is_autocast_enabled("cuda") else x


PACKED = "varlen"  # attention of several groups in half precision on a GPU: one call over all, or "cudnn" by group


def attend(qkv_M3Nd: Tensor, groups: Groups) -> Tensor:
    """(M, N, d): softmax attention within each image of each group.

    Several groups in half precision on a GPU are one call of torch's variable-length FlashAttention, else each is a call of
    its own; the numbers are the same but for rounding.
    """
    half = qkv_M3Nd.is_cuda and qkv_M3Nd.dtype in (torch.bfloat16, torch.float16)
    if half and len(groups) > 1 and PACKED == "varlen":
        return _attend_packed(qkv_M3Nd, groups)
    sizes = [images * tokens for images, tokens in groups]
    mixed = []
    for part, (images, tokens) in zip(qkv_M3Nd.split(sizes), groups, strict=True):
        q, k, v = part.unflatten(0, (images, tokens)).permute(2, 0, 3, 1, 4)  # each (B, N, T, d)
        found = _cudnn(q, k, v) if half and PACKED == "cudnn" else functional.scaled_dot_product_attention(q, k, v)
        mixed.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(mixed) if len(mixed) > 1 else mixed[0]


def _cudnn(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, torch.is_grad_enabled())[0]


def _attend_packed(qkv_M3Nd: Tensor, groups: Groups) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # registers CUDA operators

    ends, longest = offsets(groups, qkv_M3Nd.device), max(tokens for _, tokens in groups)
    q, k, v = qkv_M3Nd.unbind(1)
    return varlen_attn(q, k, v, ends, ends, longest, longest)


def offsets(groups: Groups, device: torch.device) -> Tensor:
    """(all images + 1,) int32: where each image's tokens begin, and where the last one's end."""
    starts: list[Tensor] = []
    at = 0
    for images, tokens in groups:
        starts.append(torch.arange(at, at + images * tokens, tokens, dtype=torch.int32, device=device))
        at += images * tokens
    return torch.cat([*starts, torch.full((1,), at, dtype=torch.int32, device=device)])


class PartlyBiased(nn.Linear):
    """A linear layer whose bias counts where `bias_mask` is 1. Source: LinearKMaskedBias of dinov3/layers/attention.py."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out)
        mask = torch.ones(out)
        mask[out // 3 : 2 * out // 3] = 0
        self.register_buffer("bias_mask", mask)

    def forward(self, x_MD: Tensor) -> Tensor:
        return functional.linear(x_MD, self.weight, self.bias * self.bias_mask.to(self.bias.dtype))


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection for queries, keys and values."""

    def __init__(self, width: int, heads: int, qkv_bias: QkvBias = "all") -> None:
        super().__init__()
        self.heads = heads
        self.qkv = PartlyBiased(width, 3 * width) if qkv_bias == "no_key" else nn.Linear(width, 3 * width, qkv_bias == "all")
        self.proj = nn.Linear(width, width)

    def forward(self, x_MD: Tensor, groups: Groups, waves_T2d: list[Tensor] | None = None) -> Tensor:
        """waves_T2d: how queries and keys of each group are turned (rope.py); None where positions were added."""
        qkv_M3Nd = self.qkv(x_MD).unflatten(-1, (3, self.heads, -1))
        if waves_T2d is not None:
            qkv_M3Nd = rotate(qkv_M3Nd, waves_T2d, groups)
        return self.proj(attend(qkv_M3Nd, groups).flatten(1))


class Mlp(nn.Module):
    """Two layers with GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x_BTD)))


class SwiGlu(nn.Module):
    """Gated feed-forward."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate_BTF, value_BTF = self.w12(x_BTD).chunk(2, dim=-1)
        return self.w3(functional.silu(gate_BTF) * value_BTF)


class LayerScale(nn.Module):
    """One learned gain per channel on a residual branch."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD * self.gamma


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each on a scaled residual branch, over all tokens of several batches."""

    def __init__(self, shape: Variant, layerscale: float, drop: float = 0.0) -> None:
        super().__init__()
        self.drop = drop
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.eps)
        self.attn = Attention(shape.width, shape.heads, shape.qkv_bias)
        self.ls1 = LayerScale(shape.width, layerscale) if layerscale else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.eps)
        self.mlp = (SwiGlu if shape.ffn == "swiglu" else Mlp)(shape.width, shape.inner)
        self.ls2 = LayerScale(shape.width, layerscale) if layerscale else nn.Identity()

    def forward(self, x_MD: Tensor, groups: Groups, waves_T2d: list[Tensor] | None = None) -> Tensor:
        x_MD = self._with(x_MD, groups, lambda x, some: self.ls1(self.attn(self.norm1(x), some, waves_T2d)))
        return self._with(x_MD, groups, lambda x, _: self.ls2(self.mlp(self.norm2(x))))

    def _with(self, x_MD: Tensor, groups: Groups, branch: Callable[[Tensor, Groups], Tensor]) -> Tensor:
        """x and a branch of it: in training, of a random subset of each group's images, which counts for all of them."""
        if not (self.training and self.drop):
            return x_MD + branch(x_MD, groups).to(x_MD.dtype)
        kept = [(max(1, int(images * (1 - self.drop))), tokens) for images, tokens in groups]
        at_m: list[Tensor] = []
        start = 0
        for (images, tokens), (few, _) in zip(groups, kept, strict=True):
            chosen = torch.randperm(images, device=x_MD.device)[:few]
            at_m.append((start + chosen[:, None] * tokens + torch.arange(tokens, device=x_MD.device)).flatten())
            start += images * tokens
        at = torch.cat(at_m)
        made = branch(x_MD[at], kept).split([few * tokens for few, tokens in kept])
        weights = [images / few for (images, _), (few, _) in zip(groups, kept, strict=True)]
        scaled = torch.cat([part * weight for part, weight in zip(made, weights, strict=True)])
        return x_MD.index_add(0, at, scaled.to(x_MD.dtype))
