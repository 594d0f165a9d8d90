"""Does the trainer's loader keep up with bare decoding, and how soon does a large manifest give its first batch?

    python -m tests.bench.bench_loader --images 'DIR/*.tar' [--images ...] --json

Each --images is a set of tars of photographs; crops are those of CROPS. Bare is a loop of decode + crop over bytes in
memory, a process per core; the loader is what its workers deliver (uint8 crops), read from the tars, on the same cores;
both in turn, the median of --rounds. Colours are the device's work: their rate on this CPU is told apart. Then a manifest
of --rows rows in files of --file-rows, in a fresh process: seconds and MiB until the first batch, of 224/96 crops. The
last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import glob
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from curation.sources.found import is_image
from curation.sources.tar import walk
from embedder.training.batches import Batches
from embedder.training.crops import cut
from embedder.training.loader import DataConfig
from embedder.training.manifest import Ref
from embedder.training.worker import fetched

BATCH = 32
CROPS = {"224/96": {}, "debug": {"global_side": 48, "local_side": 24, "locals_": 4}}
Sides = dict[str, int]


def listed(pattern: str) -> list[tuple[str, int, int]]:
    """(tar, offset, length) of every image in the tars of a glob."""
    found = []
    for path in sorted(map(os.path.abspath, glob.glob(pattern))):
        with open(path, "rb") as file:
            size = os.path.getsize(path)
            found += [(path, one.offset, one.size) for one in walk(file, 0, size, size) if is_image(one.name)]
    if not found:
        raise SystemExit(f"no images in {pattern}")
    return found


def write_manifest(folder: Path, images: list[tuple[str, int, int]], rows: int, file_rows: int) -> None:
    """RUN/manifest with the columns that a loader reads; images are used again and again under drawn ids."""
    (folder / "manifest").mkdir(parents=True)
    rng, uris = np.random.default_rng(0), pa.array([uri for uri, _, _ in images])
    offsets, lengths = (np.array([image[at] for image in images]) for at in (1, 2))
    for part, start in enumerate(range(0, rows, file_rows)):
        numbers = np.arange(start, min(start + file_rows, rows)) % len(images)
        ids = np.frombuffer(rng.bytes(16 * len(numbers)).hex().encode(), "S32").astype(str)
        table = {"image_id": ids, "uri": uris.take(pa.array(numbers)), "member": pa.array(ids), "offset": offsets[numbers]}
        table |= {"length": lengths[numbers], "weight": np.ones(len(numbers), np.float32)}
        pq.write_table(pa.table(table), folder / "manifest" / f"part-{part:05d}.parquet")


def bare(datas: list[bytes], sides: Sides, seconds: float, begin: Barrier, out: Any) -> None:
    """One process: decode and crop for some seconds; images per second into `out`."""
    torch.set_num_threads(1)
    cfg = DataConfig(**sides)
    list(cut(datas[0], cfg, 0, 0))
    begin.wait()
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in cut(datas[done % len(datas)], cfg, 0, done):
            pass
        done += 1
    out.put(done / (time.perf_counter() - began))


def bare_rate(images: list[tuple[str, int, int]], sides: Sides, workers: int, seconds: float) -> float:
    """Images per second of a process per core."""
    datas = [data for data in fetched([Ref(uri, None, at, size) for uri, at, size in images]) if data]
    spawn = multiprocessing.get_context("spawn")
    begin, out = spawn.Barrier(workers), spawn.Queue()
    each = [spawn.Process(target=bare, args=(datas[at::workers], sides, seconds, begin, out)) for at in range(workers)]
    for one in each:
        one.start()
    rate = sum(out.get() for _ in each)
    for one in each:
        one.join()
    return rate


def loader_rate(run: Path, sides: Sides, workers: int, seconds: float, colours: bool = False) -> float:
    """Images per second, after the batches that were made before anyone asked."""
    batches = Batches(str(run), DataConfig(**sides, workers=workers), batch=BATCH, seed=0)
    given = iter(batches) if colours else batches.pixels()
    for _ in range(batches.cfg.ahead + 1):
        next(given)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        next(given)
        done += BATCH
    rate = done / (time.perf_counter() - began)
    given.close()
    return rate


def throughput(run: Path, images: list[tuple[str, int, int]], sides: Sides, args: argparse.Namespace) -> dict[str, Any]:
    workers, seconds = args.workers, args.seconds
    some = [images[at] for at in np.random.default_rng(0).permutation(len(images))[:512]]
    pairs = [(bare_rate(some, sides, workers, seconds), loader_rate(run, sides, workers, seconds)) for _ in range(args.rounds)]
    return {
        "bare_images_per_s": round(statistics.median(a for a, _ in pairs), 1),
        "loader_images_per_s": round(statistics.median(b for _, b in pairs), 1),
        "loader_efficiency": round(statistics.median(b / a for a, b in pairs), 3),
        "with_colours_here_images_per_s": round(loader_rate(run, sides, workers, seconds, colours=True), 1),
    }


def measured(pattern: str, args: argparse.Namespace) -> dict[str, Any]:
    """All sizes of crops on one set of tars."""
    images = listed(pattern)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        write_manifest(run, images, len(images), 10_000)
        rates = {name: throughput(run, images, sides, args) for name, sides in CROPS.items()}
        return {"images": len(images), **rates, "same_after_resume_and_for_world_1_2_3": same(run)}


def seen(run: Path, start: int, batches: int, rank: int, world: int) -> list[tuple[list[str], torch.Tensor, torch.Tensor]]:
    """Keys and crops of each batch of one process; global batches of 6."""
    data = Batches(str(run), DataConfig(locals_=2, workers=0), batch=6 // world, seed=3, rank=rank, world=world)
    data.position = start
    given = iter(data)
    out = [
        (one.keys, one.globals_.unflatten(0, (2, -1)), one.locals_.unflatten(0, (2, -1)))
        for one in (next(given) for _ in range(batches))
    ]
    given.close()
    return out


def same(run: Path) -> bool:
    """Whether 2, 3 processes, and a process that begins in the middle, see what one sees: images by key, crops but for the
    rounding of sums that threads share in another way."""
    whole = seen(run, 0, 3, 0, 1)
    good = alike(whole[2:], seen(run, 12, 1, 0, 1))
    for world in (2, 3):
        each = [seen(run, 0, 2, rank, world) for rank in range(world)]
        merged = [
            ([key for keys, _, _ in ranks for key in keys], *(torch.cat([one[at] for one in ranks], 1) for at in (1, 2)))
            for ranks in zip(*each, strict=True)
        ]
        good &= alike(whole[:2], merged)
    return good


def alike(ours: list[Any], theirs: list[Any]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(a[0] == b[0] and all(torch.allclose(a[i], b[i], rtol=0, atol=1e-5) for i in (1, 2)) for a, b in pairs)


def first_batch(run: str) -> None:
    """In a process of its own: prints seconds and MiB until the first batch is there."""
    import psutil

    began, spent = time.perf_counter(), time.process_time()
    batches = Batches(run, DataConfig(), batch=BATCH, seed=0)
    read = time.perf_counter() - began
    given = iter(batches)
    next(given)
    took = time.perf_counter() - began
    workers = sum(one.memory_info().rss for one in psutil.Process().children()) / 2**20
    spent = time.process_time() - spent
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    given.close()
    found = {
        "rows": len(batches.manifest),
        "read_s": read,
        "first_batch_s": took,
        "own_cpu_s": spent,
        "peak_mib": own,
        "workers_mib": workers,
    }
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))


def large(pattern: str, rows: int, file_rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder) / "run", listed(pattern), rows, file_rows)
        command = [sys.executable, "-m", "tests.bench.bench_loader", "--first-batch", f"{folder}/run"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", action="append", default=[])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000_000, help="0: without the large manifest")
    parser.add_argument("--file-rows", type=int, default=10_000)
    parser.add_argument("--first-batch", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="accepted: the last line is JSON anyhow")
    args = parser.parse_args()
    if args.first_batch:
        return first_batch(args.first_batch)
    found: dict[str, Any] = {"workers": args.workers, "batch": BATCH, "torch": torch.__version__}
    found["sets"] = {name: measured(name, args) for name in args.images}
    found["loader_efficiency"] = min(one[name]["loader_efficiency"] for one in found["sets"].values() for name in CROPS)
    if args.rows:
        found["large"] = large(args.images[0], args.rows, args.file_rows)
    print(json.dumps(found))
    return None


if __name__ == "__main__":
    main()
