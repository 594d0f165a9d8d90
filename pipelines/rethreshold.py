"""Other thresholds for a run, from the similarities it has stored."""

from __future__ import annotations

import tomllib
from dataclasses import replace

from curation.align import least_cosine
from curation.store import Store
from pipelines.config import Recipe, RecipeError, parse
from pipelines.progress import Progress
from pipelines.run import execute


def rethreshold(
    run: str,
    self_similarity: float | None = None,
    reference_similarity: float | None = None,
    confirm: float | None = None,
    *,
    workers: int | None = None,
    progress: Progress,
) -> Recipe:
    """Derive the groups of a run, and all that follows, again; returns the recipe, which is rewritten in the run.

    No pixel is read for `edges`: its pairs are stored from floors below the thresholds on. What follows is done by the
    usual flow, only where it changed: images that are newly kept have to be embedded, so those are read.
    Raises RecipeError if there is no run, or a value asks for pairs below the floors; the run is then as it was.
    """
    data = Store(run).read_bytes("recipe.toml")
    if data is None:
        raise RecipeError(f"{run} is not a run folder: it has no recipe.toml")
    recipe = parse(tomllib.loads(data.decode()))
    if recipe.edges.floor is None or not Store(run).receipts("edges"):
        raise RecipeError(
            f"{run} has no stored pairs with a floor: finish it first, curate run --recipe {run}/recipe.toml --out {run}"
        )
    given = {"self_similarity": self_similarity, "reference_similarity": reference_similarity, "confirm": confirm}
    named = {key: value for key, value in given.items() if value is not None}
    if not named:
        raise RecipeError("name a value: --self-similarity, --reference-similarity or --confirm")
    return execute(_changed(recipe, named), run, workers=workers, progress=progress)


def _changed(recipe: Recipe, named: dict[str, float]) -> Recipe:
    """The recipe with other values. Cosines that follow from `confirm` follow the new one."""
    own = recipe.survivors
    if bool(named.get("confirm", own.confirm)) != bool(own.confirm):
        raise RecipeError(
            "whether pairs are confirmed cannot be changed without looking at them: curate run --set survivors.confirm"
        )
    if own.confirm and "confirm" in named and not own.shared:
        before, after = least_cosine(own.confirm), least_cosine(named["confirm"])
        follow = {key: after for key in ("self_similarity", "reference_similarity") if getattr(own, key) == before}
        named = follow | named
    return replace(recipe, survivors=replace(own, **named))
