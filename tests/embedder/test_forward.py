"""A network in pieces: the same features whatever their size, less at a time where memory ends, more while that pays."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from embedder.forward import FEWEST, MOST, Forward, best_piece, in_bfloat16
from embedder.vit import VisionTransformer
from embedder.vit_config import VitConfig


def images(count: int, side: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def vit() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(VitConfig(variant="ti", patch=16, side=32, depth=2)).eval().requires_grad_(False)


class Narrow(nn.Module):
    """The mean colour, of at most `most` images at a time."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.asked = most, list[int]()

    def forward(self, image_B3HW: Tensor) -> Tensor:
        self.asked.append(len(image_B3HW))
        if len(image_B3HW) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return image_B3HW.mean((2, 3))


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_features_are_the_same_whatever_the_size_of_a_piece(size):
    forward, whole = Forward(network := vit(), "cpu", False), Forward(vit(), "cpu", False)(images(11))
    forward.pieces[32] = size
    torch.testing.assert_close(forward(images(11)), whole, atol=1e-5, rtol=1e-4)
    assert forward.network is network


def test_a_piece_is_halved_where_memory_ends_and_stays_so(caplog):
    network = Narrow(5)
    forward = Forward(network, "cpu", False)
    with caplog.at_level(logging.WARNING, "embedder.forward"):
        found = forward(images(20))
    assert network.asked == [20, 10, 5, 5, 5, 5]
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 20 images of 32 pixels: 10 from now on",
        "out of memory with 10 images of 32 pixels: 5 from now on",
    ]
    torch.testing.assert_close(found, Forward(Narrow(99), "cpu", False)(images(20)))
    forward(images(7))
    assert network.asked[6:] == [5, 2]


def test_one_image_that_is_too_large_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        Forward(Narrow(0), "cpu", False)(images(3))


def test_wide_pictures_come_in_smaller_pieces():
    forward = Forward(Narrow(99), "cpu", False)
    forward.pieces[32] = 64
    assert [forward.piece(32, 32), forward.piece(128, 32), forward.piece(32, 9999)] == [64, 16, 1]


def test_pieces_grow_while_that_pays():
    """A launch costs 1, an image 0.1: 256 are 3.7% faster than 128, 512 only 1.9% faster than 256."""
    assert best_piece(lambda size: 1 + 0.1 * size, lambda _: True) == 256
    assert best_piece(lambda size: 0.1 * size, lambda _: True) == FEWEST
    assert best_piece(lambda _: 1.0, lambda _: True) == MOST


def test_pieces_grow_no_further_than_there_is_room_or_memory():
    assert best_piece(lambda _: 1.0, lambda size: size <= 64) == 64

    def full(size: int) -> float:
        if size > 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    assert best_piece(full, lambda _: True) == 32
    assert best_piece(lambda size: full(size + 99), lambda _: True) == FEWEST // 2


def test_bfloat16_weights_say_what_float32_says():
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = vit()
    with torch.inference_mode():
        half = in_bfloat16(network)
        cosine = torch.cosine_similarity(half(pixels.bfloat16()).float(), network(pixels), dim=1)
    assert cosine.min() > 0.999
    assert next(network.parameters()).dtype == torch.float32


def test_wavelengths_of_turned_positions_stay_exact():
    network = VisionTransformer(VitConfig(variant="ti", positions="rope", depth=1))
    half = in_bfloat16(network)
    assert half.rope_embed.periods.dtype == torch.float32
    assert half(torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_finds_its_piece_and_says_what_a_cpu_says(compiled):
    network = vit()
    expected = Forward(network, "cpu", False)(images(50))
    forward = Forward(network.cuda(), "cuda", True, compiled)
    found = torch.cat([forward(images(50)[:30]), forward(images(50)[30:])]).cpu()
    assert forward.pieces[32] >= FEWEST
    assert torch.cosine_similarity(found, expected, dim=1).min() > 0.999
