"""Labelled pictures: every concept in both parts, reproducible, and none twice."""

from __future__ import annotations

from pathlib import Path

from embedder.evaluation.folder import labelled
from pipelines.demo.concepts import CONCEPTS
from pipelines.demo.labelled import write_labelled


def test_both_parts_hold_every_concept_and_no_picture_twice(tmp_path: Path) -> None:
    root = write_labelled(tmp_path / "a", seed=3, each=2)
    parts = {part: list(labelled(root / part)) for part in ("train", "val")}
    for items in parts.values():
        assert sorted(label for _, label, _ in items) == sorted([*CONCEPTS, *CONCEPTS])
    pictures = [data for items in parts.values() for _, _, data in items]
    assert len(set(pictures)) == len(pictures)
    again = write_labelled(tmp_path / "b", seed=3, each=2)
    assert [list(labelled(again / part)) for part in parts] == list(parts.values())
