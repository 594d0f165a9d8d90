"""Runs end to end: what comes out, resuming after kills, doing only what changed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.compute as pc
import pytest

from curation.records import NOUNS
from curation.store import Store
from pipelines.queries import query, run_checks
from tests.pipelines import tiny
from tests.pipelines.conftest import World


def content(run: Path) -> dict[str, str]:
    """Digest of every part of every noun and of every shard: equal for equal results."""
    store = Store(str(run))
    parts = {f"{noun}/{p}": r.digest for noun in NOUNS for p, r in store.receipts(noun).items()}
    return parts | {t.name: str(hash(t.read_bytes())) for t in sorted((run / "curated").glob("*.tar"))}


def start(world: World, out: Path, workers: int = 2) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.cli", "run", *world.options, "--out", str(out), "--workers", str(workers)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=tiny.environment(None))


def test_every_check_is_empty(world: World) -> None:
    assert run_checks(str(world.run)) == dict.fromkeys(run_checks(str(world.run)), 0)


def test_what_was_planted_is_found(world: World) -> None:
    counts = query(str(world.run), "select drop_reason, count(*) as n from images group by 1").to_pylist()
    reasons = {row["drop_reason"]: row["n"] for row in counts}
    assert reasons["exact_duplicate"] == 5
    assert reasons["empty_file"] == 1
    assert reasons["not_an_image"] == 1
    copies = query(str(world.run), "select * from dropped where drop_reason in ('copy', 'near_exact_duplicate')").num_rows
    assert copies == 5
    leaked = query(str(world.run), "select * from survivors where drop_reason = 'protected_copy'")
    assert leaked.num_rows == 4


def test_selection_is_seeds_and_their_neighbours(world: World) -> None:
    rows = query(str(world.run), "select mode, count(*) as n from manifest group by 1 order by 1").to_pylist()
    assert {row["mode"]: row["n"] for row in rows} == {"as_is": 6, "sample": 24}


def test_captions_and_urls_arrive(world: World) -> None:
    images = query(str(world.run), "select caption, url from images")
    assert pc.count(images["caption"]).as_py() == 5
    assert pc.count(images["url"]).as_py() == 40


def test_one_worker_gives_the_same_result(world: World, tmp_path: Path) -> None:
    assert tiny.curate("run", *world.options, "--out", tmp_path / "one", "--workers", 1).returncode == 0
    assert content(tmp_path / "one") == content(world.run)


def test_killed_at_random_instants_the_result_is_the_same(world: World, tmp_path: Path) -> None:
    """The driver dies three times, then single workers twice; each at a random instant of the run."""
    out, chance = tmp_path / "killed", random.Random(7)
    for _ in range(3):
        process = start(world, out)
        wait_until(lambda process=process: (out / "sources").exists() or process.poll() is not None)
        time.sleep(chance.uniform(0.0, 5.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start(world, out)
    for _ in range(2):
        time.sleep(chance.uniform(3.0, 6.0))
        kill_a_worker(process)
    assert process.wait(timeout=200) == 0, process.stderr.read() if process.stderr else ""
    assert content(out) == content(world.run)
    assert not [path for path in out.rglob("*.tmp-*") if path.parent.name != "report"]


def kill_a_worker(driver: subprocess.Popen[str]) -> None:
    """SIGKILL one of the driver's workers, if it has any just now."""
    try:
        workers = [p for p in psutil.Process(driver.pid).children(recursive=True) if "ray::Worker" in " ".join(p.cmdline())]
    except psutil.Error:
        return
    for worker in workers[:1]:
        os.kill(worker.pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.1)


def test_a_changed_threshold_redoes_only_what_follows(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    subprocess.run(["cp", "-a", str(world.run), str(out)], check=True)
    before = {noun: stamps(out, noun) for noun in NOUNS}
    again = tiny.curate("run", *world.options, "--out", out, "--set", "survivors.self_similarity=0.999")
    assert again.returncode == 0, again.stderr
    for noun in ("scanned", "images", "basis", "screened", "cleaned", "sanitized", "descriptors"):
        assert stamps(out, noun) == before[noun], noun
    for noun in ("edges", "survivors"):
        assert stamps(out, noun) != before[noun], noun
    copies = "select * from survivors where drop_reason = 'copy'"
    assert query(str(world.run), copies).num_rows > 0
    assert query(str(out), copies).num_rows == 0  # no cosine reaches what the recipe asks for
    assert run_checks(str(out)) == dict.fromkeys(run_checks(str(out)), 0)


def stamps(run: Path, noun: str) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in sorted((run / noun).glob("part-*"))}


def test_a_second_run_on_the_folder_is_refused(world: World, tmp_path: Path) -> None:
    out = tmp_path / "busy"
    first = start(world, out)
    wait_until(lambda: (out / "recipe.toml").exists())
    second = tiny.curate("run", *world.options, "--out", out)
    first.kill()
    first.wait()
    assert second.returncode == 1
    assert second.stderr.strip() == f"curate: another run is at work on {out} (process {first.pid})"


def test_status_and_summary(world: World) -> None:
    rows = json.loads(tiny.curate("status", world.run, "--json").stdout)
    assert [row["noun"] for row in rows] == list(NOUNS)
    assert all(row["parts"] for row in rows)
    summary = json.loads((world.run / "report" / "summary.json").read_text())
    assert summary["curated"] == 30
    assert "not checked: nsfw and faces (none in the recipe)" in summary["notes"]


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(world: World, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        full = tiny.curate("run", *world.options, "--out", disk / "run")
        assert full.returncode == 1
        assert full.stderr.strip().splitlines()[-1].startswith("curate: ")
        assert "No space left on device" in full.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert tiny.curate("run", *world.options, "--out", disk / "run").returncode == 0
        assert content(disk / "run") == content(world.run)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
