"""Verbs of what has a name: seed sets and evaluation sets, official weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_words import AsJson, console

seeds = typer.Typer(no_args_is_help=True, help="Seed sets and evaluation sets by name.")
weights = typer.Typer(no_args_is_help=True, help="Official weights by name: DINOv2, DINOv3, I-JEPA, MAE, SSCD.")


@seeds.command("add")
def seeds_add(
    name: Annotated[str, typer.Argument(help="The name to use in --seeds or --protect.")],
    path: Annotated[str, typer.Argument(help="Directory, tar, Parquet file or glob.")],
    protect: Annotated[bool, typer.Option("--protect", help="An evaluation set, for --protect.")] = False,
) -> None:
    """Give a seed set (or an evaluation set) a name.

    [dim]curate seeds add imagenet /data/imagenet/train[/dim]
    """
    from pipelines.catalogue import add

    entry = add("protect" if protect else "seeds", name, path)
    console.print(f"{entry.name} -> {entry.path}")


@seeds.command("list")
def seeds_list(as_json: AsJson = False) -> None:
    """Every named set.

    [dim]curate seeds list[/dim]
    """
    from pipelines.catalogue import listing

    entries = listing()
    if as_json:
        print(json.dumps([vars(entry) for entry in entries]))
    for entry in [] if as_json else entries:
        console.print(f"{entry.kind:>8}  {entry.name}  {entry.path}")


AcceptLicence = Annotated[bool, typer.Option("--accept-licence", help="You have read its licence and accept it.")]


@weights.command("list")
def weights_list(as_json: AsJson = False) -> None:
    """Every official checkpoint, its licence, and whether it is here.

    [dim]curate weights list[/dim]
    """
    from pipelines.weights import listing

    rows = listing()
    if as_json:
        print(json.dumps(rows))
    for row in [] if as_json else rows:
        console.print(f"{'here' if row['here'] else '':>5}  {row['name']:<18} {row['licence']}  {row['url']}", soft_wrap=True)


@weights.command("fetch")
def weights_fetch(
    name: Annotated[str, typer.Argument(help="A name of `curate weights list`.")],
    accept_licence: AcceptLicence = False,
    url: Annotated[str, typer.Option(help="Address that the authors sent you, where they give weights out by request.")] = "",
) -> None:
    """Download a checkpoint from its official address; a download that broke off goes on.

    [dim]curate weights fetch dinov2_vitl14_reg --accept-licence[/dim]
    """
    from pipelines.weights import fetch, record

    path = fetch(name, accepted=accept_licence, url=url)
    console.print(f"{path}\nsha256 {(record(name) or {})['sha256']}", soft_wrap=True)


@weights.command("add")
def weights_add(
    name: Annotated[str, typer.Argument(help="A name of `curate weights list`.")],
    path: Annotated[Path, typer.Argument(help="The file.")],
    accept_licence: AcceptLicence = False,
) -> None:
    """Take a checkpoint that you have already, checked like a fetched one.

    [dim]curate weights add dinov3_vitl16 Downloads/dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth --accept-licence[/dim]
    """
    from pipelines.weights import add, record

    kept = add(name, path, accepted=accept_licence)
    console.print(f"{kept}\nsha256 {(record(name) or {})['sha256']}", soft_wrap=True)
