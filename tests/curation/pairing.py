"""The pairs of a small world: grid, cells and edges in one call, no Ray."""

from __future__ import annotations

from dataclasses import fields

import pyarrow as pa

from curation.stages import cells, edges
from curation.stages.cells import CellsConfig
from curation.stages.edges import EdgesConfig
from curation.store import Store
from tests.curation.making import run


def find_pairs(store: Store, cfg: EdgesConfig) -> list[tuple[int, pa.Table]]:
    """All parts of edges, after grid and cells were made and stored."""
    near = CellsConfig(**{f.name: getattr(cfg, f.name) for f in fields(CellsConfig)})
    for part, table in run(cells.fit_grid, store, ["descriptors", "images"], near):
        store.write_part("grid", part, table, "test")
    inputs = {noun: store.parts(noun) for noun in ("grid", "descriptors", "images")}
    for part in cells.plan(inputs, near):
        store.write_part("cells", part, cells.place(part, inputs, near), "test")
    inputs["cells"] = store.parts("cells")
    return [(part, edges.find_edges(part, inputs, cfg)) for part in edges.plan(inputs, cfg)]
