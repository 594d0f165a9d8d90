"""The drawn concepts: reproducible, and no two pictures of one concept alike."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.demo.concepts import CONCEPTS, draw


def test_there_are_at_least_24() -> None:
    assert len(CONCEPTS) >= 24


@pytest.mark.parametrize("concept", CONCEPTS)
def test_equal_seeds_equal_pixels_and_other_seeds_another_picture(concept: str) -> None:
    pictures = [np.asarray(draw(concept, seed).resize((32, 32)).convert("L"), float) for seed in (1, 1, 2, 3)]
    assert (pictures[0] == pictures[1]).all()
    for a, b in ((1, 2), (1, 3), (2, 3)):
        assert np.abs(pictures[a] - pictures[b]).mean() > 3
