"""Every file of sql/: checks are silent on a sound run and speak, each alone, when its promise is broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest

from pipelines import queries, tables
from tests.pipelines.test_queries import Rows, name_id, sound_rows, write_run

A, B, C, D, E, F, G, H, S, T, V = (name_id(name) for name in "abcdefghstv")


def lose(noun: str, image_id: str) -> Callable[[Rows], None]:
    """Take an image's rows out of a noun."""

    def damage(rows: Rows) -> None:
        rows[noun] = [row for row in rows[noun] if row.get("image_id") != image_id]

    return damage


def put(noun: str, image_id: str, **values: Any) -> Callable[[Rows], None]:
    """Change columns of an image's rows in a noun."""

    def damage(rows: Rows) -> None:
        for row in rows[noun]:
            if row.get("image_id") == image_id:
                row.update(values)

    return damage


def twice(noun: str, image_id: str) -> Callable[[Rows], None]:
    """Repeat an image's row in a noun."""

    def damage(rows: Rows) -> None:
        rows[noun].append(next(row for row in rows[noun] if row.get("image_id") == image_id))

    return damage


def add(noun: str, **values: Any) -> Callable[[Rows], None]:
    """Add a row to a noun."""
    return lambda rows: rows[noun].append(values)


def all_of(*damages: Callable[[Rows], None]) -> Callable[[Rows], None]:
    """Several damages at once."""

    def damage(rows: Rows) -> None:
        for one in damages:
            one(rows)

    return damage


def choose(image_id: str, seed_set: str, mode: str) -> Callable[[Rows], None]:
    """Add a choice of an image beside those it has."""

    def damage(rows: Rows) -> None:
        for row in rows["selection"]:
            if row["image_id"] == image_id:
                choices = json.loads(row["chosen_by"])
                row["chosen_by"] = json.dumps([*choices, {"seed_set": seed_set, "mode": mode, "similarity": 1.0}])

    return damage


def leaves(rows: Rows) -> None:
    """All clusters are of the first level, and of no other."""
    for row in rows["centroids"]:
        row["level"] = 1


def unscanned(rows: Rows) -> None:
    """Forget the file that could not be read."""
    rows["images"] = [row for row in rows["images"] if row["key"] != "x"]


def kept_twice(rows: Rows) -> None:
    """Keep both files with the bytes of a."""
    for row in rows["images"]:
        if row["key"] == "again/a":
            row.update(drop_reason=None, drop_cause=None)


def protect_g(rows: Rows) -> None:
    """Make g, which is in the manifest, an image of a protected set."""
    put("images", G, sets=["pool", "protect:val"])(rows)


def twin_of_protected(rows: Rows) -> None:
    """Make b, dropped as a near-exact duplicate of a, an image of a protected set."""
    put("images", B, sets=["protect:val"])(rows)


