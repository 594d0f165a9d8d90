"""The edits: reproducible, visible, and still the same picture to a person."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.demo.concepts import draw
from pipelines.demo.edits import EDITS, as_bytes, edit

PICTURE = draw("fish_tank", 3)


@pytest.mark.parametrize("name", EDITS)
def test_equal_arguments_equal_bytes_and_never_the_original(name: str) -> None:
    once, again = (as_bytes(edit(PICTURE, name, 7)) for _ in range(2))
    assert once == again
    assert once != as_bytes(PICTURE)


@pytest.mark.parametrize("name", EDITS)
def test_the_picture_given_is_left_alone(name: str) -> None:
    before = PICTURE.tobytes()
    edit(PICTURE, name, 7)
    assert PICTURE.tobytes() == before


@pytest.mark.parametrize("name", [e for e in EDITS if e not in ("mirror", "crop", "rotate", "border")])
def test_edits_that_move_nothing_keep_the_layout(name: str) -> None:
    a, b = (np.asarray(i.convert("L").resize((32, 32)), float).ravel() for i in (PICTURE, edit(PICTURE, name, 7)))
    assert np.corrcoef(a, b)[0, 1] > 0.85


def test_a_mirrored_mirror_image_is_the_original() -> None:
    assert edit(edit(PICTURE, "mirror", 1), "mirror", 2).tobytes() == PICTURE.tobytes()


def test_a_crop_keeps_most_of_the_area() -> None:
    kept = edit(PICTURE, "crop", 7)
    assert 0.65 < kept.width * kept.height / (PICTURE.width * PICTURE.height) < 0.95
