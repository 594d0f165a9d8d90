"""Random numbers that are functions of where they are used, not of what was drawn before them.

A stream is named by integers (seed, purpose, epoch, ...); within it every position has numbers of its own, so any process
finds them alone, in any order. Source of the mixer: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).

Letters: N positions, K numbers of each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UInts = NDArray[np.uint64]
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORD = (1 << 64) - 1


def mixed(value: UInts) -> UInts:
    """SplitMix64's finaliser: 64 bits to 64 bits, one to one, each bit of the result depending on all of the input."""
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))


def stream(*names: int) -> int:
    """The 64-bit key of a stream; the order of its names matters."""
    key = 0
    for name in names:
        key = _mixed((key ^ name & _WORD) + int(_STEP) & _WORD)
    return key


def _mixed(value: int) -> int:
    """`mixed` of one number; NumPy takes ten times as long over it."""
    value = (value ^ value >> 30) * int(_FIRST) & _WORD
    value = (value ^ value >> 27) * int(_SECOND) & _WORD
    return value ^ value >> 31


def bits(key: int, position_N: NDArray[np.integer]) -> UInts:
    """(N,) uint64: one word for each position of a stream."""
    return mixed(mixed(position_N.astype(np.uint64) + _STEP) ^ np.uint64(key))


def uniforms(key: int, position_N: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """(N, K) in [0, 1): `count` numbers for each position of a stream."""
    return numbers(bits(key, position_N)[:, None], np.arange(count))


def numbers(word: UInts, column: NDArray[np.integer]) -> NDArray[np.float64]:
    """In [0, 1): columns of `uniforms`, of positions with these `bits`; the two shapes are broadcast."""
    return (mixed(word + (column.astype(np.uint64) + np.uint64(1)) * _STEP) >> np.uint64(11)) * 2.0**-53
