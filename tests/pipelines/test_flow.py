"""The flow as a list: every stage consumes what an earlier one produces, under one name everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from curation import records
from curation.stage import MapStage
from curation.stages.descriptors import DescriptorsConfig
from curation.stages.survivors import SurvivorsConfig
from pipelines.config import Recipe, RecipeError
from pipelines.flow import FLOW, network, resolve
from pipelines.steps import recipe_print

ROOT = Path(__file__).parents[2]
WHITENED = replace(Recipe(), descriptors=DescriptorsConfig(whiten="pca"))


def test_stages_consume_what_was_produced_before() -> None:
    for recipe in (Recipe(), WHITENED):
        made: set[str] = set()
        for step in (step for step in FLOW if step.wanted(recipe)):
            needed = set(step.stage.consumes) | set(step.stage.also if isinstance(step.stage, MapStage) else ())
            assert needed <= made, step.stage.name
            assert step.stage.name not in made
            made.add(step.stage.name)


def test_nouns_are_the_flow_and_have_views() -> None:
    assert [step.stage.name for step in FLOW if step.wanted(Recipe())] == list(records.NOUNS)
    names = {step.stage.name for step in FLOW if step.wanted(WHITENED)}
    assert names == {*records.NOUNS, *records.OPTIONAL}
    assert names <= {path.stem for path in (ROOT / "sql" / "views").glob("*.sql")}


def resolved(**named: float) -> SurvivorsConfig:
    return resolve(replace(Recipe(), survivors=SurvivorsConfig(**named))).survivors


def test_the_copy_networks_values_are_taken_unless_named() -> None:
    card, own = network("copy-small"), resolved()
    assert own.confirm == card.confirm
    assert own.confirm is not None
    assert own.self_similarity == own.reference_similarity == pytest.approx(own.confirm - 0.9)
    alone = resolved(confirm=0)
    assert (alone.self_similarity, alone.reference_similarity) == (card.self_similarity, card.reference_similarity)


def test_a_cosine_that_the_recipe_names_decides_alone() -> None:
    card, own = network("copy-small"), resolved(self_similarity=0.9)
    assert (own.self_similarity, own.reference_similarity, own.confirm) == (0.9, card.reference_similarity, 0)
    both = resolved(reference_similarity=0.5, confirm=1.5)
    assert (both.self_similarity, both.reference_similarity, both.confirm) == (pytest.approx(0.6), 0.5, 1.5)


def test_a_network_without_thresholds_asks_for_them() -> None:
    with pytest.raises(RecipeError, match="no calibrated thresholds"):
        resolve(replace(Recipe(), descriptors=replace(Recipe().descriptors, network="vitti16-small")))


@pytest.mark.parametrize(
    ("network", "size", "told"),
    [
        ("copy-small", 96, "no calibrated thresholds"),
        ("copy-small", "big", 'size is "N"'),
        ("vitti16-small", "90", "takes multiples of 16 pixels"),
    ],
)
def test_a_size_that_a_network_cannot_take_or_was_not_calibrated_for_is_told(network: str, size: str | int, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        resolve(replace(Recipe(), descriptors=DescriptorsConfig(network=network, size=size)))


def test_a_whitened_networks_thresholds_must_be_named() -> None:
    with pytest.raises(RecipeError, match="copy-small, whitened, has no calibrated thresholds"):
        resolve(WHITENED)
    own = resolve(replace(WHITENED, survivors=SurvivorsConfig(self_similarity=0.4, reference_similarity=0.3))).survivors
    assert (own.self_similarity, own.reference_similarity, own.confirm) == (0.4, 0.3, 0)


def test_the_kind_of_whitening_is_no_matter_to_the_raw_descriptors() -> None:
    step = next(s for s in FLOW if s.stage.name == "described")
    other = replace(Recipe(), descriptors=DescriptorsConfig(whiten="centre", whiten_sample=9))
    assert recipe_print(step.stage, step.config(WHITENED)) == recipe_print(step.stage, step.config(other))


def test_fingerprints_follow_config_version_and_weights() -> None:
    step = next(s for s in FLOW if s.stage.name == "descriptors")
    cfg = step.config(Recipe())
    first = recipe_print(step.stage, cfg)
    assert recipe_print(step.stage, cfg) == first
    assert recipe_print(replace(step.stage, version=99), cfg) != first
    assert recipe_print(replace(step.stage, weights=lambda _: "other"), cfg) != first
    assert recipe_print(step.stage, replace(cfg, network="vitti16-small")) != first


def test_keypoints_are_compared_only_where_asked_and_then_of_more_pairs() -> None:
    plain, asked = resolve(Recipe()), resolve(replace(Recipe(), survivors=SurvivorsConfig(shared=12)))
    assert (plain.survivors.shared, plain.edges_config.shared) == (0, False)
    assert (asked.survivors.shared, asked.edges_config.shared) == (12, True)
    assert asked.survivors.self_similarity == 0.6 < (plain.survivors.self_similarity or 0)
    assert resolve(replace(Recipe(), survivors=SurvivorsConfig(shared=12, confirm=0.0))).survivors.shared == 0
