"""Verbs of copies: thresholds for your images, leaks of an evaluation set, other thresholds for a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_words import AsJson, Quiet, RunDir, Workers, console


def calibrate(
    pool: Annotated[list[str], typer.Option(help="Directory, tar, Parquet file or glob of your images; again for more.")],
    network: Annotated[str, typer.Option(help="Copy network: a shipped name, or a weights file.")] = "copy-small",
    images: Annotated[int, typer.Option(min=60, help="Images to draw; one in three is edited.")] = 3000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw and the edits.")] = 0,
    pool_size: Annotated[
        int | None, typer.Option(min=2, help="Images that precision is stated for; default: all found.")
    ] = None,
    copies: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share of the pool that are edited copies.")] = 0.1,
    labels: Annotated[Path | None, typer.Option(help="CSV of uri_a, uri_b, same: what borderline pairs are.")] = None,
    ask: Annotated[Path | None, typer.Option(help="Write the borderline pairs to this CSV file, to be labelled.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a recipe with the values to this TOML file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Thresholds for telling copies among your own images, with precision and recall, from edits of a sample.

    [dim]curate calibrate --pool crawl/ --out calibrated.toml[/dim]
    """
    from pipelines.calibrate import Question
    from pipelines.calibrate import calibrate as measure
    from pipelines.calibrated import facts, report, write

    asked = Question(sources=tuple(pool), network=network, images=images, seed=seed, pool_size=pool_size, copies=copies)
    found = measure(asked, labels)
    write(found, out, ask)
    print(json.dumps(facts(found)) if as_json else report(found))


def leaks(
    run_dir: RunDir,
    against: Annotated[str, typer.Option(help="Name of the protected set.")],
    at: Annotated[float | None, typer.Option(min=-1, max=1, help="Every stored pair from this cosine on.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Which images of the pool touch which images of an evaluation set, and whether they were dropped.

    [dim]curate leaks RUN --against imagenet-val[/dim]
    """
    from pipelines.leaks import leaks as ask
    from pipelines.tables import render

    print(render(ask(run_dir, against, at), "json" if as_json else "csv" if csv else "table"))


def rethreshold(
    run_dir: RunDir,
    self_similarity: Annotated[float | None, typer.Option(min=-1, max=1, help="Cosine of copies in the pool.")] = None,
    reference_similarity: Annotated[float | None, typer.Option(min=-1, max=1, help="Cosine to protected images.")] = None,
    confirm: Annotated[float | None, typer.Option(help="Cosine + agreement from which a pair is believed.")] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Other copy thresholds for a run, from the similarities it has stored; only newly kept images are read.

    [dim]curate rethreshold RUN --self-similarity 0.75[/dim]
    """
    from pipelines.progress import Progress
    from pipelines.rethreshold import rethreshold as change
    from pipelines.summary import summarise

    progress = Progress(quiet=quiet or as_json)
    change(run_dir, self_similarity, reference_similarity, confirm, workers=workers, progress=progress)
    summary = summarise(run_dir)
    print(json.dumps(summary.facts)) if as_json else console.print(summary.text())
