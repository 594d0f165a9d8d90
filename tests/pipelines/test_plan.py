"""plan: lines that are known, arithmetic that can be redone by hand, and a plan beside its run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pipelines import plan, plan_growth
from pipelines.cli import app
from pipelines.config import Recipe, RecipeError, parse
from pipelines.plan_cluster import cluster_plan
from pipelines.plan_growth import Rates, Tried
from pipelines.plan_lines import line
from pipelines.plan_profile import load_profile, named
from pipelines.plan_sample import looked_at, parts_of
from tests.curation.making import encoded, picture


def test_a_line_through_exact_points():
    found = line([(100, 5.0), (200, 7.0), (400, 11.0)])
    assert (found.constant, found.slope) == (pytest.approx(3), pytest.approx(0.02))
    assert found.at(1000) == (pytest.approx(23), pytest.approx(20.7), pytest.approx(25.3))


def test_noise_makes_no_line_fall_or_start_below_nothing():
    falling = line([(100, 5.0), (200, 4.0)])
    assert falling.slope == 0
    assert falling.at(10**6)[0] == pytest.approx(4.5)
    steep = line([(100, 1.0), (200, 4.0)])
    assert steep.constant == 0
    assert steep.slope == pytest.approx(900 / 50_000)
    assert steep.at(1000)[2] >= 18  # the doubt is in the interval


RATES = Rates(products=1e9, pair=0.002, workers=2, dim=192, copy_dim=256)


def recipe(**edges: object) -> Recipe:
    return parse({"pool": {"sources": ["p"]}, "seeds": [{"name": "a", "path": "s", "k": 4}], "edges": edges})


def tries(seconds: Callable[[int], float] = float, pairs: float = 0.0, chosen: int = 10**6) -> list[Tried]:
    """Sample runs with 100 seed images, in which each noun of NOUNS takes `seconds` of the pool's size."""
    return [
        Tried(n, {noun: seconds(n) for noun in NOUNS}, dict.fromkeys(NOUNS, 10 * n), min(n + 100, chosen),
              round(pairs * n * n), {"a": 100})
        for n in (500, 1000, 2000)
    ]  # fmt: skip


NOUNS = ("screened", "edges", "centroids", "shards")


def test_what_is_no_product_grows_with_the_pool():
    found = plan_growth.seconds(tries(lambda n: 3 + 0.01 * n), recipe(), 50_000, RATES)
    assert found["screened"][0] == pytest.approx(503)


def test_products_are_counted_where_a_sample_is_too_small_to_show_them():
    found = plan_growth.seconds(tries(lambda _: 5.0), recipe(exact_below=100_000), 50_000, RATES)
    products = 50_100**2 / 2 * 256 / 1e9 / 2  # all pairs, seeds that enter as they are included, on two workers
    assert found["edges"][0] == pytest.approx(5 + products, rel=0.01)
    k = 448  # 2 roots; fitted on 64 images each, at most 20 passes, in one task
    assert found["centroids"][0] == pytest.approx(5 + 64 * k * k * 192 * 20 / 1e9, rel=0.01)
    assert found["edges"][1] < found["edges"][0] < found["edges"][2]


def test_a_large_pool_is_compared_by_cells():
    exact, cells = (plan_growth.counted("edges", 1e6, tries(), recipe(engine=e), RATES) for e in ("exact", "cells"))
    assert 0.05 < cells / exact < 0.2  # 0.07 measured at a million
    assert plan_growth.counted("grid", 1e6, tries(), recipe(engine="exact"), RATES) == 0
    assert plan_growth.counted("grid", 1e6, tries(), recipe(), RATES) > 0


def test_look_alikes_grow_with_the_square():
    some = tries(lambda _: 0.0, pairs=1e-5)
    assert plan_growth.pairs_of(some, 50_000) == pytest.approx(40 * (50_100 / 2100) ** 2)
    few, none = (plan_growth.counted("edges", 50_000, t, recipe(), RATES) for t in (some, tries(lambda _: 0.0)))
    assert few - none == pytest.approx(40 * (50_100 / 2100) ** 2 * 0.002 / 2)


