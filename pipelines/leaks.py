"""Contamination: which images of a run's pool touch which images of a protected set."""

from __future__ import annotations

import tomllib

import pyarrow as pa

from curation.store import Store
from pipelines.config import RecipeError, parse
from pipelines.queries import asked


def leaks(run: str, against: str, at: float | None = None) -> pa.Table:
    """One row per (pool image, image of the protected set `against`) pair, what they have in common, what became of it.

    Pairs that the recipe believes: at its threshold for the set, and confirmed. at: instead, every stored pair from this
    cosine on; `edges.reference_floor` is the lowest that there are. Equal bytes and near-exact duplicates are always in.
    Images that leave because another of their group touches the set have no pair: their `touches` in `survivors` does.
    Raises RecipeError if there is no such set, with those there are.
    """
    data = Store(run).read_bytes("recipe.toml")
    if data is None:
        raise RecipeError(f"{run} is not a run folder: it has no recipe.toml")
    recipe = parse(tomllib.loads(data.decode()))
    sets = {p.name: p.similarity for p in recipe.protect}
    if against not in sets:
        raise RecipeError(f'no protected set is called "{against}"; there are: {", ".join(sorted(sets)) or "none"}')
    own = recipe.survivors
    limit = sets[against] if sets[against] is not None else own.reference_similarity
    known = {"against": against, "similarity": limit if at is None else at}
    confirm, shared = (own.confirm or 0.0, own.shared or 0) if at is None else (0.0, 0)
    return asked(run, "leaks", known | {"confirm": confirm, "shared": shared})
