"""The paper's recipe is whole: table 15's rows add up to its total."""

from __future__ import annotations

import re
from importlib import resources

from pipelines.config import load_recipe


def test_table_15_adds_up():
    path = resources.files("pipelines").joinpath("configs", "lvd142m.toml")
    text = path.read_text(encoding="utf-8")
    recipe = load_recipe(str(path))
    modes = [mode for seeds in recipe.seeds for mode in seeds.mode]
    assert (modes.count("as_is"), modes.count("sample"), modes.count("cluster")) == (3, 3, 21)
    taken = [int(n.replace(",", "")) for n in re.findall(r"retrieved, ([\d,]+) taken", text)]
    assert len(taken) == 21
    as_is = {"imagenet-22k": 14_197_086, "mapillary-sls": 1_434_262, "gldv2": 1_580_470}
    sampled = {"imagenet-22k": 14_197_086, "imagenet-1k": 1_281_167, "gldv2": 1_580_470}
    whole = sum(as_is[s.name] for s in recipe.seeds if "as_is" in s.mode)
    whole += sum(s.k * sampled[s.name] for s in recipe.seeds if "sample" in s.mode)
    assert whole + sum(taken) == 142_109_386
    for seeds in recipe.seeds:
        assert (seeds.min_hits, seeds.per_cluster, seeds.cap) == (4, 10_000, 1_000_000)


def test_the_levels_of_lvd_1689m():
    recipe = load_recipe(str(resources.files("pipelines").joinpath("configs", "lvd1689m.toml")))
    assert recipe.clusters.levels == (200_000_000, 8_000_000, 800_000, 100_000, 25_000)
    assert recipe.selection_config.balanced == 1_689_000_000
    assert recipe.selection_config.weights == {"imagenet-1k": 1, "imagenet-22k": 1, "mapillary-sls": 1, "balanced": 1}
    assert recipe.as_is == ("imagenet-1k", "imagenet-22k", "mapillary-sls")
