"""What the frame costs: `curate run` over a pool, against bare loops over the same images on the same cores.

    python -m tests.bench.bench_flow --pool DIR --seeds DIR --json

The bare loops decode and resize each image once for every consumer (screening, copy descriptor, feature) and run the
same networks in the same batches, one process per core, no files written. Half of them run before the run, half after,
so that a machine that changes speed does so for both. overhead = wall time of the run / wall time of the bare loops.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from curation.sources import plan, read_units

BATCH = 64
GIB = 2**30


def bare_loop(encoded: list[bytes], networks: tuple[str, str]) -> None:
    """Decode, resize and run both networks over `encoded`, in one thread."""
    import torch

    from curation import quality
    from curation.decode import decode, decode_grey
    from embedder.encoder import load_encoder

    torch.set_num_threads(1)
    encoders = [load_encoder(name) for name in networks]
    for start in range(0, len(encoded), BATCH):
        batch = encoded[start : start + BATCH]
        for data in batch:
            decode_grey(data, quality.SCREEN_SIDE)
        for encoder in encoders:
            encoder(torch.stack([decode(data, encoder.side, encoder.fit) for data in batch]))


def time_bare(encoded: list[bytes], networks: tuple[str, str], cores: int) -> float:
    """Seconds that `cores` processes take over `encoded`, starting up included, as a run has to as well."""
    context = multiprocessing.get_context("fork")
    began = time.monotonic()
    workers = [context.Process(target=bare_loop, args=(encoded[core::cores], networks)) for core in range(cores)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"a bare loop failed with exit code {worker.exitcode}")
    return time.monotonic() - began


class Memory(threading.Thread):
    """Samples the memory of a process and all below it: resident set sizes added up, shared pages counted again."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.peak, self.ended = psutil.Process(pid), 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            self.peak = max(self.peak, self._now())

    def _now(self) -> int:
        total = 0
        for process in [self.process, *_below(self.process)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        return total


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def time_run(pool: Path, seeds: Path, out: Path, cores: int, more: list[str]) -> tuple[float, float]:
    """(seconds, peak GiB of the whole process tree) of `curate run`."""
    command = [sys.executable, "-m", "pipelines.cli", "run", "--pool", str(pool), "--seeds", str(seeds), "--out", str(out),
               "--set", 'sanitized.nsfw=["none"]', "--set", 'sanitized.faces="none"',
               "--workers", str(cores), *more]  # fmt: skip
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    memory = Memory(process.pid)
    memory.start()
    code = process.wait()
    wall = time.monotonic() - began
    memory.ended.set()
    if code:
        raise RuntimeError(f"curate run ended with exit code {code}")
    return wall, memory.peak / GIB


def read_all(source: Path) -> list[bytes]:
    """The encoded bytes of every readable image of a source."""
    import pyarrow as pa

    from curation import records

    units = pa.Table.from_pylist(plan(str(source), records.POOL), schema=records.SOURCES)
    return [found.data for found in read_units(units) if found.data]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="keep the run here")
    parser.add_argument("--descriptors", default="copy-small")
    parser.add_argument("--embeddings", default="vitti16-small")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line (always done)")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    networks = (options.descriptors, options.embeddings)
    changes = [f'descriptors.network="{networks[0]}"', f'embeddings.network="{networks[1]}"', *options.set]
    out = options.out or Path(tempfile.mkdtemp(prefix="bench-flow-"))

    encoded = read_all(options.pool) + read_all(options.seeds)
    half = len(encoded) // 2
    before = time_bare(encoded[:half], networks, cores)
    wall, peak = time_run(options.pool, options.seeds, out, cores, [a for c in changes for a in ("--set", c)])
    bare = before + time_bare(encoded[half:], networks, cores)
    if options.out is None:
        shutil.rmtree(out)
    print(json.dumps({
        "overhead": round(wall / bare, 4), "peak_rss_gib": round(peak, 3), "images_per_s": round(len(encoded) / wall, 1),
        "images": len(encoded), "run_s": round(wall, 1), "bare_s": round(bare, 1), "cores": cores,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
