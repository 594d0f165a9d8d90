"""How fast do pictures that stay on the device become batches, and how much of it is the host's time?

    python -m tests.bench.bench_resident --images 'DIR/*.tar' [--device cuda] --json

Crops of a pool of small pictures: 2 of --global-side, --locals of --local-side, from pictures kept at --side. Host: until
the calls of a batch return, the device being idle before; device: until its work is done, too; stream: batches one after
the other. `crops` leaves colours out. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from embedder.training.loader import DataConfig
from embedder.training.resident import Resident
from tests.bench.bench_loader import listed, write_manifest


def timed(work: Callable[[], Any], wait: Callable[[], None], rounds: int) -> dict[str, float]:
    """Medians of milliseconds of one call: of the host, and until the device has done it."""
    for _ in range(3):
        work()
    host, whole = [], []
    for _ in range(rounds):
        wait()
        began = time.perf_counter()
        work()
        host.append(time.perf_counter() - began)
        wait()
        whole.append(time.perf_counter() - began)
    return {"host_ms": round(1e3 * statistics.median(host), 2), "device_ms": round(1e3 * statistics.median(whole), 2)}


def measured(run: str, args: argparse.Namespace) -> dict[str, Any]:
    sides = {"global_side": args.global_side, "local_side": args.local_side, "locals_": args.locals}
    began = time.perf_counter()
    batches = Resident(run, DataConfig(**sides, resident=args.side), batch=args.batch, seed=0, device=args.device)
    loaded = time.perf_counter() - began
    wait = torch.cuda.synchronize if batches.device.type == "cuda" else lambda: None
    given, position_B = iter(batches), batches.positions(0, 0)
    row_B = batches.rows(position_B)
    found = {"pictures": len(batches.manifest), "load_s": round(loaded, 2), "batch": args.batch}
    found |= {"crops": timed(lambda: batches.crops(row_B, position_B), wait, args.rounds)}
    found |= {"batches": timed(lambda: next(given), wait, args.rounds)}
    wait()
    began = time.perf_counter()
    for _ in range(args.rounds):
        next(given)
    wait()
    found["images_per_s"] = round(args.rounds * args.batch / (time.perf_counter() - began), 1)
    if batches.device.type == "cuda":
        found |= {"device": torch.cuda.get_device_name(), "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--global-side", type=int, default=64)
    parser.add_argument("--local-side", type=int, default=32)
    parser.add_argument("--locals", type=int, default=6)
    parser.add_argument("--json", action="store_true", help="accepted: the last line is JSON anyhow")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = listed(args.images)
        write_manifest(Path(folder) / "run", images, len(images), 10_000)
        print(json.dumps(measured(f"{folder}/run", args)))


if __name__ == "__main__":
    main()
