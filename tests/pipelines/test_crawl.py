"""`curate crawl` as a user has it: rows out = URLs in, resumable at the row, its folder a pool."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import datasets
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from pipelines.config import Recipe, RecipeError
from pipelines.crawl import crawl as fetch
from pipelines.progress import Progress
from pipelines.queries import query, run_checks
from tests.curation.web.hostile import Server, response
from tests.pipelines import tiny

LOOPBACK = ("--set", 'crawl.networks=["127.0.0.1/32"]', "--set", "crawl.rate=0", "--contact", "tests@example.org")


def replies(count: int) -> dict[str, bytes]:
    """A picture of its own at every path; some are gone, and one host's owner wants no crawler in /private."""
    good = {f"/{n}.jpg": response(tiny.photo(n)) for n in range(count)}
    return good | {"/gone.jpg": response(b"", "404 Not Found"), "/page.jpg": response(b"<html>")}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(replies(40), response(b"User-agent: *\nDisallow: /private/\n")) as running:
        yield running


def crawl(*arguments: object) -> subprocess.CompletedProcess[str]:
    return tiny.curate("crawl", *arguments, *LOOPBACK)


def table(server: Server, path: Path) -> Path:
    """Forty pictures with captions, one of them twice, and what cannot be had."""
    paths = [f"/{n}.jpg" for n in range(40)] + ["/3.jpg#again", "/gone.jpg", "/page.jpg", "/private/a.jpg"]
    urls = [server.url(p) for p in paths] + ["ftp://127.0.0.1/a", "http://10.0.0.1/a.jpg", "no url at all"]
    rows = {"link": urls, "alt": [f"picture {n}" for n in range(len(urls))]}
    pq.write_table(pa.table(rows), path)
    return path


