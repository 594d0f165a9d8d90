"""The crawl beside img2dataset on one nginx, and what it costs to be polite, killed, and given a very long list.

    python -m tests.bench.bench_crawl --photographs ../shared/data --img2dataset-python VENV/bin/python --json
    python -m tests.bench.bench_crawl --million --urls 1000000

The first serves 10,000 photographs from 50 virtual hosts (addresses of loopback) of a real nginx, 2% of them failing in
ten ways, and fetches them with both, politeness off, in alternating rounds; then once more with politeness on, and reads
from nginx's log how often each host was asked. The second fetches one tiny image under as many names, and kills the
whole process group ten times on the way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.bench_detectors import photographs
from tests.pipelines.tiny import picture

HOSTS, PORT, RATE = 50, 18080, 20.0
NETWORK = 'crawl.networks=["127.0.0.0/8"]'
RUDE = ("crawl.robots=ignore", "crawl.rate=0", "crawl.per_host=256", "crawl.retries=0")  # as img2dataset has it
FAILURES = ("gone", "forbidden", "broken", "busy", "many", "dropped", "page", "empty", "loop", "private")

CONF = """
daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  log_format log '$msec $server_addr $status $request_uri'; access_log {root}/access.log log; log_not_found off;
  client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp; uwsgi_temp_path {root}/tmp;
  scgi_temp_path {root}/tmp; keepalive_requests 100000; sendfile on; default_type image/jpeg;
  server {{
    {listen}
    location = /robots.txt {{ return 200 "User-agent: *\\nDisallow: /private/\\n"; }}
    location /gone/ {{ return 404; }} location /forbidden/ {{ return 403; }} location /broken/ {{ return 500; }}
    location /busy/ {{ return 503; }} location /many/ {{ add_header Retry-After 1 always; return 429; }}
    location /dropped/ {{ return 444; }} location /page/ {{ return 200 "<html>no image</html>"; }}
    location /empty/ {{ return 200 ""; }} location /loop/ {{ return 302 $request_uri; }}
    location /private/ {{ return 302 http://10.0.0.1/; }}
    location /same/ {{ root {root}; try_files /same.jpg =404; }}
    location / {{ root {root}/files; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[Path]:
    """A server on all HOSTS addresses; yields its access log."""
    listen = " ".join(f"listen {address(n)}:{PORT} backlog=4096;" for n in range(HOSTS))
    (root / "tmp").mkdir(exist_ok=True)
    (root / "nginx.conf").write_text(CONF.format(root=root, listen=listen))
    root.chmod(0o755)
    (root / "tmp").chmod(0o777)
    server = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(root / "nginx.conf"), "-p", str(root)])
    time.sleep(1)
    if server.poll() is not None:
        raise RuntimeError(f"nginx did not start; does another one listen on port {PORT}?")
    try:
        yield root / "access.log"
    finally:
        server.terminate()
        server.wait()


def address(host: int) -> str:
    return f"127.0.1.{host + 1}"


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


def crawl_command(root: Path, out: Path, *changes: str) -> list[str]:
    options = [text for change in (NETWORK, *changes) for text in ("--set", change)]
    return [sys.executable, "-m", "pipelines.cli", "crawl", str(root / "urls.parquet"), "--out", str(out),
            "--contact", "bench@example.org", "--workers", "2", *options]  # fmt: skip


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
    from tests.pipelines.tiny import encoded

    return encoded(picture(0).resize((8, 8)), quality=50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", default="../shared/data", help="folder with copies/ and seeds/imagenet/")
    parser.add_argument("--img2dataset-python", default="python", help="a Python that has img2dataset")
    parser.add_argument("--threads", type=int, default=32, help="of each of img2dataset's two processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--urls", type=int, default=0)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line (always done)")
    options = parser.parse_args()
    if not shutil.which("nginx") and not Path("/usr/sbin/nginx").exists():
        parser.error("nginx is not installed")
    root = Path(tempfile.mkdtemp(prefix="bench-crawl-"))
    try:
        print(json.dumps(kill_and_resume(root, options) if options.million else compare(root, options)))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
