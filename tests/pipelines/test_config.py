"""The recipe: what it takes, what it refuses and how, and that it survives being written and read."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pipelines.config import Recipe, RecipeError, as_toml, load_recipe, parse

CONFIGS = Path(__file__).parents[2] / "pipelines" / "configs"


def test_every_shipped_recipe_loads() -> None:
    names = {path.name for path in CONFIGS.glob("*.toml")}
    assert {"default.toml", "lvd142m.toml"} <= names
    for name in names:
        assert isinstance(load_recipe(CONFIGS / name), Recipe)


def test_the_default_recipe_is_the_defaults() -> None:
    assert load_recipe(CONFIGS / "default.toml") == Recipe()


def test_the_papers_values() -> None:
    recipe = load_recipe(CONFIGS / "lvd142m.toml")
    assert (recipe.survivors.self_similarity, recipe.survivors.reference_similarity, recipe.survivors.k) == (0.60, 0.45, 64)
    assert recipe.clusters.k == 100_000
    assert {s.name: s.k for s in recipe.seeds if "sample" in s.mode} == {"imagenet-22k": 4, "imagenet-1k": 32, "gldv2": 4}


def test_what_is_written_is_read_back() -> None:
    recipe = parse({"pool": {"sources": ["a"]}, "seeds": [{"name": "s", "path": "p", "mode": ["cluster"], "cap": 7}]})
    text = as_toml(recipe, {"versions": {"torch": "2"}})
    assert parse(tomllib.loads(text)) == recipe
    assert tomllib.loads(text)["resolved"]["versions"] == {"torch": "2"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"survivor": {}}, "no section [survivor]; did you mean survivors?"),
        ({"survivors": {"self_similarty": 0.5}}, "[survivors] has no key self_similarty; did you mean self_similarity?"),
        ({"survivors": {"self_similarity": "high"}}, "survivors.self_similarity must be float, not 'high'"),
        ({"survivors": {"self_similarity": 1.5}}, "[survivors]: self_similarity is a cosine, -1 to 1, not 1.5"),
        ({"survivors": {"as_is": ["x"]}}, "[survivors] has no key as_is; there are: self_similarity, "),
        ({"clusters": {"k": True}}, "clusters.k must be int, not True"),
        ({"clusters": 3}, "clusters must be a section, [clusters]"),
        ({"seeds": [{"name": "s"}]}, "[seeds] needs path"),
        ({"seeds": [{"name": "s", "path": "p", "mode": ["all"]}]}, 'mode "all" is none of as_is, sample, cluster'),
        ({"seeds": [{"name": "s", "path": "p"}, {"name": "s", "path": "q"}]}, 'two [[seeds]] are called "s"'),
        ({"pool": {"sources": 3}}, "pool.sources must be a list, not 3"),
        ({"sanitized": {"faces": "maybe"}}, 'faces must be "blur", "drop", "keep" or "none", not "maybe"'),
        ({"selection": {"collisions": "first"}}, 'neither "next_unused" nor "keep"'),
        ({"manifest": {"shard_images": 0}}, "shard_images must be 1 to 10,000, not 0"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(table: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(table)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides() -> None:
    recipe = parse({}, ("survivors.self_similarity=0.7", "embeddings.network=mine.safetensors", 'pool.sources=["a", "b"]'))
    assert recipe.survivors.self_similarity == 0.7
    assert recipe.embeddings.network == "mine.safetensors"
    assert recipe.pool.sources == ("a", "b")


@pytest.mark.parametrize("text", ["self_similarity", "survivors=3", "k=4"])
def test_a_malformed_override_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"--set takes section\.key=value"):
        parse({}, (text,))


def test_what_sections_need_of_each_other_is_derived() -> None:
    seeds = [{"name": "a", "path": "x", "mode": ["as_is"]}, {"name": "b", "path": "y", "mode": ["sample"], "k": 7}]
    recipe = parse({"seeds": seeds})
    assert recipe.survivors_config.as_is == ("a",)
    assert recipe.neighbors_config.k == (("b", 7),)
    assert [plan.name for plan in recipe.selection_config.seeds] == ["a", "b"]


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe at"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[pool")
    with pytest.raises(RecipeError, match="is not TOML"):
        load_recipe(tmp_path / "bad.toml")
