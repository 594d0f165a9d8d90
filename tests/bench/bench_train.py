"""How fast is a step: crops as one sequence against crop by crop, the loader against bare decoding, and the card's share.

    python -m tests.bench.bench_train --json [--variant s] [--images 'DIR/*.tar']

packed_speedup: images/s of forward and backward of the student's backbone over 2 global and 8 local crops, as one
sequence, over those with each crop's batch by itself (10 passes), in turns; their outputs are compared. vs_reference: the
DINOv3 trainer's step, which needs its checkout and a GPU: null, it is not built. loader_efficiency: of bench_loader, where
--images names tars. mfu: of the device's measured bf16 matmul rate; null on a CPU. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from embedder.training.config import TrainConfig
from embedder.training.gauges import crop_flops, matmul_rate
from embedder.training.schedules import ScheduleConfig
from embedder.vit import VisionTransformer, VitConfig

GLOBALS, LOCALS = 2, 8


def crops(images: int, config: TrainConfig, device: str) -> list[Tensor]:
    """10 batches of `images` crops."""
    sides = [config.data.global_side] * GLOBALS + [config.data.local_side] * LOCALS
    return [torch.randn(images, 3, side, side, device=device) for side in sides]


def packed(model: VisionTransformer, seen: list[Tensor]) -> Tensor:
    tokens = model.packed([torch.cat(seen[:GLOBALS]), torch.cat(seen[GLOBALS:])], [None, None])
    return torch.cat([part[:, 0] for part in tokens])


def one_by_one(model: VisionTransformer, seen: list[Tensor]) -> Tensor:
    return torch.cat([model.tokens(crop)[:, 0] for crop in seen])


def seconds(way: Callable[[VisionTransformer, list[Tensor]], Tensor], model: VisionTransformer, seen: list[Tensor]) -> float:
    model.zero_grad(set_to_none=True)
    _wait(seen[0])
    began = time.perf_counter()
    with torch.autocast(seen[0].device.type, torch.bfloat16, enabled=seen[0].is_cuda):
        way(model, seen).float().square().mean().backward()
    _wait(seen[0])
    return time.perf_counter() - began


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def measure(variant: str, images: int, rounds: int, device: str) -> dict[str, object]:
    config = TrainConfig(schedule=ScheduleConfig(steps=1), model=VitConfig(variant=variant, layerscale=1e-5))
    torch.manual_seed(0)
    model, seen = VisionTransformer(config.model).to(device).train(), crops(images, config, device)
    with torch.no_grad():
        difference = float((packed(model, seen) - one_by_one(model, seen)).abs().max())
    times = {way: [] for way in (packed, one_by_one)}
    for _ in range(rounds + 1):  # the first one warms up
        for way, taken in times.items():
            taken.append(seconds(way, model, seen))
    middle = {way.__name__: statistics.median(taken[1:]) for way, taken in times.items()}
    rate = matmul_rate(torch.device(device))
    needed = 3 * (GLOBALS * crop_flops(config.model, 224) + LOCALS * crop_flops(config.model, 96)) * images
    return {
        "variant": variant, "images": images, "device": device,
        "packed_images_per_s": round(images / middle["packed"], 2),
        "one_by_one_images_per_s": round(images / middle["one_by_one"], 2),
        "packed_speedup": round(middle["one_by_one"] / middle["packed"], 3),
        "largest_difference": difference,
        "vs_reference": None,
        "mfu": round(needed / middle["packed"] / rate, 3) if rate else None,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="ti")
    parser.add_argument("--batch", type=int, default=0, help="images of a step; 0: 4 on a CPU, 64 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", action="append", default=[], help="tars for the loader's part")
    parser.add_argument("--json", action="store_true", help="accepted: the last line is JSON anyhow")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = measure(args.variant, args.batch or (64 if device == "cuda" else 4), args.rounds, device)
    found["loader_efficiency"] = None
    if args.images:
        command = [sys.executable, "-m", "tests.bench.bench_loader", "--rows", "0", "--json"]
        command += [word for pattern in args.images for word in ("--images", pattern)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        found["loader_efficiency"] = json.loads(told)["loader_efficiency"]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
