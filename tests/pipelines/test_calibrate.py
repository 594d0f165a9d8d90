"""calibrate, as a user calls it, on small pictures: of many kinds, and of one kind only."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation.stage import CopyEncoder
from pipelines import calibrate, evidence
from pipelines.cli import main
from pipelines.compose import compose
from pipelines.config import Recipe
from pipelines.specimens import Editing, Sample, Specimens, prepare
from tests.pipelines.tiny import encoded, make_tar, photo, picture

IMAGES = 112


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", *map(str, arguments)])
    return int(ended.value.code or 0)


_described: dict[Any, tuple[Specimens, Counter[str]]] = {}


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few close looks; the same images are described once, but where a test is about that."""

    def once(sample: Sample, encoder: CopyEncoder, recipe: Recipe, editing: Editing) -> Specimens:
        key = (*sample.rows["image_id"].to_pylist(), editing)
        if key not in _described:
            before = sample.passed_over.copy()
            _described[key] = prepare(sample, encoder, recipe, editing), sample.passed_over - before
        else:
            sample.passed_over.update(_described[key][1])
        return _described[key][0]

    monkeypatch.setattr(evidence, "LOOKED_AT", 20)
    monkeypatch.setattr(evidence, "FULL", 20)
    if "same_answer" not in request.node.name:
        monkeypatch.setattr(calibrate, "prepare", once)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """110 pictures in a folder, a tar and a Parquet file, two of them again with small changes; what is no image."""
    root = tmp_path_factory.mktemp("pool")
    for n in range(40):
        (root / f"{n:03d}.jpg").write_bytes(photo(n))
    make_tar(root / "more.tar", {f"{n:03d}.jpg": photo(n) for n in range(40, 80)})
    pq.write_table(pa.Table.from_pylist([{"key": f"{n}", "jpg": photo(n)} for n in range(80, 110)]), root / "rest.parquet")
    for n in (3, 70):
        (root / f"again-{n}.jpg").write_bytes(encoded(picture(n), quality=70))
    (root / "page.html").write_text("<!doctype html>")
    (root / "tiny.png").write_bytes(encoded(picture(900, 16), "PNG"))
    return root


@pytest.fixture(scope="module")
def kin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture 66 times, each time with other grain: nobody can tell an edit of one from another."""
    root = tmp_path_factory.mktemp("kin")
    base = np.asarray(picture(5), np.float32)
    for n in range(66):
        grain = np.random.default_rng(n).normal(0, 4, base.shape)
        (root / f"{n:02d}.jpg").write_bytes(encoded(Image.fromarray((base + grain).clip(0, 255).astype(np.uint8)), quality=90))
    return root


def asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert call(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_pictures_of_many_kinds_can_be_told_apart(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "--pool", pool, "--images", 400, "--pool-size", 150, "--copies", 0.3, "--out", tmp_path / "a.toml")
    assert (found["images"], found["pool_size"]) == (IMAGES, 150)
    assert found["passed_over"] == {"not_an_image": 1, "too_small": 1}
    assert found["separable"]
    assert found["expected"]["precision_low"] >= 0.99
    assert found["expected"]["recall"] >= 0.5
    kinds = {one["name"]: one for one in found["edits"]}
    assert kinds["jpeg"]["recall"] == 1
    assert kinds["crop"]["kind"] == "everyday"
    assert kinds["screenshot"]["kind"] == "hard"
    assert all(row["recall_low"] <= row["recall"] <= row["recall_high"] for row in found["self_similarity"])
    recall = [row["recall"] for row in found["self_similarity"]]
    assert recall == sorted(recall, reverse=True)
    recipe = compose(tmp_path / "a.toml", (str(pool),), (str(pool),), (), ())
    assert {name: getattr(recipe.survivors, name) for name in found["recommended"]} == found["recommended"]


def test_the_same_question_has_the_same_answer(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--pool", pool, "--images", 60, "--seed", 4)
    first = asked(capsys, *options)
    assert first == asked(capsys, *options)
    assert first["images"] == 60
    assert first["found"] == IMAGES + 2


def test_copies_in_the_sample_are_asked_about(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asking, options = tmp_path / "ask.csv", ("--pool", pool, "--images", 400, "--pool-size", 150)
    plain = asked(capsys, *options, "--ask", asking)
    assert plain["borderline_count_as"] == "neither"
    pairs = [{one["uri_a"], one["uri_b"]} for one in plain["borderline"]]
    assert {str(pool / "003.jpg"), str(pool / "again-3.jpg")} in pairs
    assert {f"{pool / 'more.tar'}#070", str(pool / "again-70.jpg")} in pairs
    rows = list(csv.DictReader(asking.open()))
    assert [{row["uri_a"], row["uri_b"]} for row in rows] == pairs
    answers = {}
    for word in ("yes", "0"):
        asking.write_text(
            f"uri_a,uri_b,same\nelsewhere.jpg,{rows[0]['uri_b']},1\n"
            + "".join(f"{r['uri_a']},{r['uri_b']},{word}\n" for r in rows)
        )
        answers[word] = asked(capsys, *options, "--labels", asking)
        assert answers[word]["labels_used"] == len(rows)
        assert [one["same"] for one in answers[word]["borderline"]] == [word == "yes"] * len(rows)
    assert answers["yes"]["self_similarity"] == plain["self_similarity"]
    at = next(n for n, row in enumerate(plain["self_similarity"]) if row["threshold"] == 0.9)
    assert answers["0"]["self_similarity"][at]["precision"] < plain["self_similarity"][at]["precision"]
    assert answers["yes"]["precision_if_borderline_are_false"] > plain["precision_if_borderline_are_false"]


def test_many_pairs_are_copies_and_many_of_one_kind_are_kin() -> None:
    def doubts(pairs: list[tuple[int, int]]) -> list[evidence.Doubt]:
        return [evidence.Doubt(a, b, 0.9, 0.9) for a, b in pairs]

    assert not evidence._are_kin([], 100)
    assert not evidence._are_kin(doubts([(n, n + 50) for n in range(30)]), 100)
    assert not evidence._are_kin(doubts([(0, n) for n in range(1, 30)]), 1000)
    assert evidence._are_kin(doubts([(0, n) for n in range(1, 30)]), 100)


def test_pictures_of_one_kind_cannot(kin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "--pool", kin, "--images", 66, "--out", tmp_path / "b.toml")
    assert not found["separable"]
    assert found["expected"] is None
    assert found["verdict"].startswith("copies cannot be told apart by this network on these images")
    assert found["borderline_count_as"] == "false"
    assert found["recommended"]["self_similarity"] == 1.0
    told = (tmp_path / "b.toml").read_text()
    assert "# self_similarity (cosine alone)" in told
    assert "<- best trade-off" in told
    assert "larger copy network" in told
    assert compose(tmp_path / "b.toml", (str(kin),), (str(kin),), (), ()).survivors.self_similarity == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("uri_a,uri_b\na,b\n", "needs the columns"),
        ("uri_a,uri_b,same\na,b,perhaps\n", 'line 2: same is 1 or 0, yes or no, not "perhaps"'),
    ],
)
def test_bad_labels_are_one_line(pool: Path, tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "l.csv").write_text(text)
    assert call("--pool", pool, "--labels", tmp_path / "l.csv") == 1
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_too_little_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(1))
    assert call("--pool", tmp_path) == 1
    assert "too few to calibrate on" in capsys.readouterr().err
    assert call("--pool", tmp_path / "none") == 1
    assert "no such file" in capsys.readouterr().err
    assert call("--pool", tmp_path, "--network", "no-such") == 1
    assert "no encoder" in capsys.readouterr().err