def test_seed_sets_choose_no_more_than_they_can():
    chosen = plan_growth.chosen_of(tries(), recipe())
    assert chosen(2000) == 2100  # what was seen
    assert chosen(50_000) == 500  # 100 as they are and 4 for each
    assert plan_growth.disk(tries(), recipe(), 50_000, RATES)["screened"][0] == pytest.approx(500_000)
    ended = plan_growth.disk(tries(chosen=500), recipe(), 50_000, RATES)["shards"][0]
    assert ended == pytest.approx(35_000 / 3, rel=0.01)  # where nothing more is chosen, nothing more is written


@pytest.mark.parametrize(("images", "parts"), [(100, 1), (5000, 20), (50_000, 64), (10**9, 10_000)])
def test_parts_of_a_pool(images, parts):
    assert parts_of(recipe(), images) == parts


def test_a_plan_of_a_pool(tmp_path):
    for at in range(220):
        (tmp_path / f"{at}.png").write_bytes(encoded(picture(at, 64)))
    own = parse({"pool": {"sources": [str(tmp_path)]}, "sanitized": {"nsfw": ["none"], "faces": "none"}})
    found = plan.plan_here(own, 200, 1000, 1)
    assert (found["images"], found["workers"]) == (1000, 1)
    assert {"sources", "edges", "embeddings", "start"} <= set(found["seconds"])
    assert found["wall_s"][1] <= found["wall_s"][0] <= found["wall_s"][2]
    vectors = 1000 * found["rates"]["dim"] * 2
    assert 0.5 * vectors < found["disk"]["embeddings"][0] < 1.5 * vectors


def test_the_cluster_of_the_paper_sized_run():
    found = cluster_plan(named("8xH200"), 1_300_000_000)
    works = {work.noun: work for work in found.works}
    hours = {noun: work.hours[0] for noun, work in works.items()}
    assert hours["embeddings"] == pytest.approx(744e6 * 0.255e12 / (8 * 791e12 * 0.55) / 3600)
    assert hours["descriptors"] == pytest.approx(1.3e9 * 13.6e9 / (8 * 791e12 * 0.30) / 3600)
    assert hours["clusters"] == pytest.approx(744e6 * 1e5 * 1280 * 2 / (8 * 791e12 * 0.814) / 3600)
    assert hours["edges"] == pytest.approx(1.3e9 / 475 * 1300**0.5 / 192 / 3600)  # on cores: the longest of all
    assert found.binds == "cpu"
    assert found.hours[1] < found.hours[0] < found.hours[2]
    assert found.gpu_hours[0] == pytest.approx(8 * sum(work.hours[0] for work in found.works if work.binds == "gpu"))
    assert found.gpu_hours[0] < 8 * 48
    assert [noun for noun, work in works.items() if work.measured] == ["clusters"]
    assert all(work.source.startswith("measured" if work.measured else "assumed") for work in found.works)
    assert found.disk_tb[1] < found.disk_tb[0] < found.disk_tb[2]
    assert found.fits


def test_more_cards_take_less_time():
    one, many = (cluster_plan(named(name), 10**9) for name in ("8xA100", "64xA100"))
    assert many.hours[0] < one.hours[0]
    assert many.gpu_hours[0] == pytest.approx(one.gpu_hours[0])


@pytest.mark.parametrize("name", ["8", "8xT4", "0xH200", "xH200", "H200x8"])
def test_a_cluster_that_is_none(name):
    with pytest.raises(RecipeError, match="8xH200"):
        named(name)


PROFILE = """
bf16_tflops = 100
bf16_measured = true
cards = 4
per_machine = 2
cores = 2
host_gib = 8
disk_gb_s = 1
[rates.embeddings]
share = 0.5
measured = true
source = "our bench"
["rates"."decoding for the networks"]
images_per_s = 50
"""


