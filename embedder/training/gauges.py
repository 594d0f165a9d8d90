"""What a device could do, and what a step needs of it."""

from __future__ import annotations

import resource
import time

import torch

from embedder.training.config import TrainConfig
from embedder.training.student_teacher import GLOBALS
from embedder.vit_config import VitConfig

_RATES: dict[str, float] = {}


def image_flops(cfg: TrainConfig) -> float:
    """Floating-point operations that the method needs for one image of a step: products alone, nothing recomputed.

    The student's crops count three times (forward, and backward twice as much), the teacher's once; masked patches as many
    as are expected. Stochastic depth is not taken off.
    """
    wide, near = crop_flops(cfg.model, cfg.data.global_side), crop_flops(cfg.model, cfg.data.local_side)
    backbones = GLOBALS * wide * 4 + cfg.data.locals_ * near * 3
    patches = (cfg.data.global_side // cfg.model.patch) ** 2
    hidden = GLOBALS * patches * (cfg.masks.share * sum(cfg.masks.ratio) / 2) if cfg.loss.ibot else 0.0
    width, heads = cfg.model.shape.width, cfg.heads
    dino = head_flops(width, heads.hidden, heads.dino_bottleneck, heads.prototypes)
    ibot = head_flops(width, heads.hidden, heads.ibot_bottleneck, heads.prototypes)
    return backbones + dino * (GLOBALS * 4 + cfg.data.locals_ * 3) + ibot * hidden * 4


def crop_flops(vit: VitConfig, side: int) -> float:
    """Of one crop's way through the backbone."""
    shape, patches = vit.shape, (side // vit.patch) ** 2
    tokens = vit.prefix + patches
    forward = shape.width * shape.inner * (3 if shape.ffn == "swiglu" else 2)
    block = tokens * (4 * shape.width**2 + forward) + 2 * tokens**2 * shape.width  # qkv and proj; both products of attention
    return 2.0 * (vit.blocks * block + patches * 3 * vit.patch**2 * shape.width)


def head_flops(width: int, hidden: int, bottleneck: int, prototypes: int) -> float:
    """Of one token's way through a head."""
    return 2.0 * (width * hidden + hidden**2 + hidden * bottleneck + bottleneck * prototypes)


def mfu(cfg: TrainConfig, images_per_s: float, device: torch.device) -> float:
    """Share of the device's measured matmul rate that goes into what the method needs; 0 where it was not measured."""
    peak = matmul_rate(device)
    return images_per_s * image_flops(cfg) / peak if peak else 0.0


def matmul_rate(device: torch.device) -> float:
    """FLOP/s of large bf16 products on a GPU, measured once; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    if str(device) not in _RATES:
        a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
        for warm in (True, False):
            torch.cuda.synchronize(device)
            began = time.monotonic()
            for _ in range(3 if warm else 10):
                a @ a
            torch.cuda.synchronize(device)
        _RATES[str(device)] = 10 * 2 * 8192**3 / (time.monotonic() - began)
    return _RATES[str(device)]


def memory(device: torch.device) -> float:
    """Peak GiB of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def too_much(cfg: TrainConfig, processes: int, card_gib: float) -> str:
    """For people whose GPU ran out of memory: what to lower, with numbers. card_gib: the memory of one GPU."""
    now, parts = cfg.share(processes), more_parts(cfg, processes)
    remedies = [f"loop.accumulate={parts} makes it {cfg.loop.batch // (parts * processes)}"] if parts else []
    remedies += [] if cfg.model.checkpointing else ["model.checkpointing=true keeps less of each image"]
    remedies += [] if parts else [f"loop.batch (now {cfg.loop.batch}) or data.global_side (now {cfg.data.global_side}) down"]
    return f"out of GPU memory: {now} images at once do not fit the {card_gib:.0f} GiB of the card; {', '.join(remedies)}"


def more_parts(cfg: TrainConfig, processes: int) -> int | None:
    """The least loop.accumulate that is allowed and leaves at most half as many images at once; None if there is none."""
    each, now = cfg.loop.batch // processes, cfg.share(processes)
    group = (cfg.loss.koleo_group if cfg.loss.koleo else 0) or 1
    fitting = (parts for parts in range(1, each + 1) if each % (parts * group) == 0 and each // parts <= now / 2)
    return next(fitting, None)
