"""Edits: each changes the picture, stays a picture, and repeats."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from embedder.edits import EVERYDAY, HARD, Edit, make_edits
from tests.curation.making import picture


@pytest.mark.parametrize("edit", [*EVERYDAY, *HARD], ids=lambda edit: edit.name)
@pytest.mark.parametrize("size", [(128, 96), (16, 40)])
def test_an_edit_changes_the_picture_and_repeats(edit: Edit, size: tuple[int, int]) -> None:
    image = picture(3).convert("RGB").resize(size)
    before = np.asarray(image).copy()
    first, second = (np.asarray(make_edits((edit,), image, np.random.default_rng(5))) for _ in range(2))
    assert first.shape[2] == 3
    assert min(first.shape[:2]) >= 4
    assert np.array_equal(first, second)
    assert first.shape != before.shape or not np.array_equal(first, before)
    assert np.array_equal(np.asarray(image), before)  # the given picture is left as it was


def test_edits_follow_one_another_and_have_names_of_their_own() -> None:
    names = [edit.name for edit in (*EVERYDAY, *HARD)]
    assert len(set(names)) == len(names)
    image = Image.new("RGB", (40, 30), (200, 10, 10))
    frame, turn = (next(edit for edit in (*EVERYDAY, *HARD) if edit.name == name) for name in ("frame", "turn"))
    assert make_edits((frame, turn), image, np.random.default_rng(0)).size != image.size
