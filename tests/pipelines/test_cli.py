"""The command line: verbs, help, output that programs can read, errors of one line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from pipelines.cli import main
from tests.pipelines.conftest import World

VERBS = ("run", "crawl", "status", "query", "report", "check", "calibrate", "seeds", "demo", "doctor")


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(verb, "--help") == 0
    said = capsys.readouterr().out
    assert f"curate {verb}" in said or verb == "seeds"


def test_query_prints_tables_csv_and_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "select mode, count(*) as n from manifest group by 1 order by 1"
    assert call("query", world.run, sql) == 0
    assert "as_is" in capsys.readouterr().out
    assert call("query", world.run, sql, "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"mode": "as_is", "n": 6}, {"mode": "sample", "n": 24}]
    assert call("query", world.run, sql, "--csv") == 0
    assert list(csv.reader(io.StringIO(capsys.readouterr().out)))[1] == ["as_is", "6"]


def test_reports_and_checks(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", world.run) == 0
    assert "drops_by_reason" in capsys.readouterr().out.split()
    assert call("report", world.run, "drops_by_reason", "--json") == 0
    assert any(row["drop_reason"] == "exact_duplicate" for row in json.loads(capsys.readouterr().out))
    assert call("check", world.run) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query", "RUN", "select from"], "Parser Error"),
        (["query", "RUN", "drop view manifest"], ""),
        (["query", "nowhere", "select 1"], "nowhere"),
        (["report", "RUN", "drops"], "drops_by_reason"),
        (["status", "nowhere"], "nowhere is not a run folder"),
        (["run", "--pool", "x"], "no seed set"),
        (["run", "--seeds", "no-such-set"], "neither a named set nor a path"),
        (["demo", "--out", "FULL"], "is not empty"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], said: str, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    places = {"RUN": str(world.run), "FULL": str(tmp_path)}
    assert call(*[places.get(a, a) for a in arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("curate: ")
    assert said in error
    assert "\n" not in error


def test_debug_shows_the_traceback(world: World) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        main(["status", "nowhere", "--debug"])


def test_named_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CURATE_HOME", str(tmp_path))
    assert call("seeds", "add", "mine", tmp_path) == 0
    assert call("seeds", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == [{"kind": "seeds", "name": "mine", "path": str(tmp_path)}]