def test_every_url_is_a_row_and_the_folder_is_a_pool(server: Server, tmp_path: Path) -> None:
    out, listed = tmp_path / "crawl", table(server, tmp_path / "list.parquet")
    done = crawl(listed, "--out", out, "--set", "links.url_column=link", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["images"] == 40
    assert facts["nouns"]["links"] == {"rows": 47, "kept": 45, "reasons": {"bad_url": 1, "blocked_scheme": 1}}
    assert facts["nouns"]["urls"]["rows"] == 44
    reasons = {"blocked_address": 1, "not_an_image": 1, "not_found": 1, "robots_disallowed": 1}
    assert facts["nouns"]["fetched"] == {"rows": 44, "kept": 40, "reasons": reasons}
    assert not any(run_checks(str(out)).values())
    assert query(str(out), "select mentions from urls where url like '%/3.jpg'").to_pylist() == [{"mentions": 2}]
    assert query(str(out), "select caption from fetched where url like '%/7.jpg'").to_pylist() == [{"caption": "picture 7"}]
    assert [row["noun"] for row in json.loads(tiny.curate("status", out, "--json").stdout)] == [
        "sources",
        "links",
        "urls",
        "fetched",
    ]
    tars = [str(path) for path in sorted((out / "images").glob("*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert len(samples) == 40
    loaded = datasets.load_dataset("webdataset", data_dir=str(out / "images"), cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded.num_rows == 40
    seeds = tiny.make_seeds(tmp_path / "seeds", 1000, 2)
    ran = tiny.curate("run", "--pool", out, "--seeds", seeds, "--out", tmp_path / "run", *tiny.UNCHECKED)
    assert ran.returncode == 0, ran.stderr
    pooled = query(str(tmp_path / "run"), "select url, caption from images where url is not null").to_pylist()
    assert len(pooled) == 40
    assert all(row["url"].startswith(server.url("/")) and row["caption"].startswith("picture") for row in pooled)


def test_a_run_crawls_the_lists_of_its_pool_beside_itself(server: Server, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(server.url(f"/{n}.jpg") + "\n" for n in range(20)))
    folder = tiny.make_seeds(tmp_path / "pool", 50, 10)
    seeds = tiny.make_seeds(tmp_path / "seeds", 1000, 2)
    pools = ("--pool", tmp_path / "list.txt", "--pool", folder)
    options = [*tiny.UNCHECKED, *LOOPBACK[:4], "--set", "crawl.contact=tests@example.org"]
    for _ in range(2):
        done = tiny.curate("run", *pools, "--seeds", seeds, "--out", tmp_path / "run", *options)
        assert done.returncode == 0, done.stderr
    assert query(str(tmp_path / "run"), "select count(*) as n from images").to_pylist() == [{"n": 32}]
    assert Counter(server.asked)["/3.jpg"] == 1  # the second run found everything done
    assert (tmp_path / "run.crawl" / "crawl.toml").exists()


def test_failed_rows_are_tried_again_and_no_others(server: Server, tmp_path: Path) -> None:
    out, listed = tmp_path / "crawl", table(server, tmp_path / "list.parquet")
    assert crawl(listed, "--out", out).returncode == 0
    server.replies["/gone.jpg"] = response(tiny.photo(99))
    before = list(server.asked)
    done = crawl(listed, "--out", out, "--retry-failed", "not_found", "--retry-failed", "timeout", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 41
    assert [path for path in server.asked[len(before) :] if path != "/robots.txt"] == ["/gone.jpg"]
    assert len(list(webdataset.WebDataset([str(p) for p in (out / "images").glob("*.tar")], shardshuffle=False))) == 41
    assert not any(run_checks(str(out)).values())


def test_what_a_user_can_get_wrong(server: Server, tmp_path: Path) -> None:
    out, listed = tmp_path / "crawl", table(server, tmp_path / "list.parquet")
    said = tiny.curate("crawl", listed, "--out", out)
    assert (said.returncode, "say --contact" in said.stderr) == (1, True)
    assert "nothing to crawl" in tiny.curate("crawl", "--out", out, *LOOPBACK).stderr
    (tmp_path / "a.jpg").write_bytes(tiny.photo(1))
    assert "no list of URLs" in crawl(tmp_path / "a.jpg", "--out", out).stderr
    assert "url_colum" in crawl(listed, "--out", out, "--set", "links.url_colum=link").stderr
    wrong = crawl(listed, "--out", tmp_path / "wrong", "--set", "links.url_column=lnk")
    assert (wrong.returncode, "link" in wrong.stderr) == (1, True)
    assert crawl(listed, "--out", out).returncode == 0
    (tmp_path / "more.txt").write_text(server.url("/1.jpg") + "\n")
    assert "a crawl of other lists" in crawl(tmp_path / "more.txt", "--out", out).stderr


def test_a_missing_extra_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "protego" else found(name))
    with pytest.raises(RecipeError, match=r"a crawl needs protego: pip install 'curate\[crawl\]'"):
        fetch(Recipe(), str(tmp_path), progress=Progress(quiet=True))


def test_mostly_failing_crawls_raise_an_alarm(server: Server, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(server.url(f"/gone.jpg?{n}") + "\n" for n in range(1500)))
    done = crawl(tmp_path / "list.txt", "--out", tmp_path / "crawl", "--set", "crawl.per_host=2")
    assert done.returncode == 0, done.stderr
    assert "only 0% of the first" in done.stderr
    assert "not_found 100%" in done.stderr


def finished(out: Path) -> set[str]:
    """URLs whose row is written."""
    rows = [line for path in (out / "fetched").glob(".part-*.rows") for line in path.read_bytes().splitlines(keepends=True)[1:]]
    done = {json.loads(line)["fields"]["url"] for line in rows if line.endswith(b"\n")}
    for path in (out / "fetched").glob("part-*.parquet"):
        done |= set(pq.read_table(path, columns=["url"])["url"].to_pylist())
    return done


def test_killed_three_times_no_finished_url_is_asked_again(tmp_path: Path) -> None:
    urls, out = 1500, tmp_path / "crawl"
    with Server({f"/{n}.jpg": response(tiny.photo(n % 7)) for n in range(urls)}) as server:
        (tmp_path / "list.txt").write_text("".join(server.url(f"/{n}.jpg") + "\n" for n in range(urls)))
        command = [sys.executable, "-m", "pipelines.cli", "crawl", str(tmp_path / "list.txt"), "--out", str(out), "--quiet",
                   "--workers", "2", *LOOPBACK, "--set", "crawl.rate=400", "--set", "crawl.per_host=8"]  # fmt: skip
        for kill in range(3):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            wanted = len(finished(out)) + 150
            while process.poll() is None and len(finished(out)) < wanted:
                time.sleep(0.1)
            assert process.poll() is None, "it ended before it was killed"
            family = psutil.Process(process.pid).children(recursive=True)
            at_work = [child for child in family if "Agent" not in " ".join(child.cmdline())]  # they see it late
            for one in (process.pid, *(child.pid for child in family)) if kill else (process.pid,):
                os.kill(one, signal.SIGKILL)  # the first time the driver alone: its workers go on for a while
            process.wait()
            psutil.wait_procs(at_work, timeout=60)
            done, asked = finished(out), len(server.asked)
            again = subprocess.Popen(command, stdout=subprocess.DEVNULL) if kill == 2 else None
            if again:
                assert again.wait() == 0
                assert not done & {server.url(path) for path in server.asked[asked:]}
        rows = pq.read_table(out / "fetched")
        assert sorted(rows["url"].to_pylist()) == sorted(server.url(f"/{n}.jpg") for n in range(urls))
        assert rows["drop_reason"].null_count == urls
        times = Counter(path for path in server.asked if path != "/robots.txt")
        assert sum(count - 1 for count in times.values()) <= 3 * 2 * 8  # at most what was in flight at each kill
        assert not any(run_checks(str(out)).values())
