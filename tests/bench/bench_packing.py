"""How much faster a student's crops go through the backbone as one sequence than crop by crop and batch by batch.

python -m tests.bench.bench_packing --json

Forward and backward of 2 global and 8 local crops per image, the same outputs and gradients asked of all three ways: `packed`
(one sequence), `batches` (the global crops, then the local ones), `crops` (each crop of all images by itself).
`packed_speedup` is against `crops`. On a GPU times and peak memory are those of bf16, as it is trained in; outputs and
gradients are compared in float32 on two images, and in bf16 at the full size, where rounding alone differs (`CLOSE_HALF`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from embedder.training.gauges import memory
from embedder.vit import VisionTransformer, VitConfig

GLOBALS, LOCALS = 2, 8  # crops per image
CLOSE = 1e-4  # largest difference of outputs and gradients, relative to the largest value
CLOSE_HALF = 5e-2  # the same in bf16, whose numbers are 4e-3 apart

Way = Callable[[VisionTransformer, Tensor, Tensor], list[Tensor]]


def packed(model: VisionTransformer, globals_: Tensor, locals_: Tensor) -> list[Tensor]:
    """All crops as one sequence."""
    return model.packed([globals_, locals_], [None, None])


def batches(model: VisionTransformer, globals_: Tensor, locals_: Tensor) -> list[Tensor]:
    """The crops of each size as a batch."""
    return [model.tokens(globals_), model.tokens(locals_)]


def crops(model: VisionTransformer, globals_: Tensor, locals_: Tensor) -> list[Tensor]:
    """Each crop of all images by itself."""
    return [
        torch.cat([model.tokens(crop) for crop in part.chunk(count)])
        for part, count in ((globals_, GLOBALS), (locals_, LOCALS))
    ]


WAYS: dict[str, Way] = {"packed": packed, "batches": batches, "crops": crops}


@dataclass(frozen=True)
class Pass:
    """Outputs, gradients, seconds and peak GiB of one forward and backward."""

    outputs: list[Tensor]
    gradients: list[Tensor]
    seconds: float
    peak: float


def step(way: Way, model: VisionTransformer, globals_: Tensor, locals_: Tensor, half: bool) -> Pass:
    """One forward and backward."""
    model.zero_grad(set_to_none=True)
    _wait()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    with torch.autocast(globals_.device.type, torch.bfloat16, enabled=half):
        out = way(model, globals_, locals_)
    scale = torch.linspace(-1, 1, model.width, device=globals_.device)
    sum((part.float() * scale).square().mean() for part in out).backward()
    _wait()
    seconds = time.monotonic() - began
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return Pass([part.detach() for part in out], gradients, seconds, memory(globals_.device))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, each tensor's relative to its largest value."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in pairs)


def rounds_of(variant: str, images: int, sides: tuple[int, int], rounds: int, half: bool) -> dict[str, list[Pass]]:
    """All ways on the same crops, taken in turn; the first round is not counted. Only the last one keeps its tensors."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = VisionTransformer(VitConfig(variant=variant, side=sides[0], layerscale=0.1)).train().to(device)
    globals_ = torch.randn(GLOBALS * images, 3, sides[0], sides[0], device=device)
    locals_ = torch.randn(LOCALS * images, 3, sides[1], sides[1], device=device)
    found: dict[str, list[Pass]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name, way in WAYS.items():
            made = step(way, model, globals_, locals_, half)
            found[name] += [made if number == rounds else replace(made, outputs=[], gradients=[])] * (number > 0)
    return found


def apart(found: dict[str, list[Pass]]) -> dict[str, float]:
    """Largest differences of `packed` to the other ways."""
    packed, others = found["packed"][-1], [found[name][-1] for name in ("batches", "crops")]
    return {
        "outputs": max(difference(packed.outputs, other.outputs) for other in others),
        "gradients": max(difference(packed.gradients, other.gradients) for other in others),
    }


def measure(variant: str, images: int, global_side: int, local_side: int, rounds: int) -> dict[str, object]:
    """Figures of all ways."""
    gpu, sides = torch.cuda.is_available(), (global_side, local_side)
    torch.backends.cudnn.allow_tf32 = False
    found = rounds_of(variant, images, sides, rounds, half=gpu)
    exact = apart(rounds_of(variant, 2, sides, 1, half=False) if gpu else found)
    equal, middle = max(exact.values()) <= CLOSE, {n: statistics.median(p.seconds for p in f) for n, f in found.items()}
    out: dict[str, object] = {"device": "cuda" if gpu else "cpu", "variant": variant, "images": images}
    if gpu:
        half = apart(found)
        equal = equal and max(half.values()) <= CLOSE_HALF
        out |= {"largest_difference_bf16": half, "peak_gib": {n: round(f[-1].peak, 2) for n, f in found.items()}}
    return out | {
        "packed_speedup": round(middle["crops"] / middle["packed"], 3),
        "packed_speedup_over_batches": round(middle["batches"] / middle["packed"], 3),
        "seconds": {name: round(value, 4) for name, value in middle.items()},
        "largest_difference": exact,
        "equal": equal,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--variant", default="ti")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--global-side", type=int, default=224)
    parser.add_argument("--local-side", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    found = measure(args.variant, args.images, args.global_side, args.local_side, args.rounds)
    print(json.dumps(found))
    if not found["equal"]:
        raise SystemExit("packed and unpacked differ")


if __name__ == "__main__":
    main()
