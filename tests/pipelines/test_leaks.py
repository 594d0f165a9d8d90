"""Contamination looked up, and thresholds changed on stored similarities, on a finished run."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from pipelines.config import RecipeError
from pipelines.leaks import leaks
from pipelines.progress import Progress
from pipelines.queries import query, run_checks
from pipelines.rethreshold import rethreshold
from tests.pipelines import tiny
from tests.pipelines.conftest import World
from tests.pipelines.test_run import stamps

QUIET = Progress(quiet=True)


def test_planted_copies_of_a_protected_set_are_listed_and_gone(world: World) -> None:
    rows = leaks(str(world.run), "protected").to_pylist()
    assert {Path(row["protected_uri"]).name for row in rows} == {f"seed-{n}.jpg" for n in range(20, 24)}
    gone = {row["image_id"] for row in rows}
    assert len(gone) == 4
    assert {row["drop_reason"] for row in rows} == {"protected_copy"}
    weaker = leaks(str(world.run), "protected", at=-1.0)
    assert weaker.num_rows >= len(rows)
    assert query(str(world.run), "from survivors where drop_reason = 'protected_copy'").num_rows == 4  # no innocents


def test_an_unknown_set_is_one_line_with_the_known(world: World) -> None:
    with pytest.raises(RecipeError, match='no protected set is called "val"; there are: protected'):
        leaks(str(world.run), "val")
    done = tiny.curate("leaks", world.run, "--against", "protected", "--json")
    assert len(json.loads(done.stdout)) >= 4


def test_other_thresholds_touch_no_edges_and_below_the_floor_nothing(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    subprocess.run(["cp", "-a", str(world.run), str(out)], check=True)
    recipe = tomllib.loads((out / "recipe.toml").read_text())
    before = {noun: stamps(out, noun) for noun in ("descriptors", "edges", "survivors")}
    with pytest.raises(RecipeError, match=r"edges\.floor = .* --set edges\.floor"):
        rethreshold(str(out), self_similarity=recipe["edges"]["floor"] - 0.1, progress=QUIET)
    assert tomllib.loads((out / "recipe.toml").read_text()) == recipe
    done = tiny.curate("rethreshold", out, "--self-similarity", "0.999", "--workers", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert [stamps(out, n) == before[n] for n in before] == [True, True, False]
    assert (
        query(str(out), "from survivors where drop_reason = 'copy'").num_rows
        < query(str(world.run), "from survivors where drop_reason = 'copy'").num_rows
    )
    assert run_checks(str(out)) == dict.fromkeys(run_checks(str(out)), 0)
    stood = {noun: stamps(out, noun) for noun in ("edges", "survivors", "embeddings", "manifest")}
    again = tiny.curate("run", "--recipe", out / "recipe.toml", "--out", out, "--workers", 2)
    assert again.returncode == 0, again.stderr
    assert {noun: stamps(out, noun) for noun in stood} == stood
