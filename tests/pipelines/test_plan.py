"""plan: lines that are known, arithmetic that can be redone by hand, and a plan beside its run."""

from __future__ import annotations

import json

import pytest

from pipelines import plan
from pipelines.config import RecipeError
from pipelines.plan_cluster import cluster_plan
from pipelines.plan_lines import line
from pipelines.plan_sample import looked_at


def test_a_line_through_exact_points():
    found = line([(100, 5.0), (200, 7.0), (400, 11.0)], 1.0)
    assert (found.constant, found.slope) == (pytest.approx(3), pytest.approx(0.02))
    assert found.at(1000) == (pytest.approx(23), pytest.approx(20.7), pytest.approx(25.3))


def test_a_power_is_met():
    found = line([(n, 1 + 0.001 * n**1.5) for n in (100, 400, 900)], 1.5)
    assert found.at(10_000)[0] == pytest.approx(1001)


def test_noise_makes_no_line_fall_or_start_below_nothing():
    falling = line([(100, 5.0), (200, 4.0)], 1.0)
    assert falling.slope == 0
    assert falling.at(10**6)[0] == pytest.approx(4.5)
    steep = line([(100, 1.0), (200, 4.0)], 1.0)
    assert steep.constant == 0
    assert steep.slope == pytest.approx(900 / 50_000)
    assert steep.at(1000)[2] >= 18  # the doubt is in the interval


def test_the_cluster_of_the_paper_sized_run():
    found = cluster_plan("8xH200", 1_300_000_000)
    hours = {work.noun: work.hours[0] for work in found.works}
    assert hours["embeddings"] == pytest.approx(744e6 * 0.255e12 / (8 * 790e12 * 0.55) / 3600)
    assert hours["descriptors"] == pytest.approx(1.3e9 * 13.6e9 / (8 * 790e12 * 0.30) / 3600)
    assert found.binds == "gpu"
    assert found.hours[1] < found.hours[0] < found.hours[2] < 48
    assert found.gpu_hours[0] == pytest.approx(8 * found.hours[0])
    assert all("assumed" in work.source for work in found.works)


def test_more_cards_take_less_time_and_cores_can_bind():
    one, many = (cluster_plan(name, 10**9) for name in ("8xA100", "64xA100"))
    assert many.hours[0] < one.hours[0]
    assert many.gpu_hours[0] == pytest.approx(one.gpu_hours[0])


@pytest.mark.parametrize("name", ["8", "8xT4", "0xH200", "xH200", "H200x8"])
def test_a_cluster_that_is_none(name):
    with pytest.raises(RecipeError, match="8xH200"):
        cluster_plan(name, 1000)


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


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"works": []})])
def test_no_plan_to_hold_beside(world, tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(RecipeError, match="holds no plan"):
        plan.beside(tmp_path / "plan.json", str(world.run))
