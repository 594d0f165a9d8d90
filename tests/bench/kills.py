"""A crawl of a very long list that is killed on the way: what is asked for twice, what is missing, what it holds."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.local_web import HOSTS, PORT, RUDE, address, crawl_command, nginx
from tests.pipelines.tiny import encoded, picture


class Watch(threading.Thread):
    """Largest resident memory of a process, and of each of its children, GiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.driver, self.child, self.ended = psutil.Process(pid), 0.0, 0.0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            with contextlib.suppress(psutil.Error):
                self.driver = max(self.driver, self.process.memory_info().rss / 2**30)
                for child in self.process.children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        self.child = max(self.child, child.memory_info().rss / 2**30)


def journaled(out: Path) -> set[str]:
    """The names of all URLs whose row is written down, in finished and unfinished parts."""
    names = set[str]()
    for path in (out / "fetched").glob(".part-*.rows"):
        for line in path.read_bytes().splitlines(keepends=True)[1:]:
            with contextlib.suppress(ValueError):
                names.add(json.loads(line)["fields"]["url"].rpartition("/")[2])
    for path in (out / "fetched").glob("part-*.parquet"):
        names |= {url.rpartition("/")[2] for url in pq.read_table(path, columns=["url"])["url"].to_pylist()}
    return names


def kill_and_resume(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Fetch a long list; kill the process group with SIGKILL `kills` times on the way; count what was asked for twice."""
    count, seed = options.urls or 1_000_000, random.Random(options.seed)
    (root / "same.jpg").write_bytes(_tiny())
    pq.write_table(
        pa.table({"url": [f"http://{address(n % HOSTS)}:{PORT}/same/{n}" for n in range(count)]}), root / "urls.parquet"
    )
    out, again, kills, driver, child = root / "out", 0, 0, 0.0, 0.0
    began = time.monotonic()
    with nginx(root) as log:
        while True:
            done = journaled(out) if kills else set[str]()
            size = log.stat().st_size if log.exists() else 0
            process = subprocess.Popen(
                crawl_command(root, out, *RUDE), start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            watch = Watch(process.pid)
            watch.start()
            target = len(done) + seed.randint(1, max(2, int(1.6 * (count - len(done)) / (options.kills - kills + 1))))
            while process.poll() is None and not (kills < options.kills and _rows(out) >= target):
                time.sleep(0.2)
            ended = process.poll() is not None
            if not ended:
                _kill_all(process)
                kills += 1
            watch.ended.set()
            driver, child = max(driver, watch.driver), max(child, watch.child)
            asked = Counter(line.rpartition("/")[2] for line in _new_lines(log, size))
            again += sum(times for name, times in asked.items() if name in done)
            print(
                json.dumps(
                    {"kills": kills, "done": len(done), "asked": len(asked), "again": again, "driver_gib": round(driver, 3)}
                ),
                flush=True,
            )
            if ended:
                break
    rows = pq.read_table(out / "fetched", columns=["url", "drop_reason"])
    names = Counter(rows["url"].to_pylist())
    return {
        "urls": count, "rows": rows.num_rows, "missing": count - len(names), "twice": sum(n > 1 for n in names.values()),
        "failed": rows.num_rows - rows["drop_reason"].null_count, "kills": kills, "fetched_again": again,
        "driver_gib": round(driver, 3), "largest_child_gib": round(child, 3), "wall_s": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the driver and everything below it, Ray's own processes too."""
    family = psutil.Process(process.pid).children(recursive=True)
    for pid in (process.pid, *(one.pid for one in family)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(family, timeout=30)


def _rows(out: Path) -> int:
    """About how many rows are written: by the live notes and the finished parts."""
    total = 0
    for path in (out / "fetched").glob(".part-*"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            if path.suffix == ".done":
                total += json.loads(path.read_text())["rows"]
            elif path.suffix == ".live":
                total += sum(json.loads(path.read_text()).values())
    return total


def _new_lines(log: Path, size: int) -> list[str]:
    with log.open() as file:
        file.seek(size)
        return [line.strip() for line in file if "/same/" in line]


def _tiny() -> bytes:
    return encoded(picture(0).resize((8, 8)), quality=50)
