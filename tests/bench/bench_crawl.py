"""The crawl beside img2dataset on one nginx, and what it costs to be polite, killed, and given a very long list.

    python -m tests.bench.bench_crawl --json
    python -m tests.bench.bench_crawl --million --urls 1000000

The first serves 10,000 photographs from 50 virtual hosts (addresses of loopback) of a real nginx, 2% of them failing in
ten ways, and fetches them with both, politeness off, in alternating rounds; then once more with politeness on, and reads
from nginx's log how often each host was asked. The second fetches one tiny image under as many names, and kills the
whole process group ten times on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.bench_detectors import photographs
from tests.bench.kills import kill_and_resume
from tests.bench.local_web import HOSTS, PORT, RATE, RUDE, address, crawl_command, nginx

FAILURES = ("gone", "forbidden", "broken", "busy", "many", "dropped", "page", "empty", "loop", "private")
RIVAL = "img2dataset==1.47.0"


def rival_python() -> str:
    """A Python with img2dataset in an environment of its own, made once in the temporary folder: its pins are not ours."""
    folder = Path(tempfile.gettempdir(), "curate-bench-" + RIVAL.replace("==", "-"))
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", RIVAL], check=True)
        (folder / "ready").touch()
    return str(python)


def make_objects(root: Path, source: str, count: int) -> list[str]:
    """`count` URLs over all hosts: photographs, and 2% failures of ten kinds."""
    data = [one for name in ("copies", "seeds/imagenet") for one in photographs(f"{source}/{name}", 2300)]
    urls = []
    for n in range(count):
        base = f"http://{address(n % HOSTS)}:{PORT}"
        if n % 50 == n // 50 % 50:  # one of every fifty, on every host in turn
            urls.append(f"{base}/{FAILURES[n // 50 % 10]}/{n}.jpg")
            continue
        (root / "files").mkdir(exist_ok=True)
        (root / "files" / f"{n}.jpg").write_bytes(data[n % len(data)])
        urls.append(f"{base}/{n}.jpg")
    pq.write_table(pa.table({"url": urls}), root / "urls.parquet")
    return urls


def ours(root: Path, out: Path, *changes: str) -> dict[str, Any]:
    """A whole crawl: wall seconds, seconds of fetching alone, rows and images."""
    began = time.monotonic()
    subprocess.run(crawl_command(root, out, *changes), check=True, capture_output=True)
    wall = time.monotonic() - began
    rows = pq.read_table(out / "fetched", columns=["drop_reason", "began", "seconds"]).to_pylist()
    first, last = min(r["began"] for r in rows), max(r["began"] + r["seconds"] for r in rows)
    reasons = Counter(r["drop_reason"] for r in rows)
    return {
        "wall_s": wall,
        "fetch_s": last - first,
        "rows": len(rows),
        "images": reasons.pop(None, 0),
        "reasons": dict(reasons),
    }


def theirs(root: Path, out: Path, python: str, threads: int) -> dict[str, Any]:
    """img2dataset's whole run, and its own figure of the time its shards took."""
    script = (
        "import sys; from img2dataset import download\n"
        "if __name__ == '__main__': download(url_list=sys.argv[1], output_folder=sys.argv[2], input_format='parquet',"
        f" url_col='url', processes_count=2, thread_count={threads}, resize_mode='no', output_format='webdataset',"
        " number_sample_per_shard=2500,"
        " enable_wandb=False, retries=0, timeout=10)"
    )
    file = root / "theirs.py"
    file.write_text(script)
    began = time.monotonic()
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    subprocess.run([python, str(file), str(root / "urls.parquet"), str(out)], check=True, capture_output=True, env=environment)
    wall = time.monotonic() - began
    stats = [json.loads(path.read_text()) for path in out.glob("*_stats.json")]
    first, last = min(s["start_time"] for s in stats), max(s["end_time"] for s in stats)
    return {
        "wall_s": wall,
        "fetch_s": last - first,
        "rows": sum(s["count"] for s in stats),
        "images": sum(s["successes"] for s in stats),
    }


def worst_rate(log: Path, since: float) -> float:
    """The most requests that one host got within one second, from `since` on."""
    by_host: dict[str, list[float]] = {}
    for line in log.read_text().splitlines():
        at, host = line.split()[:2]
        if float(at) >= since:
            by_host.setdefault(host, []).append(float(at))
    worst = 0
    for times in by_host.values():
        times.sort()
        low = 0
        for high, now in enumerate(times):
            while times[low] <= now - 1:
                low += 1
            worst = max(worst, high - low + 1)
    return float(worst)


def compare(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    urls = make_objects(root, options.photographs, options.urls or 10_000)
    with nginx(root) as log:
        rounds = []
        for n in range(options.rounds):
            mine = ours(root, root / f"ours-{n}", *RUDE)
            other = theirs(root, root / f"theirs-{n}", options.img2dataset_python, options.threads)
            rounds.append((mine, other))
            print(json.dumps({"ours": mine, "theirs": other}), flush=True)
        since = time.time()
        polite = ours(root, root / "polite", f"crawl.rate={RATE}")
        rate = worst_rate(log, since)
    mine, other = (
        min((m for m, _ in rounds), key=lambda m: m["fetch_s"]),
        min((t for _, t in rounds), key=lambda t: t["fetch_s"]),
    )
    return {
        "vs_img2dataset": round(mine["images"] / mine["fetch_s"] / (other["images"] / other["fetch_s"]), 3),
        "vs_img2dataset_wall": round(min(t["wall_s"] for _, t in rounds) / min(m["wall_s"] for m, _ in rounds), 3),
        "lost": len(urls) - mine["rows"], "lost_polite": len(urls) - polite["rows"],
        "images_per_s": round(mine["images"] / mine["fetch_s"], 1),
        "img2dataset_images_per_s": round(other["images"] / other["fetch_s"], 1),
        "images": mine["images"], "img2dataset_images": other["images"], "reasons": mine["reasons"],
        "polite_worst_rate": rate, "polite_limit": RATE, "polite_s": round(polite["wall_s"], 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", default="../shared/data", help="folder with copies/ and seeds/imagenet/")
    parser.add_argument("--img2dataset-python", help="a Python that has it; without, an environment is made (800 MB)")
    parser.add_argument("--threads", type=int, default=32, help="of each of img2dataset's two processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--urls", type=int, default=0)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line (always done)")
    options = parser.parse_args()
    if not shutil.which("nginx") and not Path("/usr/sbin/nginx").exists():
        parser.error("nginx is not installed: apt install nginx")
    if not options.million and options.img2dataset_python is None:
        options.img2dataset_python = rival_python()
    root = Path(tempfile.mkdtemp(prefix="bench-crawl-"))
    try:
        print(json.dumps(kill_and_resume(root, options) if options.million else compare(root, options)))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
