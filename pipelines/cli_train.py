"""Verbs of encoders: train one, distill a smaller one, say how good one is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_words import AsJson, Changes, RunDir, console

Knn = Annotated[
    tuple[Path, Path] | None,
    typer.Option(metavar="TRAIN VAL", help="Labelled images, as evaluate takes them: k-NN at every checkpoint."),
]


def train(
    run_dir: RunDir,
    config: Annotated[str, typer.Option(help="A shipped config by name, or a TOML file.")] = "vits16",
    data: Annotated[str | None, typer.Option(help="SQL over the view manifest: which rows to train on.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the training; default: RUN/train/CONFIG.")] = None,
    set_: Changes = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes of this machine or cluster, one per GPU.")] = 1,
    address: Annotated[str | None, typer.Option(help="Train on this Ray cluster; local starts one.")] = None,
    knn: Knn = None,
) -> None:
    """Train DINOv2 on a run's manifest; a training that was stopped goes on.

    [dim]curate train RUN --config vits16 --knn imagenet/train imagenet/val[/dim]
    """
    from pipelines.train import train as learn
    from pipelines.train import watching

    changes = (*(set_ or ()), *watching(knn))
    console.print(f"encoder: {learn(run_dir, config, out, data, changes, processes, address)}", soft_wrap=True)


def distill(
    run_dir: RunDir,
    teacher: Annotated[str, typer.Option(help="Folder of a finished training: its backbone and heads are the teacher.")],
    config: Annotated[str, typer.Option(help="A shipped config by name, or a TOML file.")] = "distill",
    data: Annotated[str | None, typer.Option(help="SQL over the view manifest: which rows to train on.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the training; default: RUN/train/CONFIG.")] = None,
    set_: Changes = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes of this machine, one per GPU.")] = 1,
    knn: Knn = None,
) -> None:
    """A small model from a larger frozen one, by the same loop.

    [dim]curate distill RUN --teacher RUN/train/vitg14[/dim]
    """
    from pipelines.train import train as learn
    from pipelines.train import watching

    changes = (*(set_ or ()), f"loop.teacher={json.dumps(teacher)}", *watching(knn))
    console.print(f"encoder: {learn(run_dir, config, out, data, changes, processes)}", soft_wrap=True)


def evaluate(
    weights: Annotated[str, typer.Argument(help="Encoder: a shipped name, or a weights file.")],
    train: Annotated[Path, typer.Option(help="DIR/CLASS/image, tars with .cls, CSV file,label; or images/ and masks/, depth/")],
    val: Annotated[Path, typer.Option(help="Labelled images to score on; for retrieval, the queries.")],
    task: Annotated[str, typer.Option(help="knn, linear, logistic, retrieval, segmentation or depth.")] = "knn",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="linear.* or dense.*")] = None,
    as_json: AsJson = False,
) -> None:
    """How good an encoder's frozen features are.

    [dim]curate evaluate RUN/train/vits16/encoder.safetensors --train imagenet/train --val imagenet/val[/dim]
    """
    from pipelines.evaluate import evaluate as score
    from pipelines.evaluate import text

    facts = score(weights, train, val, task, tuple(set_ or ()))
    print(json.dumps(facts)) if as_json else console.print(text(facts))
