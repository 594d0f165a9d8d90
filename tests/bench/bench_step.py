"""How fast is a whole step of the trainer: images/s, share of the card's matmul rate, peak memory.

    python -m tests.bench.bench_step --json [--models vitl16=64 vith16=32 vitg14=16]

Whole steps of the shipped configs (losses, backward, clipping, AdamW, moving average) on crops that are on the device already,
drawn; stochastic depth is off, so that the operations are those that `gauges.image_flops` counts. The matmul rate is measured
in the same process. `phases` are seconds of one step, each waited for. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch

from embedder import layers
from embedder.training import train
from embedder.training.config import TrainConfig, from_table
from embedder.training.gauges import image_flops, matmul_rate, memory
from embedder.training.loader import Batch, Loader
from embedder.training.optim import clip, schedule

MODELS = {"vitl16": 64, "vith16": 32, "vitg14": 16}  # configs, and images of a step


def config(name: str, images: int) -> TrainConfig:
    """A shipped config at another batch, without stochastic depth."""
    file = resources.files("embedder").joinpath("training", "configs", f"{name}.toml")
    found = from_table(tomllib.loads(file.read_text()))
    loss = replace(found.loss, koleo_group=0)
    return replace(
        found, model=replace(found.model, drop_path=0.0), loss=loss, loop=replace(found.loop, batch=images, accumulate=1)
    )


def drawn(cfg: TrainConfig, device: torch.device) -> Iterator[Batch]:
    """The same crops for ever."""
    images, data = cfg.loop.batch, cfg.data
    wide = torch.randn(2 * images, 3, data.global_side, data.global_side, device=device)
    near = torch.randn(data.locals_ * images, 3, data.local_side, data.local_side, device=device)
    keys = [str(number) for number in range(images)]
    while True:
        yield Batch(wide, near, keys, {}, {"skipped": {}})


def measured(cfg: TrainConfig, rounds: int, device: torch.device) -> dict[str, Any]:
    """Figures of one config."""
    images = cfg.loop.batch
    pair, optimizer = train.learners(cfg, device)
    state = train.State(cfg, pair, optimizer, cast(Loader, None), device, Path())
    batches, began = train.Ahead(drawn(cfg, device)), time.perf_counter()
    losses = [float(train.step(state, batches)["loss"]) for _ in range(2)]
    wait(device)
    first = time.perf_counter() - began
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        train.step(state, batches)
        wait(device)
        taken.append(time.perf_counter() - began)
    seconds, rate = statistics.median(taken), matmul_rate(device)
    found = {"images": images, "step_s": round(seconds, 4), "images_per_s": round(images / seconds, 2)}
    found |= {"first_loss": round(losses[0], 4), "first_steps_s": round(first, 1), "peak_gib": round(memory(device), 2)}
    found |= {"mfu": round(images / seconds * image_flops(cfg) / rate, 3) if rate else None}
    return found | {"phases": phases(state, batches)}


def phases(state: train.State, batches: train.Ahead) -> dict[str, float]:
    """Seconds of each part of a step."""
    cfg, marks = state.cfg, [time.perf_counter()]

    def mark() -> None:
        wait(state.device)
        marks.append(time.perf_counter())

    batch = next(batches)
    schedule(state.optimizer, cfg.plan, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    losses = train.forward(state, batch)
    mark()
    losses.total.backward()
    mark()
    clip(state.pair.student, cfg.optim.clip)
    state.optimizer.step()
    mark()
    state.pair.update_average(0.99)
    mark()
    names = ("losses", "backward", "optimizer", "average")
    return {name: round(end - start, 4) for name, start, end in zip(names, marks, marks[1:], strict=False)}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def profile(cfg: TrainConfig, device: torch.device) -> str:
    """The kernels that take longest in one step."""
    pair, optimizer = train.learners(cfg, device)
    state = train.State(cfg, pair, optimizer, cast(Loader, None), device, Path())
    batches = train.Ahead(drawn(cfg, device))
    for _ in range(3):
        train.step(state, batches)
    with torch.profiler.profile() as seen:
        train.step(state, batches)
        wait(device)
    return seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=[f"{name}={images}" for name, images in MODELS.items()])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--profile", action="store_true", help="print the kernels of a step of the first model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "")
    parser.add_argument("--json", action="store_true", help="accepted: the last line is JSON anyhow")
    parser.add_argument("--attention", choices=("varlen", "cudnn"), default=layers.PACKED)
    args = parser.parse_args()
    layers.PACKED = args.attention
    result: dict[str, Any] = {"device": args.device or None}
    for number, model in enumerate(args.models if args.device else []):
        name, _, images = model.partition("=")
        try:
            cfg = config(name, int(images))
            result[name] = measured(cfg, args.rounds, torch.device(args.device))
            if args.profile and not number:
                print(profile(cfg, torch.device(args.device)))
        except Exception as error:  # one model that does not fit must not lose the others
            result[name] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        if args.device.startswith("cuda"):
            result["matmul_tflops"] = round(matmul_rate(torch.device(args.device)) / 1e12, 1)
            torch.cuda.empty_cache()
        torch._dynamo.reset()  # a function has few compiled forms at a time
    if not args.device:
        result["why"] = "no GPU; --device cpu measures one all the same"
    print(json.dumps(result))


if __name__ == "__main__":
    main()
