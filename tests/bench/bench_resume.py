"""Does a training see the same images and lose the same, on two processes, and after it was killed?

    python -m tests.bench.bench_resume --json [--steps 50] [--seed 0]

Trainings of the config of tests/embedder/training/drawn.py (gloo, FSDP2 where there are two processes, batch 8) on drawn
pictures, each process a real one. base_lr is 1e-3: at 4e-3 Sinkhorn-Knopp makes rounding grow. Killed: SIGKILL to all of a
training's processes at a random moment after a random step, then the same command again, on the same number of processes or
on another; checkpoints every 5 steps. two_processes: largest relative difference of the loss of 50 steps, one process and two.
killed_same, killed_other: the same of the trainings that were killed, to those that were not; `equal` is to the bit; in all
of them every step's batch is compared by its images' keys, also of the steps that were made twice. The last line is one JSON
object; exit 1 if something is not as promised.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
from torch import distributed

from embedder.training import train as loop
from embedder.training.sharding import world
from tests.embedder.training.drawn import run_folder, tiny

SAME = ([1, 1, 1, 1], [2, 2, 2])  # processes of a training's starts: all but the last are killed
OTHER = ([1, 2], [2, 1], [1, 2, 1])
EVERY = 5  # steps between checkpoints
MOST = 1e-4  # relative difference of losses
Keys = dict[int, tuple[str, ...]]


def worker(run: str, folder: Path, steps: int) -> None:
    """One process of a training, which notes whose images each of its steps saw."""
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
    cfg = tiny(schedule={"steps": steps, "base_lr": 1e-3}, loop={"checkpoint_every": EVERY})
    rank, gradients = world()[0], loop.gradients
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"keys-{rank}.jsonl").open("a") as notes:

        def noted(state: loop.State, images: loop.Ahead) -> Any:
            found, keys = gradients(state, images)
            print(json.dumps([os.environ["START"], state.step, keys]), file=notes, flush=True)
            return found, keys

        loop.gradients = noted
        loop.train(cfg, run, folder, say=lambda _: None)
    if "RANK" in os.environ:
        distributed.destroy_process_group()


def started(run: Path, folder: Path, processes: int, steps: int, start: int) -> subprocess.Popen[bytes]:
    own = ["-m", "tests.bench.bench_resume", "--worker", str(run), str(folder), "--steps", str(steps)]
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    here = os.environ | {"OMP_NUM_THREADS": "1", "START": str(start)}
    return subprocess.Popen([sys.executable, *(several if processes > 1 else []), *own], env=here, stderr=subprocess.DEVNULL)


def trained(run: Path, folder: Path, starts: list[int], steps: int, draw: random.Random) -> int:
    """Train with each number of processes in turn, all but the last killed on the way; how many kills hit."""
    kills = 0
    for number, processes in enumerate(starts):
        left = steps - reached(folder)
        target = reached(folder) + EVERY + draw.randint(1, max(1, left // (len(starts) - number)))
        process = started(run, folder, processes, steps, number)
        if number < len(starts) - 1:
            while process.poll() is None and reached(folder) < target:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.1))
            kills += process.poll() is None
            kill(process)
        elif process.wait():
            raise SystemExit(f"a training failed: {folder.name}")
    return kills


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to torchrun's agent, if there is one, and to all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        for one in (*family, psutil.Process(process.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)
    process.wait()


def reached(folder: Path) -> int:
    """The last step in the log."""
    rows = losses(folder) if (folder / "log.csv").exists() else {}
    return max(rows, default=0)


def losses(folder: Path) -> dict[int, float]:
    with (folder / "log.csv").open(newline="") as file:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file) if row["skipped"]}


def batches(folder: Path) -> tuple[Keys, bool, list[int]]:
    """Keys of each step's batch, in its order; whether all starts that made a step saw the same ones; the steps that they began
    at."""
    parts: dict[tuple[int, int], dict[int, list[str]]] = defaultdict(dict)  # (start, step) -> process -> keys
    for path in folder.glob("keys-*.jsonl"):
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # a line that a kill cut
                start, step, keys = json.loads(line)
                parts[int(start), step][int(path.stem.split("-")[1])] = keys
    found, same = Keys(), True
    for (_, step), shares in sorted(parts.items()):
        keys = tuple(key for rank in sorted(shares) for key in shares[rank])
        if len(keys) == tiny().loop.batch:  # a kill may have left one process's note of a step alone
            same &= found.setdefault(step, keys) == keys
    began = [min(step for start, step in parts if start == own) for own in sorted({start for start, _ in parts})]
    return found, same, began


def compared(whole: Path, other: Path) -> dict[str, Any]:
    """Losses and batches of two trainings side by side."""
    mine, theirs = losses(whole), losses(other)
    (keys, once, _), (again, same, began) = batches(whole), batches(other)
    largest = max(abs(theirs[step] / mine[step] - 1) for step in mine) if mine.keys() == theirs.keys() else None
    alike = {"equal": mine == theirs, "batches": once and same and keys == again}
    return {"difference": largest, **alike, "steps": len(theirs), "began_at": began}


def measured(root: Path, steps: int, seed: int) -> dict[str, Any]:
    """All trainings, one after the other."""
    draw, run = random.Random(seed), run_folder(root / "run")
    for processes in (1, 2):
        trained(run, root / f"whole-{processes}", [processes], steps, draw)
    found: dict[str, Any] = {"steps": steps, "two_processes": compared(root / "whole-1", root / "whole-2")}
    for name, plans in (("killed_same", SAME), ("killed_other", OTHER)):
        rows = []
        for starts in plans:
            folder = root / "-".join([name, *map(str, starts)])
            kills = trained(run, folder, starts, steps, draw)
            rows.append({"processes": starts, "kills": kills, **compared(root / f"whole-{starts[0]}", folder)})
        found[name] = rows
    return found


def kept(found: dict[str, Any]) -> bool:
    """Whether everything is as promised."""
    rows = [found["two_processes"], *found["killed_same"], *found["killed_other"]]
    near = all(row["batches"] and row["difference"] is not None and row["difference"] <= MOST for row in rows)
    return near and all(row["equal"] for row in found["killed_same"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which trainings are killed")
    parser.add_argument("--json", action="store_true", help="accepted: the last line is JSON anyhow")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker[0], Path(args.worker[1]), args.steps)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        found = measured(Path(scratch), args.steps, args.seed)
    print(json.dumps(found | {"kept": kept(found), "wall_s": round(time.monotonic() - began, 1)}))
    return sys.exit(not kept(found))


if __name__ == "__main__":
    main()
