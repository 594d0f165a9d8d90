"""A batch through a network; the network here is honest arithmetic: the mean colour of each half."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from curation import records
from curation.decode import Reject
from curation.encode import encode_batch, unit
from curation.stage import Encoder
from curation.store import matrix
from tests.curation.making import encoded, name


class MeanColour:
    """Six numbers: mean red, green, blue of the left and of the right half."""

    name, digest, dim, side, fit = "mean-colour", "0" * 64, 6, 8, "squash"

    def __call__(self, pixels: Any) -> Any:
        halves = [pixels[..., :4], pixels[..., 4:]]
        return np.concatenate([h.numpy().astype(np.float32).mean(axis=(2, 3)) for h in halves], axis=1)


def batch(*data: bytes | None) -> pa.Table:
    return pa.table({"image_id": [name(n) for n in range(len(data))], "bytes": pa.array(data, pa.binary())})


def run(table: pa.Table) -> pa.Table:
    encoder: Encoder = MeanColour()
    return encode_batch(table, encoder, "embedding", records.embeddings(encoder.dim))


RED, BLUE = (encoded(Image.new("RGB", (20, 30), colour)) for colour in ("red", "blue"))


def test_vectors_are_unit_and_in_the_order_of_the_batch():
    table = run(batch(BLUE, RED))
    assert table.schema == records.embeddings(6)
    assert table["image_id"].to_pylist() == [name(0), name(1)]
    expected = np.sqrt(0.5) * np.array([[0, 0, 1, 0, 0, 1], [1, 0, 0, 1, 0, 0]])
    np.testing.assert_allclose(matrix(table["embedding"]), expected, atol=1e-3)
    assert table["drop_reason"].null_count == 2


def test_what_cannot_be_decoded_gets_zeros_and_a_reason():
    table = run(batch(RED, b"<html>", None, BLUE, BLUE[:60]))
    reasons = table["drop_reason"].to_pylist()
    assert reasons[:4] == [None, "not_an_image", "empty_file", None]
    assert reasons[4] in ("truncated", "undecodable")
    assert table["error_message"].to_pylist()[1] == "HTML"
    lengths = np.linalg.norm(matrix(table["embedding"]).astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 0, 1, 0], atol=1e-3)


def test_an_image_is_encoded_alike_whatever_shares_its_batch():
    alone = matrix(run(batch(RED))["embedding"])[0]
    np.testing.assert_array_equal(matrix(run(batch(b"", BLUE, RED))["embedding"])[2], alone)


class Shape(MeanColour):
    """Height and width of what it is given, and how many came with it."""

    dim, fit = 3, "short"

    def __call__(self, pixels: Any) -> Any:
        count, _, height, width = pixels.shape
        return np.tile(np.array([height, width, count], np.float32), (count, 1))


def test_pictures_that_keep_their_aspect_are_encoded_size_by_size():
    sizes = [(20, 10), (10, 20), (40, 20), (10, 10)]
    table = batch(b"", *(encoded(Image.new("RGB", size)) for size in sizes))
    vectors = matrix(encode_batch(table, Shape(), "embedding", records.embeddings(3))["embedding"])
    expected = unit(np.array([[0, 0, 0], [8, 16, 2], [16, 8, 1], [8, 16, 2], [8, 8, 1]]))
    np.testing.assert_allclose(vectors, expected, atol=1e-3)


def test_an_empty_batch():
    assert run(batch(b"x").slice(1)).num_rows == 0


class Fed(MeanColour):
    """It takes encoded pictures, and knows of one that is none."""

    dim = 2

    def feed(self, data: list[bytes | None], side: int, fit: str) -> Any:
        assert (side, fit) == (8, "squash")
        vectors = np.array([[3, 4], [np.nan, 1], [np.nan, 0]], np.float32)[: len(data)]
        return vectors, {1: Reject("truncated", "in the middle")}


def test_an_encoder_that_feeds_itself_is_given_the_bytes():
    table = encode_batch(batch(RED, b"x", BLUE), Fed(), "embedding", records.embeddings(2))
    np.testing.assert_allclose(matrix(table["embedding"]), [[0.6, 0.8], [0, 0], [0, 0]], atol=1e-3)
    assert table["drop_reason"].to_pylist() == [None, "truncated", "not_finite"]
    assert encode_batch(batch(b"x").slice(1), Fed(), "embedding", records.embeddings(2)).num_rows == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unit_rows(dtype):
    rows = unit(np.array([[3, 4], [0, 0], [-0.002, 0]], dtype))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [-1, 0]], atol=1e-6)
    assert rows.dtype == np.float32
