"""The flow as a list: every stage consumes what an earlier one produces, under one name everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from curation import records
from curation.stage import MapStage
from pipelines.config import Recipe, RecipeError
from pipelines.flow import FLOW, network, resolve
from pipelines.run import recipe_print

ROOT = Path(__file__).parents[2]


def test_stages_consume_what_was_produced_before() -> None:
    made: set[str] = set()
    for step in FLOW:
        needed = set(step.stage.consumes) | set(step.stage.also if isinstance(step.stage, MapStage) else ())
        assert needed <= made, step.stage.name
        made.add(step.stage.name)


def test_nouns_are_the_flow_and_have_views() -> None:
    names = [step.stage.name for step in FLOW]
    assert names == list(records.NOUNS)
    assert set(names) <= {path.stem for path in (ROOT / "sql" / "views").glob("*.sql")}


def test_the_copy_networks_thresholds_are_taken_unless_named() -> None:
    card = network("copy-small")
    resolved = resolve(Recipe()).survivors
    assert (resolved.self_similarity, resolved.reference_similarity) == (card.self_similarity, card.reference_similarity)
    own = resolve(replace(Recipe(), survivors=replace(Recipe().survivors, self_similarity=0.9)))
    assert own.survivors.self_similarity == 0.9
    assert own.survivors.reference_similarity == card.reference_similarity


def test_a_network_without_thresholds_asks_for_them() -> None:
    with pytest.raises(RecipeError, match="no calibrated thresholds"):
        resolve(replace(Recipe(), descriptors=replace(Recipe().descriptors, network="vitti16-small")))


def test_fingerprints_follow_config_version_and_weights() -> None:
    step = next(s for s in FLOW if s.stage.name == "descriptors")
    cfg = step.config(Recipe())
    first = recipe_print(step.stage, cfg)
    assert recipe_print(step.stage, cfg) == first
    assert recipe_print(replace(step.stage, version=99), cfg) != first
    assert recipe_print(replace(step.stage, weights=lambda _: "other"), cfg) != first
    assert recipe_print(step.stage, replace(cfg, network="vitti16-small")) != first