DAMAGES: list[tuple[str, Callable[[Rows], None], int]] = [
    ("scanned_to_images", unscanned, 1),
    ("scanned_to_images", lose("scanned", F), 1),
    ("images_to_screened", lose("screened", E), 1),
    ("images_to_screened", add("screened", image_id="0" * 32), 1),
    ("images_to_cleaned", all_of(lose("cleaned", F), lose("sanitized", F)), 1),
    ("images_to_cleaned", all_of(add("cleaned", image_id="0" * 32), add("sanitized", image_id="0" * 32, drop_reason="odd")), 1),
    ("links_to_urls", lambda rows: rows["urls"][0].update(mentions=3), 1),
    ("links_to_urls", lambda rows: rows["links"].pop(0), 1),
    ("urls_to_fetched", lambda rows: rows["fetched"].pop(), 1),
    ("urls_to_fetched", lambda rows: rows["fetched"].append(dict(rows["fetched"][0])), 1),
    ("cleaned_to_sanitized", lose("sanitized", F), 1),
    ("nothing_unsafe_exported", put("sanitized", G, bytes_sha256="0" * 64), 1),
    ("sanitized_to_descriptors", put("sanitized", F, drop_reason=None, drop_limit=None), 1),
    ("sanitized_to_descriptors", add("descriptors", image_id=F, descriptor=[0.5] * 4, drop_reason="odd"), 1),
    ("descriptors_to_survivors", lose("survivors", C), 1),
    ("descriptors_to_survivors", add("survivors", image_id=F, usable=False, drop_reason="odd"), 1),
    ("survivors_to_embeddings", put("survivors", C, drop_reason=None, drop_limit=None, drop_cause=None), 1),
    ("survivors_to_embeddings", add("embeddings", image_id=C, embedding=[0.5] * 4, drop_reason="odd"), 1),
    ("embeddings_to_clusters", lose("clusters", E), 1),
    ("embeddings_to_clusters", add("clusters", image_id=C, cluster=0, similarity=0.5), 1),
    ("embeddings_to_selection", lose("selection", E), 1),
    ("embeddings_to_selection", add("selection", image_id=C, drop_reason="odd"), 1),
    ("selection_to_manifest", all_of(lose("manifest", H), lose("shards", H)), 1),
    ("selection_to_manifest", put("selection", H, drop_reason="capped"), 1),
    ("unique_images", kept_twice, 1),
    ("unique_rows", twice("screened", A), 1),
    ("unique_rows", twice("survivors", C), 1),
    ("unique_rows", twice("selection", E), 1),
    (
        "unique_manifest_keys",
        all_of(put("manifest", G, shard_key="0" * 8), put("shards", G, member="0" * 8 + ".jpg")),
        1,
    ),
    ("manifest_has_bytes", lose("shards", T), 1),
    ("manifest_has_bytes", put("shards", T, drop_reason="changed"), 1),
    ("manifest_has_bytes", put("shards", T, sha256="0" * 64, metadata="kept"), 1),
    ("manifest_has_bytes", put("shards", T, length=7_000_000), 1),
    ("manifest_has_bytes", put("shards", T, shard="00001.tar"), 1),
    ("manifest_has_bytes", put("shards", T, member="other.jpg"), 1),
    ("manifest_has_bytes", add("shards", image_id=E, sha256="0", length=1, shard="00000.tar", member="x.jpg"), 1),
    ("manifest_without_protected", protect_g, 1),
    ("manifest_usable", put("survivors", G, usable=False), 1),
    ("manifest_usable", put("survivors", G, usable=None), 1),
    ("manifest_without_protected_copies", add("edges", a=G, b=V, similarity=0.45), 1),
    ("manifest_without_protected_copies", add("edges", a=V, b=G, similarity=0.6), 1),
    ("manifest_without_protected_twins", twin_of_protected, 1),
    ("via_is_an_edge", put("survivors", C, via="0" * 32), 1),
    ("drops_have_reasons", put("selection", E, drop_reason=" "), 1),
    ("drops_have_reasons", put("embeddings", A, drop_limit=0.5), 1),
    ("copies_have_causes", put("survivors", C, drop_cause=None), 1),
    ("copies_have_causes", put("survivors", C, drop_cause=D), 1),
    ("copies_have_causes", put("cleaned", B, drop_cause="0" * 32), 1),
    ("copies_have_causes", put("selection", E, drop_cause="0" * 32), 1),
    ("neighbor_ranks", lambda rows: rows["neighbors"][0].update(rank=3), 2),
    ("neighbor_ranks", lambda rows: rows["neighbors"][1].update(rank=1), 1),
    ("neighbor_ranks", lambda rows: rows["neighbors"][1].update(similarity=0.95), 1),
    ("choices_from_own_set", choose(S, "cars", "as_is"), 1),
    ("choices_from_own_set", choose(S, "food", "sample"), 1),
    ("choices_from_own_set", put("selection", G, mode="as_is"), 1),
    ("balanced_within_caps", all_of(leaves, choose(G, "balanced", "balanced"), choose(H, "balanced", "balanced")), 1),
    ("weights_positive", put("manifest", A, weight=0.0), 1),
    ("weights_positive", put("selection", A, weight=None), 1),
    ("weights_positive", put("manifest", A, weight=-1.0), 1),
]


@pytest.fixture
def memory() -> Iterator[str]:
    """A run folder in memory, gone after the test."""
    yield "memory://sql/run"
    fsspec.filesystem("memory").rm("/sql", recursive=True)


def test_a_sound_run_passes_every_check(tmp_path: Path) -> None:
    counts = queries.run_checks(write_run(str(tmp_path), sound_rows()))
    assert counts == dict.fromkeys(queries.check_names(), 0)


@pytest.mark.parametrize(("check", "damage", "offending"), DAMAGES)
def test_a_broken_promise_is_told_by_its_check_alone(
    memory: str, check: str, damage: Callable[[Rows], None], offending: int
) -> None:
    rows = sound_rows()
    damage(rows)
    counts = queries.run_checks(write_run(memory, rows, parts=1))
    assert {name: count for name, count in counts.items() if count} == {check: offending}


def test_every_check_is_broken_by_some_test() -> None:
    assert {check for check, _, _ in DAMAGES} == set(queries.check_names())


@pytest.mark.parametrize("times", [{G: 1}, {G: 2, H: 2, A: 2, E: 2}, {G: 1, A: 1}])
def test_a_balanced_draw_within_its_caps_is_sound(memory: str, times: dict[str, int]) -> None:
    rows = sound_rows()
    leaves(rows)
    for row in rows["selection"]:
        if row["image_id"] in times:
            row["chosen_by"] = json.dumps([{"mode": "balanced"}] * times[row["image_id"]])
            row.pop("drop_reason", None)
    assert queries.check(write_run(memory, rows), "balanced_within_caps").num_rows == 0


