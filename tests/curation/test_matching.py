"""What two pictures share, on edits whose geometry is known."""

from __future__ import annotations

import pytest
import torch
from PIL import Image, ImageOps

from curation.keypoints import look
from curation.matching import shared_points
from tests.curation.making import blobs, encoded


def shared(a: Image.Image, b: Image.Image) -> int:
    points = look([encoded(a), encoded(b)])
    one, other = torch.tensor([0]), torch.tensor([1])
    there, back = (int(shared_points(points.take(x), points.take(y))) for x, y in ((one, other), (other, one)))
    assert abs(there - back) <= max(3, there // 2)
    return there


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p,
        ImageOps.mirror,
        ImageOps.flip,
        ImageOps.grayscale,
        lambda p: p.rotate(90, expand=True),
        lambda p: p.rotate(33, expand=True),
        lambda p: p.resize((150, 110)),
        lambda p: p.crop((30, 20, 230, 170)),
        lambda p: ImageOps.expand(p, 60, (255, 255, 255)),
        lambda p: Image.blend(p, Image.new("RGB", p.size, (128, 128, 128)), 0.4),
    ],
    ids=["same", "mirror", "flip", "grey", "quarter", "33 degrees", "half", "crop", "frame", "faded"],
)
def test_a_copy_shares_many_points(edit):
    assert shared(blobs(1), edit(blobs(1)).convert("RGB")) >= 8


def test_other_pictures_share_few():
    points = look([encoded(blobs(seed)) for seed in range(12)])
    a, b = torch.combinations(torch.arange(12)).unbind(1)
    assert shared_points(points.take(a), points.take(b)).max() <= 5
