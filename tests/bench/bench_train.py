"""How fast is a step: crops as one sequence against crop by crop, the loader against bare decoding, and the card's share.

    python -m tests.bench.bench_train --json [--variant s] [--images 'DIR/*.tar']

packed_speedup and its baselines: of bench_packing, forward and backward of the student's backbone with equal outputs and
gradients. vs_reference: the DINOv3 trainer's step, which needs its checkout and a GPU: null, it is not built.
loader_efficiency: the least of bench_loader's, where --images names tars. mfu: of the device's measured bf16 matmul rate, fp32
products as they are here; null on a CPU. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

import torch

from embedder.training.gauges import crop_flops, matmul_rate
from embedder.vit import VitConfig
from tests.bench import bench_packing

GLOBAL_SIDE, LOCAL_SIDE = 224, 96


def mfu(found: dict[str, Any]) -> float | None:
    """Share of the matmul rate that forward and backward of all crops need."""
    rate = matmul_rate(torch.device(found["device"]))
    config = VitConfig(variant=found["variant"])
    crops = bench_packing.GLOBALS * crop_flops(config, GLOBAL_SIDE) + bench_packing.LOCALS * crop_flops(config, LOCAL_SIDE)
    return round(3 * crops * found["images"] / found["seconds"]["packed"] / rate, 3) if rate else None


def loader_efficiency(patterns: list[str]) -> float | None:
    if not patterns:
        return None
    command = [sys.executable, "-m", "tests.bench.bench_loader", "--rows", "0", "--json"]
    command += [word for pattern in patterns for word in ("--images", pattern)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])[
        "loader_efficiency"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="ti")
    parser.add_argument("--batch", type=int, default=0, help="images of a step; 0: 4 on a CPU, 64 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", action="append", default=[], help="tars for the loader's part")
    parser.add_argument("--json", action="store_true", help="accepted: the last line is JSON anyhow")
    args = parser.parse_args()
    images = args.batch or (64 if torch.cuda.is_available() else 4)
    found: dict[str, Any] = bench_packing.measure(args.variant, images, GLOBAL_SIDE, LOCAL_SIDE, args.rounds)
    found |= {"mfu": mfu(found), "vs_reference": None, "loader_efficiency": loader_efficiency(args.images)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
