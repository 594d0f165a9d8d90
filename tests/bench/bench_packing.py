"""How much faster a student's crops go through the backbone as one sequence than crop by crop and batch by batch.

python -m tests.bench.bench_packing --json

Forward and backward of 2 global and 8 local crops per image, the same outputs and gradients asked of all three ways: `packed`
(one sequence), `batches` (the global crops, then the local ones), `crops` (each crop of all images by itself).
`packed_speedup` is against `crops`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from embedder.vit import VisionTransformer, VitConfig

GLOBALS, LOCALS = 2, 8  # crops per image
CLOSE = 1e-4  # largest difference of outputs and gradients, relative to the largest value

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


def step(way: Way, model: VisionTransformer, globals_: Tensor, locals_: Tensor) -> tuple[list[Tensor], list[Tensor], float]:
    """Outputs, gradients, seconds of one forward and backward."""
    model.zero_grad(set_to_none=True)
    _wait()
    began = time.monotonic()
    out = way(model, globals_, locals_)
    sum((part * torch.linspace(-1, 1, part.shape[-1], device=part.device)).square().mean() for part in out).backward()
    _wait()
    seconds = time.monotonic() - began
    return [part.detach() for part in out], [p.grad.clone() for p in model.parameters() if p.grad is not None], seconds


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, each tensor's relative to its largest value."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in pairs)


def measure(variant: str, images: int, global_side: int, local_side: int, rounds: int) -> dict[str, object]:
    """Figures of all ways on the same crops, taken in turn; the first round is not counted."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = VisionTransformer(VitConfig(variant=variant, side=global_side, layerscale=0.1)).train().to(device)
    globals_ = torch.randn(GLOBALS * images, 3, global_side, global_side, device=device)
    locals_ = torch.randn(LOCALS * images, 3, local_side, local_side, device=device)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    outputs, gradients = {}, {}
    for number in range(rounds + 1):
        for name, way in WAYS.items():
            outputs[name], gradients[name], took = step(way, model, globals_, locals_)
            seconds[name] += [took] if number else []
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    others = ("batches", "crops")
    forward = max(difference(outputs["packed"], outputs[name]) for name in others)
    backward = max(difference(gradients["packed"], gradients[name]) for name in others)
    return {
        "device": device,
        "variant": variant,
        "images": images,
        "packed_speedup": round(middle["crops"] / middle["packed"], 3),
        "packed_speedup_over_batches": round(middle["batches"] / middle["packed"], 3),
        "seconds": {name: round(value, 4) for name, value in middle.items()},
        "largest_difference": {"outputs": forward, "gradients": backward},
        "equal": max(forward, backward) <= CLOSE,
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
