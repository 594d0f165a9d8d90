"""Options of the command line over a recipe file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.compose import compose
from pipelines.config import RecipeError


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CURATE_HOME", str(tmp_path))
    for name in ("mine", "other", "val"):
        (tmp_path / name).mkdir()
    path = tmp_path / "recipe.toml"
    path.write_text(f'[pool]\nsources = ["crawl"]\n[[seeds]]\nname = "mine"\npath = "{tmp_path}/mine"\nk = 9\n')
    return path


def test_what_is_given_adds_to_the_file(recipe: Path, tmp_path: Path) -> None:
    made = compose(recipe, (), ("mine", str(tmp_path / "other")), (str(tmp_path / "val"),), ("clusters.k=7",))
    assert [(s.name, s.k) for s in made.seeds] == [("mine", 9), ("other", 4)]
    assert [(p.name, p.path) for p in made.protect] == [("val", str(tmp_path / "val"))]
    assert (made.pool.sources, made.clusters.k) == (("crawl",), 7)


def test_a_pool_on_the_command_line_takes_the_files_place(recipe: Path) -> None:
    assert compose(recipe, ("a", "b"), (), (), ()).pool.sources == ("a", "b")


def test_a_run_needs_a_pool_and_seeds(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no pool"):
        compose(None, (), (str(tmp_path),), (), ())
    with pytest.raises(RecipeError, match="no seed set"):
        compose(None, ("crawl",), (), (), ())
