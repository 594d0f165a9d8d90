"""What the verbs share: arguments that several take, and where they print."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

console = Console(highlight=False)

RunDir = Annotated[str, typer.Argument(help="Run folder.", metavar="RUN")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value, for programs.")]
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one per GPU, else per core.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
