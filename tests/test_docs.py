"""The README names only files, commands and verbs that exist; every shipped recipe loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from pipelines.cli import app
from pipelines.config import load_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_linked_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_named_verbs_exist() -> None:
    verbs = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"\bcurate ([a-z]+)\b", README.replace("`curate` ", "")))
    assert named <= verbs
    assert verbs <= named


def test_named_make_verbs_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b", README)) <= targets


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines" / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_shipped_recipes_load(path: Path) -> None:
    load_recipe(path)


def test_drop_reasons_of_the_readme_are_those_of_the_code() -> None:
    source = "".join(path.read_text() for path in (ROOT / "curation").rglob("*.py"))
    flow = README[README.index("## The flow") : README.index("## What a run leaves")]
    table = [line.split("|")[3] for line in flow.splitlines() if line.startswith("| `")]
    for reason in re.findall(r"`([a-z_]+)`", "".join(table)):
        assert f'"{reason}"' in source, reason
