"""What a person sees of a run: a bar per stage with rate and time left; plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from curation.store import Receipt
from curation.web.policy import CrawlPolicy
from pipelines.config import Recipe
from pipelines.runner import Task


class Bar:
    """Progress of one stage, in images."""

    def __init__(self, name: str, total: int | None, done: int, bars: RichProgress | None, console: Console) -> None:
        self.name, self.total, self.done, self.skipped = name, total, done, done
        self.bars, self.console, self.began = bars, console, time.monotonic()
        self.task: TaskID | None = bars.add_task(name, total=total, completed=done, rate="") if bars else None

    def advance(self, images: int) -> None:
        self.done += images
        if self.bars and self.task is not None:
            self.bars.update(self.task, completed=self.done, rate=f"{self.rate:,.0f}/s")

    def show(self, done: int, counts: Mapping[str, int]) -> None:
        """How many rows are done by now, and what became of them ("" is success)."""
        self.done = max(self.done, done)
        failed = ", ".join(f"{reason} {count:,}" for reason, count in leading(counts))
        if self.bars and self.task is not None:
            told = f"{self.rate:,.0f}/s  {counts.get('', 0):,} images" + (f"; {failed}" if failed else "")
            self.bars.update(self.task, completed=self.done, rate=told)

    def alarm(self, done: int, counts: Mapping[str, int]) -> None:
        main = ", ".join(f"{reason} {count / done:.0%}" for reason, count in leading(counts))
        self.console.print(
            f"[red]  {self.name}: only {counts.get('', 0) / done:.0%} of the first {done:,} succeeded: {main}[/red]"
        )

    def lost(self, task: Task) -> None:
        where = "" if task.part is None else f" part {task.part}"
        self.console.print(f"  {self.name}: a worker died on{where or ' the stage'}; trying again")

    @property
    def rate(self) -> float:
        """Images per second since the stage began, without those found done."""
        return (self.done - self.skipped) / max(1e-6, time.monotonic() - self.began)

    def close(self, receipts: Iterable[Receipt]) -> None:
        """One line: rows kept and dropped, by reason."""
        kept, reasons = tally(receipts)
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1]))
        fresh = "found done" if self.total and self.done == self.skipped else f"{time.monotonic() - self.began:.1f} s"
        speed = f", {self.rate:,.0f} rows/s" if self.total and self.done > self.skipped else ""
        self.console.print(
            f"{self.name:>12}  {kept:>9,} rows  {fresh}{speed}" + (f"  [dim]dropped {dropped}[/dim]" if dropped else "")
        )


def leading(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The three most frequent reasons ("" is none)."""
    return sorted(((reason, count) for reason, count in counts.items() if reason), key=lambda one: -one[1])[:3]


def tally(receipts: Iterable[Receipt]) -> tuple[int, dict[str, int]]:
    """Rows kept, and rows dropped by reason."""
    kept, reasons = 0, dict[str, int]()
    for receipt in receipts:
        kept += receipt.kept
        for reason, count in receipt.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return kept, reasons


class Progress:
    """Where progress goes. quiet: nowhere."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)

    def started(self, workers: int, device: str, recipe: Recipe) -> None:
        """Which device each networked stage runs on, and which safety steps do not run."""
        networks = f"descriptors by {recipe.descriptors.network}, embeddings by {recipe.embeddings.network}"
        self.console.print(f"{workers} workers; {networks}, both on {device}")
        off = recipe.sanitized.unchecked
        if off:
            self.console.print(f"[yellow]not checked: {' and '.join(off)} (none in the recipe)[/yellow]")

    def crawling(self, workers: int, policy: CrawlPolicy) -> None:
        """Whom the crawl says it is, and which of its manners are off."""
        self.console.print(f"{workers} crawlers as {policy.agent}")
        loose = ["robots.txt is ignored"] if policy.robots == "ignore" else []
        loose += ["no limit per host"] if not policy.rate else []
        loose += ["no opt-out is honoured"] if not policy.opt_outs else []
        loose += [f"may connect to {', '.join(policy.networks)}"] if policy.networks else []
        if loose:
            self.console.print(f"[yellow]{'; '.join(loose)}[/yellow]")

    def told(self, text: str) -> None:
        self.console.print(text)

    @contextmanager
    def stage(self, name: str, total: int | None, done: int) -> Iterator[Bar]:
        if not self.console.is_terminal:
            yield Bar(name, total, done, None, self.console)
            return
        columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with RichProgress(*columns, TimeRemainingColumn(), console=self.console, transient=True) as bars:
            yield Bar(name, total, done, bars, self.console)
