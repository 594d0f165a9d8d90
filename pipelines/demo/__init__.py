"""`curate demo`: draw a dirty world with a known truth, run the real flow on it, and compare."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from curation.store import Store
from pipelines.config import RecipeError, parse
from pipelines.demo.labelled import write_labelled
from pipelines.demo.score import Score, render, score
from pipelines.demo.world import SEED_SETS, build_world
from pipelines.progress import Progress
from pipelines.run import execute
from pipelines.summary import summarise

MARK = ".curate-demo"  # holds the arguments of a world that was drawn whole

NEXT = """
[bold]What next[/bold]
  curate query {run} "select seed_set, mode, count(*) n from manifest group by all"
  curate report {run} drops_by_reason
  curate check {run}
  curate train {run} --config debug --knn {out}/labelled/train {out}/labelled/val
  curate seeds add mine PATH && curate run --seeds mine --pool PATH --out RUN"""


def play(out: Path, images: int, seed: int, as_json: bool) -> None:
    """Draw (unless drawn already), run, score, print. Exits with 1 if the run falls short of what is promised."""
    console = Console(stderr=as_json, highlight=False)
    began = time.monotonic()
    _draw(out, images, seed, console)
    drawn = time.monotonic()
    run = str(out / "run")
    sets = {"seeds": [{"name": n, "path": str(out / "seeds" / n), "k": 4} for n in SEED_SETS],
            "protect": [{"name": "evaluation", "path": str(out / "protected")}]}  # fmt: skip
    drawn_only = {"sanitized": {"nsfw": ["none"], "faces": "none"}}  # nobody is in the pictures, and detectors are an extra
    execute(parse({"pool": {"sources": [str(out / "pool")]}, **sets, **drawn_only}), run, progress=Progress(quiet=as_json))
    found = judge(out)
    ended = time.monotonic()
    console.print(summarise(run).text(), "", render(found), "")
    console.print(
        f"drawn in {drawn - began:.0f} s, curated in {ended - drawn:.0f} s",
        NEXT.format(run=run, out=out),
        sep="\n",
        soft_wrap=True,
    )
    if as_json:
        print(
            json.dumps(asdict(found) | {"met": found.met, "draw_s": round(drawn - began, 1), "run_s": round(ended - drawn, 1)})
        )
    if not found.met:
        sys.exit(1)


def _draw(out: Path, images: int, seed: int, console: Console) -> None:
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise RecipeError(f"{out} is not empty and was not made by `curate demo`; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    told = json.dumps({"images": images, "seed": seed})
    if (out / MARK).exists() and (out / MARK).read_text() not in ("", told):
        raise RecipeError(f"{out} holds a demo of other --images or --seed; choose another --out")
    if (out / MARK).exists() and (out / MARK).read_text() == told:
        return
    console.print(f"drawing {images:,} images and the dirt around them in {out}")
    (out / MARK).write_text("")
    build_world(out, seed, images)
    write_labelled(out / "labelled", seed)
    (out / MARK).write_text(told)


def judge(out: Path) -> Score:
    """Score the run in `out`/run against the truth in `out`/truth."""
    store = Store(str(out / "run"))
    tables = {noun: store.parts(noun).whole() for noun in ("images", "cleaned", "survivors", "manifest")}
    truth, seeds = (pq.read_table(out / "truth" / f"{name}.parquet") for name in ("truth", "seeds"))
    return score(truth, seeds, tables)
