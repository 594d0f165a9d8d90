"""How fast is a training: crops as one sequence, whole steps, the DINOv3 trainer's step beside ours, the loader.

    python -m tests.bench.bench_train --json [--dinov3 DIR] [--images 'DIR/*.tar'] [--parts packing steps reference loader]

packed_speedup and its baselines: of bench_packing, forward and backward of the student's backbone with equal outputs and
gradients. mfu and steps: of bench_step, whole steps of ViT-L/16, ViT-H/16 and ViT-g/14 on a GPU. vs_reference: of
dinov3_step, the reference trainer's step over ours for the same network (turned positions, the same stochastic depth), crops,
heads and precision; needs a checkout of facebookresearch/dinov3 at --dinov3, and takes ViT-S/16, 2 images and 4,096 prototypes
on a CPU. loader_efficiency: the least of bench_loader's, where --images names tars. A part that fails has its error in the
place of its figures. The last line is one JSON object; figures that were not taken are null.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from embedder.training.config import TrainConfig, from_table
from embedder.training.gauges import matmul_rate
from tests.bench import bench_packing, bench_step, dinov3_step

PARTS = ("packing", "steps", "reference", "loader")
GLOBAL_SIDE, LOCAL_SIDE = 224, 96
Found = dict[str, Any]


def packing(args: argparse.Namespace) -> Found:
    images = args.batch or (64 if torch.cuda.is_available() else 4)
    return bench_packing.measure(args.variant, images, GLOBAL_SIDE, LOCAL_SIDE, args.rounds)


def steps(args: argparse.Namespace) -> Found:
    """Whole steps of the large configs."""
    if not torch.cuda.is_available():
        return {"mfu": None, "steps": "no GPU"}
    place, found = torch.device("cuda"), dict[str, Any]()
    for name, images in bench_step.MODELS.items():
        cfg = bench_step.config(name, images)
        found[name] = kept(lambda cfg=cfg: bench_step.measured(cfg, args.rounds, place))
        if args.profile and name == "vitl16":
            print(bench_step.profile(cfg, place))
    tflops = round(matmul_rate(place) / 1e12, 1)
    return {"mfu": found["vitl16"].get("mfu"), "matmul_tflops": tflops, "steps": found}


def reference(args: argparse.Namespace) -> Found:
    """The reference's step and ours, one after the other."""
    if not args.dinov3:
        return {"vs_reference": None, "reference": "--dinov3 names no checkout"}
    gpu = torch.cuda.is_available()
    place, arch = torch.device("cuda" if gpu else "cpu"), "vit_large" if gpu else "vit_small"
    cfg = alike("l", 64, 65_536) if gpu else alike("s", 2, 4096)
    theirs = dinov3_step.seconds(dinov3_step.stepper(Path(args.dinov3), cfg, arch, place), args.rounds)
    free()
    ours = bench_step.measured(cfg, args.rounds, place)
    ratio = round(theirs["step_s"] / ours["step_s"], 3)
    return {"vs_reference": ratio, "reference": {"network": arch, "images": cfg.loop.batch, "theirs": theirs, "ours": ours}}


def alike(variant: str, images: int, prototypes: int) -> TrainConfig:
    """Our config of the reference's default network, heads and losses."""
    model = {"variant": variant, "positions": "rope", "layerscale": 1e-5, "drop_path": 0.3}
    heads = {"prototypes": prototypes}
    return from_table({"schedule": {"steps": 125_000}, "model": model, "heads": heads, "loop": {"batch": images}})


def loader(args: argparse.Namespace) -> Found:
    if not args.images:
        return {"loader_efficiency": None}
    command = [sys.executable, "-m", "tests.bench.bench_loader", "--rows", "0", "--json"]
    command += [word for pattern in args.images for word in ("--images", pattern)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {"loader_efficiency": json.loads(lines[-1])["loader_efficiency"]}


def kept(part: Callable[[], Found]) -> Found:
    """What a part finds, or why it found nothing, and how long it took."""
    began = time.perf_counter()
    try:
        found = part()
    except Exception as error:  # the others must not be lost with it
        found = {"error": f"{type(error).__name__}: {error}"[:500]}
    free()
    return found | {"took_s": round(time.perf_counter() - began, 1)}


def free() -> None:
    """Compiled functions are few at a time, and memory goes back."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="l" if torch.cuda.is_available() else "ti", help="of the packing part")
    parser.add_argument("--batch", type=int, default=0, help="images of a step; 0: 4 on a CPU, 64 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", action="append", default=[], help="tars for the loader's part")
    parser.add_argument("--dinov3", default="", help="a checkout of facebookresearch/dinov3")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--profile", action="store_true", help="print the kernels of a step of ViT-L/16")
    parser.add_argument("--json", action="store_true", help="accepted: the last line is JSON anyhow")
    args = parser.parse_args()
    found: Found = dict.fromkeys(("packed_speedup", "vs_reference", "loader_efficiency", "mfu"))
    for part in (packing, steps, reference, loader):
        if part.__name__ in args.parts:
            made = kept(lambda part=part: part(args))
            details = {"error", "took_s"} & set(made)
            found |= {f"{part.__name__}_{name}" if name in details else name: value for name, value in made.items()}
            print(json.dumps({part.__name__: made}), flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
