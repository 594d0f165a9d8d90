"""What a person sees of a run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from curation.stages.sanitized import SanitizedConfig
from curation.store import Receipt
from pipelines.config import Recipe, RecipeError
from pipelines.progress import Progress, tally
from pipelines.runner import Task
from pipelines.summary import progress_of

RECEIPTS = [
    Receipt(fingerprint="f", digest="d", rows=10, kept=7, reasons={"flat": 2, "too_small": 1}),
    Receipt(fingerprint="f", digest="d", rows=5, kept=4, reasons={"flat": 1}),
]


@pytest.fixture
def shown() -> Progress:
    progress = Progress()
    progress.console = Console(record=True, width=120, quiet=False, file=io.StringIO())
    return progress


def test_tally_adds_up() -> None:
    assert tally(RECEIPTS) == (11, {"flat": 3, "too_small": 1})


@pytest.mark.parametrize("terminal", [False, True])
def test_a_stage_ends_in_one_line(shown: Progress, terminal: bool) -> None:
    shown.console = Console(record=True, width=120, force_terminal=terminal, file=io.StringIO())
    with shown.stage("screened", 15, 5) as bar:
        bar.lost(Task(3, ""))
        bar.advance(10)
        bar.close(RECEIPTS)
    text = shown.console.export_text()
    assert "a worker died on part 3; trying again" in text
    assert "11 rows" in text
    assert "dropped 3 flat, 1 too_small" in text


def test_a_stage_found_done_says_so(shown: Progress) -> None:
    with shown.stage("screened", 15, 15) as bar:
        bar.close(RECEIPTS)
    assert "found done" in shown.console.export_text()


def test_the_start_names_devices_and_what_is_not_checked(shown: Progress) -> None:
    shown.started(2, "cpu", Recipe(sanitized=SanitizedConfig(nsfw=("none",), faces="none")))
    text = shown.console.export_text()
    assert "descriptors by copy-small, embeddings by vitti16-small, both on cpu" in text
    assert "not checked: nsfw and faces" in text


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not a run folder"):
        progress_of(str(tmp_path))
