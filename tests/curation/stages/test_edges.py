"""edges: the pairs, and what their thumbnails say."""

from __future__ import annotations

from dataclasses import replace

from curation import records
from curation.stages.edges import EdgesConfig, find_edges
from tests.curation.making import encoded, file_row, image_row, picture, put, put_vectors, run


def test_thumbnails_of_pairs_are_laid_over_each_other(store, tmp_path):
    """Equal descriptors throughout: a framed copy, another picture, and a file that is gone."""
    shown = [picture(1), picture(1).crop((6, 6, 122, 122)), picture(2), picture(3)]
    rows = [file_row(encoded(image), tmp_path / f"{n}.png") for n, image in enumerate(shown)]
    (tmp_path / "3.png").unlink()
    ids = [row["image_id"] for row in rows]
    put(store, "images", rows[:2], records.IMAGES, 0)
    put(store, "images", rows[2:], records.IMAGES, 1)
    for part, some in enumerate((ids[:2], ids[2:])):
        put_vectors(store, "descriptors", dict.fromkeys(some, (1, 0)), part)
    cfg = EdgesConfig(self_similarity=0.9, reference_similarity=0.9)
    alleged = run(find_edges, store, ["descriptors", "images"], cfg)
    assert [t.num_rows for _, t in alleged] == [6]
    assert alleged[0][1]["agreement"].null_count == 6
    looked = run(find_edges, store, ["descriptors", "images"], replace(cfg, agreement=True))
    scores = {frozenset((e["a"], e["b"])): e["agreement"] for _, t in looked for e in t.to_pylist()}
    assert len(scores) == 6
    assert 0.7 < scores.pop(frozenset(ids[:2])) <= 1.001
    assert max(scores.values()) < 0.7


def test_no_pairs_nothing_to_look_at(store):
    put(store, "images", [image_row(1), image_row(2)], records.IMAGES)
    put_vectors(store, "descriptors", {1: (1, 0), 2: (0, 1)})
    cfg = EdgesConfig(agreement=True, self_similarity=0.9, reference_similarity=0.9)
    assert [t.num_rows for _, t in run(find_edges, store, ["descriptors", "images"], cfg)] == [0]
