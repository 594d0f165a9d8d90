"""Every GPU test and GPU benchmark, each in a process and a time of its own, and a table of what was reached.

    python -m tests.gpu_check [--only NAME ...] [--dinov3 DIR] [--flash DIR] [--out FILE] [--anyway]

Needs torch, numpy, scipy, scikit-learn, pyarrow, Pillow, safetensors and pytest: no Ray, Faiss or DuckDB, no network, and
nothing installed. DIR: checkouts of facebookresearch/dinov3 and of flash-kmeans, for the two comparisons with them. Takes less
than eight minutes: what runs longer is ended, and what it had printed counts. Without a GPU it says so (--anyway runs all the
same, where everything says so). Exit status 1: a test failed, or something gave no figure at all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
Found = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """One process: its command after `python`, its limit, and for each figure the least that is wanted (None: just told)."""

    name: str
    command: tuple[str, ...]
    seconds: float
    wanted: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What became of a check. why: "" if it ended as it should."""

    check: Check
    found: Found
    took_s: float
    why: str


def checks(dinov3: str = "", flash: str = "") -> list[Check]:
    """Most wanted first."""
    bench = ("-m", "tests.bench.bench_train", "--json", "--rounds", "5", "--parts", "steps", "reference", "packing")
    reference = ("--dinov3", dinov3) if dinov3 else ()
    theirs = ("--flash", flash) if flash else ()
    trained: dict[str, float | None] = {"mfu": 0.45, "vs_reference": 1.3, "packed_speedup": None}
    encoded: dict[str, float | None] = {"share": 0.55, "network_share": None, "images_per_s": None, "cores_for_55": None}
    return [
        Check("train", (*bench, *reference), 150, trained),
        Check("assign", ("-m", "tests.bench.bench_assign", "--json", *theirs), 100, {"share_of_matmul": 0.7, "vs_flash": 1.2}),
        Check("encoders", ("-m", "tests.bench.bench_encoders", "--gpu", "--json"), 80, encoded),
        Check("tests", pytest_command(), 120, {"passed": 1}),
    ]


def pytest_command() -> tuple[str, ...]:
    """Only files with a GPU test are imported, and no plugin is asked for that a bare machine lacks."""
    marked = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").rglob("test_*.py")) if _marked(path)]
    bare = ("-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", "--continue-on-collection-errors")
    return ("-m", "pytest", "-m", "gpu", "-q", "-rfEs", "--tb=short", *bare, *marked)


def _marked(path: Path) -> bool:
    return re.search(r"^\s*(@|pytestmark = )pytest\.mark\.gpu", path.read_text(), re.MULTILINE) is not None


def run(check: Check) -> Result:
    """Runs one check, shows what it prints, and reads the figures from it."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            [sys.executable, *check.command], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(check.seconds)
            why = "" if status == 0 else f"exit status {status}"
        except subprocess.TimeoutExpired:
            why = f"ended after {check.seconds:g} s"
        finally:
            _end(process)
        said.seek(0)
        text = said.read()
    print(f"== {check.name}: {' '.join(check.command)}", text[-6000:].rstrip(), sep="\n", flush=True)
    return Result(check, figures(text), time.monotonic() - began, why)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def figures(text: str) -> Found:
    """All JSON objects that were printed, a line each, the later ones before the earlier; pytest's counts."""
    found: Found = {}
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                found |= json.loads(line)
            except ValueError:
                continue
        elif re.search(r"\bin [\d.]+s\b", line):
            found |= {kind: int(count) for count, kind in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", line)}
    return found


def figure(found: Found, name: str) -> Any:
    """A figure by name, at the top or in one of the parts: a bench that was ended has printed parts only."""
    if found.get(name) is not None:
        return found[name]
    parts = [part for part in found.values() if isinstance(part, dict)]
    return next((part[name] for part in parts if part.get(name) is not None), None)


def table(results: Sequence[Result]) -> list[str]:
    """A line for each figure: what was reached, what is wanted, whether it is met."""
    lines = [f"{'check':10} {'figure':18} {'reached':>10} {'wanted':>8}  met"]
    for result in results:
        note = f"{result.took_s:.0f} s" + (f", {result.why}" if result.why else "")
        for name, least in result.check.wanted.items():
            value = figure(result.found, name)
            met = "" if least is None else "yes" if isinstance(value, int | float) and value >= least else "no"
            reached = "-" if value is None else str(value)[:10]
            wanted = "" if least is None else f"{least:g}"
            lines.append(f"{result.check.name:10} {name:18} {reached:>10} {wanted:>8}  {met:4} {note}".rstrip())
            note = ""
    return lines


def failed(result: Result) -> bool:
    """Whether a test failed or a bench gave nothing."""
    if result.check.name == "tests":
        return bool(result.why)
    return all(figure(result.found, name) is None for name in result.check.wanted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="names of the first column")
    parser.add_argument("--dinov3", default="", help="a checkout of facebookresearch/dinov3")
    parser.add_argument("--flash", default="", help="a checkout of flash-kmeans")
    parser.add_argument("--out", default="", help="also write all that was found to this file, as JSON")
    parser.add_argument("--anyway", action="store_true", help="run without a GPU too")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU")
        if not args.anyway:
            return 0
    results = [run(check) for check in checks(args.dinov3, args.flash) if not args.only or check.name in args.only]
    if args.out:
        everything = {r.check.name: r.found | {"took_s": round(r.took_s, 1), "why": r.why} for r in results}
        Path(args.out).write_text(json.dumps(everything, indent=1) + "\n")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"== {device}, torch {torch.__version__}", *table(results), sep="\n")
    return int(any(map(failed, results)))


if __name__ == "__main__":
    sys.exit(main())