def test_copies_are_judged_by_the_recipe(tmp_path: Path) -> None:
    rows = sound_rows()
    rows["edges"].append({"a": G, "b": V, "similarity": 0.5})
    for number, (recipe, offending) in enumerate([("[survivors]\nreference_similarity = 0.6\n", 0), ("", 0)]):
        run = write_run(str(tmp_path / str(number)), rows, recipe)
        assert queries.check(run, "manifest_without_protected_copies").num_rows == offending


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sound run."""
    return write_run(str(tmp_path_factory.mktemp("sql")), sound_rows())


REPORTS: dict[str, tuple[int, dict[str, Any]]] = {
    "drops_by_reason": (
        8,
        {"noun": "images", "drop_reason": "exact_duplicate", "images": 1, "percent_of_received": 7.14},
    ),
    "funnel": (10, {"noun": "images", "received": 14, "kept": 12, "dropped": 2, "percent_kept": 85.71}),
    "seed_sets": (3, {"seed_set": "cars", "mode": "cluster", "seed_images": 1, "chosen_images": 1, "hits": 1}),
    "formats": (3, {"format": "JPEG", "files": 11, "kept_images": 10, "manifest_images": 3}),
    "sizes": (10, {"from_pixels": 0, "to_pixels": 64, "kept_images": 0, "manifest_images": 0}),
    "copy_groups": (2, {"group_size": 2}),
    "giant_groups": (0, {}),
    "clusters": (2, {"cluster": 0, "pool_images": 2, "manifest_images": 1, "percent_selected": 50.0}),
    "most_hit": (5, {"hits": 2}),
    "hosts": (1, {"images": 11, "nsfw": 1, "with_faces": 0, "blurred": 0}),
    "crawl_hosts": (1, {"host": "a.example", "urls": 2, "images": 1, "main_reason": "not_found", "bytes": 9}),
    "safety": (1, {"images": 11, "nsfw": 1, "faces": 0, "blurred": 0}),
    "crawl_errors": (1, {"drop_reason": "not_found", "urls": 1, "percent": 50.0}),
}


@pytest.mark.parametrize("name", queries.report_names())
def test_reports_answer(sound: str, name: str) -> None:
    rows, first = REPORTS[name]
    table = queries.report(sound, name)
    assert table.num_rows == rows
    assert not rows or first.items() <= table.to_pylist()[0].items()
    for style in ("table", "csv", "json"):
        assert tables.render(table, style).strip()


def test_a_group_tied_by_a_chain_is_told(tmp_path: Path) -> None:
    rows = sound_rows()
    (copy,) = (row for row in rows["survivors"] if row.get("drop_reason") == "copy")
    copy |= {"via": rows["survivors"][0]["image_id"], "via_similarity": 0.5}
    (group,) = queries.report(write_run(str(tmp_path), rows), "giant_groups").to_pylist()
    assert group == {"group_id": copy["group_id"], "group_size": 2, "chained_images": 1, "weakest_similarity": 0.5}


def test_seed_sets_and_sizes_in_full(sound: str) -> None:
    food = [row for row in queries.report(sound, "seed_sets").to_pylist() if row["seed_set"] == "food"]
    assert [tuple(row.values()) for row in food] == [
        ("food", "as_is", 3, 3, 3, 1.0),
        ("food", "sample", 3, 2, 3, 0.7667),
    ]
    sizes = queries.report(sound, "sizes").to_pylist()
    counts = {(r["from_pixels"], r["kept_images"], r["manifest_images"]) for r in sizes if r["kept_images"]}
    assert counts == {(128, 9, 4), (336, 3, 1)}


@pytest.mark.parametrize("kind", ["views", "checks", "reports"])
def test_files_open_with_question_and_grain(kind: str) -> None:
    for file in resources.files("sql").joinpath(kind).iterdir():
        text = file.read_text(encoding="utf-8")
        question, grain, *_ = text.splitlines()
        assert question.startswith("-- "), file.name
        assert question.endswith("?"), file.name
        assert grain.startswith("-- One row is "), file.name
        assert len(duckdb.extract_statements(text)) == 1, file.name
        assert text.endswith(";\n"), file.name
        assert max(map(len, text.splitlines())) <= 120, file.name


def test_views_are_the_nouns_and_what_is_derived() -> None:
    names = {file.name.removesuffix(".sql") for file in resources.files("sql").joinpath("views").iterdir()}
    assert names == {*queries.ALL, *queries.DERIVED}