def test_a_profile_of_ones_own(tmp_path):
    (tmp_path / "ours.toml").write_text(PROFILE)
    own = load_profile(tmp_path / "ours.toml")
    assert (own.name, own.machines, own.rate("clusters").measured) == ("ours", 2, False)
    found = cluster_plan(own, 10**9)
    works = {work.noun: work for work in found.works}
    assert works["embeddings"].source == "measured: our bench"
    embedded = 1e9 * 0.744 / 1.3
    assert works["embeddings"].hours[0] == pytest.approx(embedded * 0.255e12 / (400e12 * 0.5) / 3600)
    assert works["decoding for the networks"].hours[0] == pytest.approx((1e9 + embedded) / (50 * 8) / 3600)
    assert found.binds == "cpu"
    assert not found.fits  # 28 bytes of a thousand million images are more than 8 GiB
    slow = cluster_plan(replace(own, disk_gb_s=0.0001), 10**9)
    assert slow.binds == "disk"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cards = 2", "needs bf16_tflops"),
        ("bf16_tflops = 0", "above 0"),
        ("bf16_tflops = 1\nspeed = 2", "no section .speed."),
        ("bf16_tflops = 1\n[rates.clusters]\nimages_per_s = 3", "no rate"),
        ("bf16_tflops = 1\n[rates.clusters]\nshare = 3", "a rate has"),
        ("= 1", "not TOML"),
    ],
)
def test_a_profile_that_is_none(tmp_path, text, says):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(RecipeError, match=says):
        load_profile(tmp_path / "p.toml")


def test_a_plan_in_the_run_folder(tmp_path):
    assert plan.plan_file(tmp_path / "plan.json") == tmp_path / "plan.json"
    plan.write({"seconds": {}, "disk": {}}, plan.plan_file(tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "report" / "plan.json").read_text()) == {"seconds": {}, "disk": {}}


def test_a_run_says_what_it_took(world):
    found = looked_at(str(world.run))
    assert {"images", "edges", "embeddings", "neighbors", "manifest"} <= set(found.seconds)
    assert all(seconds >= 0 for seconds in found.seconds.values())
    assert sum(found.seconds.values()) > 0
    files = [p for p in world.run.rglob("*") if p.is_file()]
    assert sum(found.disk.values()) == sum(p.stat().st_size for p in files)


def test_a_plan_beside_its_run(world, tmp_path):
    fact = looked_at(str(world.run))
    kept = {"seconds": {n: [2 * s, s, 3 * s] for n, s in fact.seconds.items()}}
    kept["disk"] = {n: [float(b)] * 3 for n, b in fact.disk.items()}
    plan.write(kept, tmp_path / "plan.json")
    rows = {(row["what"], row["noun"]): row for row in plan.beside(tmp_path / "plan.json", str(world.run))}
    assert rows["seconds", "all"]["percent_off"] == pytest.approx(100, abs=0.1)
    assert rows["disk", "all"]["percent_off"] == 0


def test_a_run_reports_the_plan_that_was_made_before_it(world, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(world.run, run)
    fact = looked_at(str(run))
    plan.write({"seconds": {n: [s, s, s] for n, s in fact.seconds.items()}, "disk": {}}, plan.plan_file(run))
    shown = CliRunner().invoke(app, ["report", str(run), "plan", "--json"])
    rows = {row["noun"]: row for row in json.loads(shown.stdout)}
    assert {"embeddings", "edges", "all"} <= set(rows)
    assert "plan" in CliRunner().invoke(app, ["report", str(run)]).stdout.split()


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"works": []})])
def test_no_plan_to_hold_beside(world, tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(RecipeError, match="holds no plan"):
        plan.beside(tmp_path / "plan.json", str(world.run))


def test_cells_hold_descriptors_where_not_all_pairs_are_compared():
    cells, exact = (plan_growth.disk(tries(), recipe(engine=e), 1_000_000, RATES)["cells"][0] for e in ("cells", "exact"))
    assert cells - exact == pytest.approx(2 * 1e6 * (RATES.copy_dim + plan_growth.AXES), rel=0.01)
