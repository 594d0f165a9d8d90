"""The summary of a run adds up and says what was not checked."""

from __future__ import annotations

import json

from rich.console import Console

from curation.records import NOUNS
from pipelines.summary import FUNNEL, progress_of, render_progress, summarise
from tests.pipelines.conftest import World


def text(thing: object) -> str:
    console = Console(width=160)
    with console.capture() as shown:
        console.print(thing)
    return shown.get()


def test_the_funnel_adds_up(world: World) -> None:
    facts = summarise(str(world.run)).facts
    assert [row["noun"] for row in facts["funnel"]] == list(FUNNEL)
    for row in facts["funnel"]:
        assert row["kept"] + row["dropped"] == row["received"]
        assert sum(row["reasons"].values()) == row["dropped"]
    assert facts == json.loads((world.run / "report" / "summary.json").read_text())


def test_it_can_be_read(world: World) -> None:
    assert "30 images curated" in text(summarise(str(world.run)).text())
    assert "not checked: nsfw and faces" in text(summarise(str(world.run)).text())
    told = text(render_progress(progress_of(str(world.run))))
    assert all(noun in told for noun in NOUNS)
