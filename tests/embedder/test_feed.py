"""Decoders before a network: the rows of the pictures in their order, whatever the pieces and the decoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from curation.decode import decode
from embedder import feed as feeding
from embedder.feed import Feed, cores
from embedder.forward import Forward
from tests.curation.making import encoded


class Colours(nn.Module):
    """Six numbers: mean colour of the left and of the right half."""

    def forward(self, image_B3HW: Tensor) -> Tensor:
        half = image_B3HW.shape[3] // 2
        return torch.cat([image_B3HW[..., :half].mean((2, 3)), image_B3HW[..., half:].mean((2, 3))], dim=1)


def pictures(count: int) -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)
    return [encoded(Image.fromarray(one).resize((60, 40))) for one in noise]


def expected(data: list[bytes]) -> Tensor:
    pixels = torch.stack([decode(one, 16, "crop") for one in data])
    return functional.normalize(Forward(Colours(), "cpu", False)(pixels), dim=1)


@pytest.mark.parametrize("size", [1, 4, 7, 100])
@pytest.mark.parametrize("most", [1, 3])
def test_features_are_in_the_order_of_the_pictures(size, most):
    forward = Forward(Colours(), "cpu", False)
    forward.pieces[16] = size
    data = pictures(23)
    found, rejects = Feed(forward, most)(data, 16, "crop")
    torch.testing.assert_close(found, expected(data))
    assert rejects == {}


def test_what_cannot_be_decoded_is_named_and_moves_no_other():
    forward = Forward(Colours(), "cpu", False)
    forward.pieces[16] = 3
    data = pictures(8)
    found, rejects = Feed(forward, 2)([*data[:4], b"<html>", None, *data[4:]], 16, "crop")
    assert {row: reject.reason for row, reject in rejects.items()} == {4: "not_an_image", 5: "empty_file"}
    torch.testing.assert_close(found[[0, 1, 2, 3, 6, 7, 8, 9]], expected(data))


def test_decoders_are_added_while_the_network_waits_and_never_more_than_allowed():
    forward = Forward(Colours(), "cpu", False)  # a CPU is done when it returns: it always waits
    forward.pieces[16] = 2
    feed = Feed(forward, 7)
    assert feed.decoders == 2
    feed(pictures(4), 16, "crop")
    assert feed.decoders == 3
    feed(pictures(12), 16, "crop")
    assert feed.decoders == 7


def test_a_piece_is_decoded_only_when_the_one_before_it_is_taken(monkeypatch):
    forward, seen, taken = Forward(Colours(), "cpu", False), list[int](), list[int]()
    forward.pieces[16] = 2
    data = pictures(10)
    monkeypatch.setattr(feeding, "decode", lambda one, side, fit: seen.append(data.index(one)) or decode(one, side, fit))
    for piece in Feed(forward, 2)._pieces(data, 16, "crop"):
        taken.append(piece.start)
        assert max(seen) < piece.start + 4
    assert taken == [0, 2, 4, 6, 8]
    assert sorted(seen) == list(range(10))


def test_an_error_of_a_decoder_is_not_swallowed(monkeypatch):
    monkeypatch.setattr(feeding, "decode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Feed(Forward(Colours(), "cpu", False), 2)(pictures(3), 16, "crop")


def test_nothing_is_no_rows():
    assert len(Feed(Forward(Colours(), "cpu", False), 2)([], 16, "crop")[0]) == 0


def test_cores_are_at_least_one():
    assert cores() >= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_fed_what_a_cpu_sees():
    data = pictures(300)
    forward = Forward(Colours().cuda(), "cuda", False)
    forward.pieces[16] = 32
    found, rejects = Feed(forward)([*data, b"no picture"], 16, "crop")
    torch.testing.assert_close(found[:300], expected(data), atol=1e-4, rtol=1e-4)
    assert list(rejects) == [300]
