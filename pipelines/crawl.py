"""A crawl: from lists, pages and archives to a folder of images that a run takes as its pool."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from typing import Any

import tomli_w

from curation import crawl_records
from curation.journal import Place, reopen
from curation.stages import fetched, links
from curation.store import Store, fingerprint
from pipelines.config import Recipe, RecipeError, absolute, absolute_path, as_toml
from pipelines.flow import CRAWL
from pipelines.lock import exclusive
from pipelines.progress import Progress, tally
from pipelines.runner import Cluster
from pipelines.steps import Job, do, part_prints, recipe_print

SECTIONS = ("pool", "links", "crawl")


def crawl(
    recipe: Recipe,
    out: str,
    *,
    again: tuple[str, ...] = (),
    workers: int | None = None,
    address: str | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Fetch what the recipe's pool lists into `out`; a second call does only what is missing. Returns the summary's facts.

    again: error classes whose rows are tried again. Raises RecipeError, RunError, OSError as `run.execute` does.
    """
    recipe = _checked(absolute(recipe))
    store = Store(absolute_path(out))
    with exclusive(store), Cluster(store.url, workers, address) as cluster:
        progress.crawling(cluster.workers, recipe.crawl)
        job = Job(store, recipe, cluster, progress)
        for step in CRAWL:
            if step.stage is fetched.STAGE and again:
                progress.told(f"{_reopen(job, frozenset(again)):,} rows are tried again")
            do(job, step)
            if step.stage is links.SOURCES:
                _same_lists(job)
    return summarise_crawl(out)


NEEDED = ("aiohttp", "can_ada", "fastwarc", "protego", "selectolax")  # the extra `crawl`


def _checked(recipe: Recipe) -> Recipe:
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise RecipeError(f"a crawl needs {', '.join(lacking)}: pip install 'curate[crawl]'")
    if not recipe.pool.sources:
        raise RecipeError("nothing to crawl: name URL lists, WARC or WAT files")
    if not recipe.crawl.contact:
        raise RecipeError("whom can hosts turn to? say --contact MAIL_OR_PAGE, or [crawl] contact in the recipe")
    return recipe


def _same_lists(job: Job) -> None:
    """Write crawl.toml; RecipeError if the folder holds a crawl of other lists, or if they have changed since."""
    store, recipe = job.store, job.recipe
    listed = fingerprint([r.digest for r in job.receipts["sources"].values()], vars(recipe.links_config))
    known = store.read_bytes("crawl.toml")
    before = tomllib.loads(known.decode()).get("resolved", {}).get("lists") if known else listed
    if before != listed:
        raise RecipeError(f"{store.url} is a crawl of other lists, or they have changed since: name another folder")
    sections = tomllib.loads(as_toml(recipe, {"lists": listed}))
    kept = {name: sections[name] for name in (*SECTIONS, "resolved")}
    store.write_bytes(tomli_w.dumps(kept).encode(), "crawl.toml")


def _reopen(job: Job, again: frozenset[str]) -> int:
    """Take rows of these classes out of finished and unfinished parts; returns how many."""
    stage, count = fetched.STAGE, 0
    receipts = job.store.receipts(stage.name)
    for part, made_by in part_prints(job, stage, recipe_print(stage, job.recipe.crawl)).items():
        place = Place.of(job.store, stage.name, stage.tar, part)
        whole = part in receipts and receipts[part].fingerprint == made_by
        rows = job.store.part(stage.name, part) if whole else None
        undone = reopen(place, made_by, rows, again)
        if undone and whole:
            job.store.discard(job.store.path(stage.name, f".part-{part:05d}.done"))
        count += undone
    return count


def summarise_crawl(out: str) -> dict[str, Any]:
    """What a crawl came to, also in CRAWL/report/summary.json."""
    store = Store(out)
    nouns = {}
    for noun in crawl_records.CRAWL_NOUNS:
        receipts = store.receipts(noun)
        kept, reasons = tally(receipts.values())
        nouns[noun] = {"rows": sum(r.rows for r in receipts.values()), "kept": kept, "reasons": reasons}
    facts = {"crawl": out, "images": nouns["fetched"]["kept"], "nouns": nouns}
    store.write_bytes(json.dumps(facts, indent=1).encode(), "report", "summary.json")
    return facts
