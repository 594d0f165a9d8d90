"""Thumbnails laid over each other: copies agree in every pose that people give them, other pictures do not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from curation import align
from pipelines.demo.concepts import draw

PICTURES = [draw(concept, seed).resize((160, 128)) for concept in ("landscape", "fish_tank", "brick") for seed in (1, 2)]


def thumbs(images: list[Image.Image]) -> align.Tensor:
    return align.local_contrast(np.stack([np.asarray(i.convert("L").resize((64, 64))) for i in images]))


def agree(a: list[Image.Image], b: list[Image.Image]) -> np.ndarray:
    return align.agreement(thumbs(a), thumbs(b))


def test_a_picture_agrees_with_itself() -> None:
    assert agree(PICTURES, PICTURES).min() > 0.98


@pytest.mark.parametrize(
    "edit",
    [
        ImageOps.mirror,
        lambda i: i.rotate(5, Image.Resampling.BICUBIC),
        lambda i: i.crop((10, 5, 150, 117)),
        lambda i: ImageOps.grayscale(i).convert("RGB"),
        lambda i: i.point(lambda level: level * 0.6 + 30),
        lambda i: i.resize((60, 48)).resize((160, 128)),
    ],
)
def test_edited_copies_agree(edit) -> None:
    assert agree(PICTURES, [edit(i) for i in PICTURES]).min() > 0.7


def test_pictures_of_one_concept_do_not() -> None:
    assert agree(PICTURES[::2], PICTURES[1::2]).max() < 0.65


def test_it_does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = agree(PICTURES, PICTURES[::-1])
    monkeypatch.setattr(align, "BATCH", 1)
    np.testing.assert_allclose(agree(PICTURES, PICTURES[::-1]), whole, atol=1e-5)


def test_no_pairs() -> None:
    assert align.agreement(thumbs(PICTURES)[:0], thumbs(PICTURES)[:0]).shape == (0,)
