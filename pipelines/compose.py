"""From the options of `curate run` to a recipe."""

from __future__ import annotations

from pathlib import Path

from pipelines.catalogue import resolve
from pipelines.config import Recipe, RecipeError, parse, read_table


def compose(
    recipe: Path | None, pool: tuple[str, ...], seeds: tuple[str, ...], protect: tuple[str, ...], changes: tuple[str, ...]
) -> Recipe:
    """The recipe file, if any, with the pool and sets of the command line added and single values changed.

    A seed or protected set that the file names already (`[[seeds]] name = ...`) is the file's. Raises RecipeError.
    """
    table = read_table(recipe) if recipe else {}
    if pool:
        table.setdefault("pool", {})["sources"] = list(pool)
    for kind, given in (("seeds", seeds), ("protect", protect)):
        known = {entry.get("name") for entry in table.get(kind, [])}
        named = [resolve(value) for value in given if value not in known]
        table[kind] = [*table.get(kind, []), *({"name": name, "path": path} for name, path in named)]
    made = parse(table, changes)
    if not made.pool.sources:
        raise RecipeError("no pool: say --pool PATH, or [pool] sources in the recipe")
    if not made.seeds and not made.selection.balanced:
        raise RecipeError("no seed set: say --seeds NAME or --seeds PATH, [[seeds]] in the recipe, or selection.balanced")
    return made


def compose_crawl(recipe: Path | None, lists: tuple[str, ...], contact: str | None, changes: tuple[str, ...]) -> Recipe:
    """From the options of `curate crawl` to a recipe: lists of the command line in place of the file's pool."""
    table = read_table(recipe) if recipe else {}
    if lists:
        table.setdefault("pool", {})["sources"] = list(lists)
    if contact is not None:
        table.setdefault("crawl", {})["contact"] = contact
    return parse(table, changes)
