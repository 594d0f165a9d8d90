"""Labelled pictures of every concept, none of them in the pool: what an encoder trained on the demo's run is asked about."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

from pipelines.demo.concepts import CONCEPTS, draw
from pipelines.demo.edits import as_bytes

EACH = 20  # pictures of a concept in either part
FIRST = {"train": 600_000, "val": 650_000}  # numbers that the pool, the seeds and the protected set do not reach


def write_labelled(root: Path, seed: int = 0, each: int = EACH) -> Path:
    """Write root/train/CONCEPT/N.jpg and root/val/CONCEPT/N.jpg; returns `root`. Equal arguments, equal bytes."""
    with ProcessPoolExecutor() as painters:
        asked = [(root, part, concept, seed, each) for part, concept in product(FIRST, CONCEPTS)]
        list(painters.map(_write, *zip(*asked, strict=True)))
    return root


def _write(root: Path, part: str, concept: str, seed: int, each: int) -> None:
    folder = root / part / concept
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(each):
        picture = draw(concept, seed * 1_000_000 + FIRST[part] + number)
        (folder / f"{number:03d}.jpg").write_bytes(as_bytes(picture))
