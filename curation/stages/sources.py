"""sources: every input unit of the pool, the seed sets and the protected sets, cut into parts of one set each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curation import records
from curation.sources import SourceError, plan
from curation.stage import WholeStage
from curation.store import Parts

PARTS = 64  # parts that the pool is cut into, within the bounds below
FEWEST, MOST = 250, 100_000  # images per part


@dataclass(frozen=True, kw_only=True)
class SourcesConfig:
    """What is read. Derived from the recipe's [pool], [[seeds]] and [[protect]]."""

    sources: tuple[str, ...]
    seeds: tuple[tuple[str, str], ...] = ()
    """(name, path)"""
    protect: tuple[tuple[str, str], ...] = ()
    """(name, path)"""
    part_rows: int = 0
    """Images per part; 0: a 64th of the pool, between 250 and 100,000; never a matter of the number of workers."""


def plan_parts(_inputs: Mapping[str, Parts], cfg: SourcesConfig) -> Iterator[tuple[int, pa.Table]]:
    """Parts of records.SOURCES: the pool's first, then the seed sets', then the protected sets'. Raises SourceError."""
    if not cfg.sources:
        raise SourceError("no pool: name its folders or files")
    pool = [unit for source in cfg.sources for unit in plan(source, records.POOL)]
    rows = cfg.part_rows or min(MOST, max(FEWEST, -(-sum(u["images"] for u in pool) // PARTS)))
    named = [(records.SEED_PREFIX, s) for s in cfg.seeds] + [(records.PROTECT_PREFIX, p) for p in cfg.protect]
    sets = [pool, *(plan(path, prefix + name) for prefix, (name, path) in named)]
    parts = (part for units in sets for part in _cut(units, rows))
    for number, units in enumerate(parts):
        yield number, pa.Table.from_pylist(units, schema=records.SOURCES)


def _cut(units: list[dict[str, Any]], rows: int) -> Iterator[list[dict[str, Any]]]:
    """Consecutive units of about `rows` images together."""
    part: list[dict[str, Any]] = []
    images = 0
    for unit in units:
        if part and images + unit["images"] > rows:
            yield part
            part, images = [], 0
        part.append(unit)
        images += unit["images"]
    if part:
        yield part


STAGE = WholeStage(name="sources", consumes=(), version=1, fn=plan_parts)
