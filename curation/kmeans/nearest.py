"""The nearest centroid of every row, exactly, on a CPU: most centroids are ruled out along a few axes.

Of two vectors, what lies off the first R axes adds at most the product of the two remainders' lengths (Cauchy-Schwarz):
so a product of R + 3 numbers tells which centroids could beat the one a row is thought to have. Those few pairs are
multiplied in full. The result is that of the whole product, which is made where a sample of rows says that this does not pay.

Products are made in blocks that stay in the cache, and looked at by the largest of each GROUP of centroids: finding the
place of a maximum costs far more than finding the maximum.

Letters: N rows, D dimensions, K centroids, R axes, B rows of a block, C centroids of a block, G groups of these, P pairs.
Score: x . c + bias; bias 0 for unit centroids (cosine), -|c|^2 / 2 for Euclidean distance.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

BLOCK = 1024  # rows of one product
COLUMNS = 512  # centroids of one product
GROUP = 16  # centroids whose largest score is looked at first
PAIRS = 256  # that are multiplied at once
LEAST = 256  # centroids, and twice the dimensions, below which sketches do not pay
AXES = (32, 48, 64, 96, 128, 192)  # that are tried
COARSE = 32  # of them, along which a row's centroid is guessed
SAMPLE = 1024  # rows that tell which pays
# Prices in whole products: of looking, of a guess, of a share of the axes, of a share of the pairs (measured on AVX2).
LOOK, GUESS, ALONG, PAIR = 0.2, 0.25, 1.1, 30.0
ROUNDING = 1e-5  # of a score, in units of |x| max |c|: more than float32 products of this length are off by
REMAINDER = 1e-6  # squared, of |x|: the same for lengths

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Short = tuple[Tensor, Floats]


@dataclass(frozen=True)
class Targets:
    """Centroids ready to be asked: centroids_KD and bias_K."""

    centroids_KD: Tensor
    bias_K: Tensor

    @functools.cached_property
    def longest(self) -> float:
        """Length of the longest centroid."""
        return float(self.centroids_KD.norm(dim=1).max())

    @staticmethod
    def of(centroids: Floats, *, euclidean: bool = False) -> Targets:
        c = torch.from_numpy(np.ascontiguousarray(centroids, np.float32))
        return Targets(c, -(c.double() ** 2).sum(1).float() / 2 if euclidean else torch.zeros(len(c)))


@dataclass(frozen=True)
class Sketch:
    """The few axes (D, R) along which rows are compared first."""

    axes_DR: Tensor


def nearest(x: Floats, targets: Targets, guess: Ints | None = None, sketch: Sketch | None = None) -> tuple[Ints, Floats]:
    """The centroid of best score of each row of x (N, D), and the score. Of equal scores the lower number's.

    guess (N,): centroids that are likely to be the nearest: the better, the faster. sketch: as `fitting` gave it;
    None: whole products.
    """
    if sketch is None:
        return _best(x, targets.centroids_KD, targets.bias_K)
    guess = _guessed(x, targets, sketch.axes_DR[:, :COARSE]) if guess is None else guess
    labels, scores = guess.copy(), np.empty(len(x), np.float32)
    improve(x, np.arange(len(x)), labels, scores, targets, sketch)
    return labels, scores


def _guessed(x: Floats, targets: Targets, axes_DR: Tensor) -> Ints:
    """(N,) the centroid of best score along a few axes."""
    return _best(x @ axes_DR.numpy(), targets.centroids_KD @ axes_DR, targets.bias_K)[0]


def improve(
    x: Floats, rows: Ints, labels: Ints, scores: Floats, targets: Targets, sketch: Sketch,
    among: Ints | None = None, made: Short | None = None,
) -> None:  # fmt: skip
    """Of some rows of x: labels become the best of the label there is and the centroids `among` (None: of all), scores its.

    made: `shortened` of all of x, where that is known.
    """
    among = np.arange(len(targets.bias_K)) if among is None else among
    short_KS = _short(targets, sketch)[torch.from_numpy(among)]

    def answer(block: slice) -> None:
        some = rows[block]
        block_BD = x[some]
        short = shortened(block_BD, sketch) if made is None else (made[0][torch.from_numpy(some)], made[1][some])
        labels[some], scores[some] = _sketched(block_BD, short, labels[some], targets, short_KS, among)

    _by_blocks(answer, len(rows))


def _by_blocks(work: Callable[[slice], None], rows: int) -> None:
    """On as many threads as torch may use, one for each block, so that no result depends on how many there are."""
    blocks, threads = [slice(at, at + BLOCK) for at in range(0, rows, BLOCK)], torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(work, blocks))
    torch.set_num_threads(threads)  # it is each thread's own, but threads to come take the last that was set


def fitting(x: Floats, targets: Targets, guess: Ints | None = None) -> Sketch | None:
    """The sketch that promises the least work for rows like x, by a sample of them; None where none pays.

    A function of its arguments alone.
    """
    k, dims = targets.centroids_KD.shape
    if k < LEAST or 2 * dims < LEAST or len(x) < SAMPLE // 4:
        return None
    some = np.linspace(0, len(x) - 1, min(len(x), SAMPLE)).astype(int)
    axes_DD = principal(targets.centroids_KD)
    before = _guessed(x[some], targets, axes_DD[:, :COARSE]) if guess is None else guess[some]
    sketches = [Sketch(axes_DD[:, :count].contiguous()) for count in AXES if 2 * count < dims + 1]
    prices = [_price(x[some], targets, before, sketch) + (GUESS if guess is None else 0) for sketch in sketches]
    return sketches[int(np.argmin(prices))] if min(prices, default=1.0) < 1 else None


def _price(x: Floats, targets: Targets, guess: Ints, sketch: Sketch) -> float:
    """Of asking rows like x, in whole products."""
    short_BS = _short_rows(shortened(x, sketch), _own_scores(x, guess, targets), targets)
    pairs = sum(len(rows) for rows, _ in _possible(short_BS, _short(targets, sketch)))
    return LOOK + ALONG * short_BS.shape[1] / x.shape[1] + PAIR * pairs / len(x) / len(targets.bias_K)


def principal(c_KD: Tensor) -> Tensor:
    """Directions (D, D) in which the centroids differ from zero, those of most spread first."""
    return torch.linalg.eigh((c_KD.T @ c_KD).double()).eigenvectors.flip(1).float().contiguous()


def shortened(x: Floats, sketch: Sketch) -> Short:
    """(B, R + 1): rows along the axes, and no less than the length of what is left of them; (B,) their lengths."""
    along_BR = torch.from_numpy(x) @ sketch.axes_DR
    squared_B, short_B = np.einsum("bd,bd->b", x, x), np.einsum("br,br->b", along_BR.numpy(), along_BR.numpy())
    rest_B = np.sqrt(np.maximum(squared_B - short_B, 0) + REMAINDER * squared_B)
    return torch.cat([along_BR, torch.from_numpy(rest_B)[:, None]], dim=1), np.sqrt(squared_B)


def _short(targets: Targets, sketch: Sketch) -> Tensor:
    """(K, R + 3): the centroids' sketches, their bias, and the ones that a row's own score is taken from."""
    short, _ = shortened(targets.centroids_KD.numpy(), sketch)
    return torch.cat([short, targets.bias_K[:, None], torch.ones(len(short), 1)], dim=1)


def _short_rows(short: Short, own: Floats, targets: Targets) -> Tensor:
    """(B, R + 3): their product with `_short` is by how much, at most, a row could prefer a centroid."""
    short_BR, lengths = short
    slack = ROUNDING * (lengths * targets.longest + float(targets.bias_K.abs().max()))
    return torch.cat([short_BR, torch.ones(len(own), 1), torch.from_numpy(slack.astype(np.float32) - own)[:, None]], dim=1)


def _own_scores(x: Floats, guess: Ints, targets: Targets) -> Floats:
    """(B,) score of each row with the centroid it is thought to have."""
    return _pair_scores(x, np.arange(len(x)), guess, targets)


def _pair_scores(x: Floats, rows: Ints, columns: Ints, targets: Targets) -> Floats:
    """(P,) scores of some rows of x with a centroid each."""
    c, scores = targets.centroids_KD.numpy(), np.empty(len(rows), np.float32)
    for at in range(0, len(rows), PAIRS):
        some = slice(at, at + PAIRS)
        np.einsum("pd,pd->p", x[rows[some]], c[columns[some]], out=scores[some])
    return scores + targets.bias_K.numpy()[columns]


def _sketched(x: Floats, short: Short, guess: Ints, targets: Targets, short_KS: Tensor, among: Ints) -> tuple[Ints, Floats]:
    """The best of the guesses and of the centroids `among`, whose sketches are given, for a block of rows."""
    own, each = _own_scores(x, guess, targets), np.arange(len(x))
    found = list(_possible(_short_rows(short, own, targets), short_KS))
    rows, places = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
    scores = np.concatenate([own, _pair_scores(x, rows, among[places], targets)])
    rows, columns = np.concatenate([each, rows]), np.concatenate([guess, among[places]])
    labels, best = guess.copy(), own.copy()
    np.maximum.at(best, rows, scores)
    wins = np.flatnonzero(scores == best[rows])
    wins = wins[np.argsort(-columns[wins], kind="stable")]
    labels[rows[wins]] = columns[wins]  # of several the last stays, which is the lowest number
    return labels, best


def _possible(short_BS: Tensor, short_KS: Tensor) -> Iterator[tuple[Ints, Ints]]:
    """Rows and centroids whose sketches' product is above 0, by blocks of centroids."""
    rows = len(short_BS)
    for at, product_CB in _products(short_BS, short_KS, None):
        largest_GB = product_CB.view(-1, GROUP, rows).amax(dim=1).numpy()
        group, row = np.divmod(np.flatnonzero(largest_GB > 0), rows)
        places = (group[:, None] * GROUP + np.arange(GROUP)) * rows + row[:, None]
        pair, place = np.divmod(np.flatnonzero(product_CB.numpy().reshape(-1)[places] > 0), GROUP)
        yield row[pair], at + group[pair] * GROUP + place


