"""Draws: functions of the position, evenly spread."""

from __future__ import annotations

import numpy as np

from embedder.training.draws import bits, mixed, stream, uniforms


def test_the_mixer_gives_splitmix64s_published_numbers():
    state = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # of seed 0
    assert [int(one) for one in mixed(state)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_a_position_has_its_numbers_whoever_asks():
    whole = uniforms(stream(3, 1), np.arange(100), 7)
    assert np.array_equal(whole[40:43], uniforms(stream(3, 1), np.array([40, 41, 42]), 7))
    assert np.array_equal(whole[:, :2], uniforms(stream(3, 1), np.arange(100), 2))


def test_draws_are_even_and_unlike_their_neighbours():
    u = uniforms(stream(0), np.arange(20_000), 4)
    assert u.min() >= 0 > u.max() - 1
    assert np.abs(np.histogram(u, 20, (0, 1))[0] / u.size - 0.05).max() < 0.002
    flat = np.corrcoef(np.concatenate([u[1:].T, u[:-1].T]))
    assert np.abs(flat - np.eye(8)).max() < 0.03


def test_names_of_a_stream_have_an_order():
    assert len({stream(1, 2), stream(2, 1), stream(1), stream(1, 2, 0), stream(-1)}) == 5
    assert len(np.unique(bits(7, np.arange(10_000)))) == 10_000