def _products(x_BS: Tensor, c_KS: Tensor, bias_K: Tensor | None) -> Iterator[tuple[int, Tensor]]:
    """Blocks (C, B) of the product, and where each begins; filled up with -inf to whole groups."""
    for at in range(0, len(c_KS), COLUMNS):
        c_CS = c_KS[at : at + COLUMNS]
        known, missing = len(c_CS), -len(c_CS) % GROUP
        if missing:  # before the product, lest equal centroids be multiplied by different code
            c_CS = functional.pad(c_CS, (0, 0, 0, missing))
        product_CB = c_CS @ x_BS.T
        if bias_K is not None:
            product_CB[:known] += bias_K[at : at + COLUMNS, None]
        product_CB[known:] = -torch.inf
        yield at, product_CB


def _best(x: Floats, c_KD: Tensor, bias_K: Tensor) -> tuple[Ints, Floats]:
    """The best centroid of each row and its score, by whole products."""
    labels, scores = np.zeros(len(x), np.int64), np.full(len(x), -np.inf, np.float32)

    def answer(block: slice) -> None:
        for at, product_CB in _products(torch.from_numpy(np.ascontiguousarray(x[block])), c_KD, bias_K):
            groups_GCB = product_CB.view(-1, GROUP, product_CB.shape[1])
            score, group = (found.numpy() for found in groups_GCB.amax(dim=1).max(dim=0))
            label = at + group * GROUP + groups_GCB.numpy()[group, :, np.arange(len(score))].argmax(axis=1)
            better = score > scores[block]
            labels[block], scores[block] = np.where(better, label, labels[block]), np.where(better, score, scores[block])

    _by_blocks(answer, len(x))
    return labels, scores
