"""The nearest centroid of every row, exactly, on a CPU: most centroids are ruled out along a few axes.

A product of sketches (sketch.py) tells which centroids could beat the one a row is thought to have. Those few pairs are
multiplied in full, in float32. The result is that of the whole product, which is made where a sample of rows says that
sketches do not pay.

Products are made in blocks that stay in the cache, and looked at by the largest of each GROUP of centroids: finding the
place of a maximum costs far more than finding the maximum.

Letters: N rows, D dimensions, K centroids, S numbers of a sketch, B rows of a block, C centroids of one, G groups of these,
P pairs.
Score: x . c + bias; bias 0 for unit centroids (cosine), -|c|^2 / 2 for Euclidean distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from curation.kmeans.sketch import Short, Sketch, Targets, against, bfloat16, principal, short_centroids, shortened

BLOCK = 1024  # rows of one product
COLUMNS = 1024  # centroids of one product
GROUP = 16  # centroids whose largest score is looked at first
PAIRS = 256  # that are multiplied at once
LEAST = 256  # centroids, and twice the dimensions, below which sketches do not pay
AXES = (32, 48, 64, 96, 128, 192, 256)  # that are tried
COARSE = 32  # of them, along which a row's centroid is guessed
SAMPLE = 1024  # rows that tell which pays
# Prices in whole products. Of looking, and of a share of the axes: in float32 (AVX2), in bfloat16 (AVX512-BF16, roughly).
WHOLE, HALF = (0.2, 1.1), (0.1, 0.45)
GUESS, PAIR = 0.25, 30.0  # of a guess, of a share of the pairs

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def nearest(x: Floats, targets: Targets, guess: Ints | None = None, sketch: Sketch | None = None) -> tuple[Ints, Floats]:
    """The centroid of best score of each row of x (N, D), and the score. Of equal scores the lower number's.

    guess (N,): centroids that are likely to be the nearest: the better, the faster. sketch: as `fitting` gave it;
    None: whole products.
    """
    if sketch is None:
        return _best(torch.from_numpy(x), targets.centroids_KD, targets.bias_K)
    guess = _guessed(x, targets, sketch) if guess is None else guess
    labels, scores = guess.copy(), np.empty(len(x), np.float32)
    improve(x, np.arange(len(x)), labels, scores, targets, sketch)
    return labels, scores


def _guessed(x: Floats, targets: Targets, sketch: Sketch) -> Ints:
    """(N,) the centroid of best score along a few of the axes."""
    axes_DR, kind = sketch.axes_DR[:, :COARSE], torch.bfloat16 if sketch.half else torch.float32
    return _best((torch.from_numpy(x) @ axes_DR).to(kind), (targets.centroids_KD @ axes_DR).to(kind), targets.bias_K)[0]


def improve(
    x: Floats, rows: Ints, labels: Ints, scores: Floats, targets: Targets, sketch: Sketch,
    among: Ints | None = None, made: Short | None = None,
) -> None:  # fmt: skip
    """Of some rows of x: labels become the best of the label there is and the centroids `among` (None: of all), scores its.

    made: `shortened` of all of x, where that is known.
    """
    among = np.arange(len(targets.bias_K)) if among is None else among
    short_KS = short_centroids(targets, sketch)[torch.from_numpy(among)]

    def answer(block: slice) -> None:
        some = rows[block]
        short = shortened(x[some], sketch) if made is None else (made[0][torch.from_numpy(some)], made[1][some])
        labels[some], scores[some] = _sketched(x, some, short, labels[some], targets, sketch, short_KS, among)

    _by_blocks(answer, len(rows))


def _by_blocks(work: Callable[[slice], None], rows: int) -> None:
    """On as many threads as torch may use, one for each block, so that no result depends on how many there are."""
    blocks, threads = [slice(at, at + BLOCK) for at in range(0, rows, BLOCK)], torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(work, blocks))
    torch.set_num_threads(threads)  # it is each thread's own, but threads to come take the last that was set


def fitting(x: Floats, targets: Targets, guess: Ints | None = None) -> Sketch | None:
    """The sketch that promises the least work for rows like x, by a sample of them; None where none pays.

    A function of its arguments and of the machine; what it returns changes no answer.
    """
    k, dims = targets.centroids_KD.shape
    if k < LEAST or 2 * dims < LEAST or len(x) < SAMPLE // 4:
        return None
    some, half = np.linspace(0, len(x) - 1, min(len(x), SAMPLE)).astype(int), bfloat16()
    axes_DD = principal(targets.centroids_KD)
    before = _guessed(x[some], targets, Sketch(axes_DD, half)) if guess is None else guess[some]
    counts = [count for count in (*AXES, dims) if count <= (dims if half else dims // 2)]
    sketches = [Sketch(axes_DD[:, :count].contiguous(), half) for count in counts]
    prices = [_price(x[some], targets, before, sketch) + (GUESS if guess is None else 0) for sketch in sketches]
    return sketches[int(np.argmin(prices))] if min(prices, default=1.0) < 1 else None


def _price(x: Floats, targets: Targets, guess: Ints, sketch: Sketch) -> float:
    """Of asking rows like x, in whole products."""
    short_BS = against(shortened(x, sketch), _pair_scores(x, np.arange(len(x)), guess, targets), targets, sketch)
    pairs = sum(len(rows) for rows, _ in _possible(short_BS, short_centroids(targets, sketch)))
    look, along = HALF if sketch.half else WHOLE
    return look + along * short_BS.shape[1] / x.shape[1] + PAIR * pairs / len(x) / len(targets.bias_K)


def _pair_scores(x: Floats, rows: Ints, columns: Ints, targets: Targets) -> Floats:
    """(P,) scores of some rows of x with a centroid each."""
    c, scores = targets.centroids_KD.numpy(), np.empty(len(rows), np.float32)
    for at in range(0, len(rows), PAIRS):
        some = slice(at, at + PAIRS)
        np.einsum("pd,pd->p", x[rows[some]], c[columns[some]], out=scores[some])
    return scores + targets.bias_K.numpy()[columns]


def _sketched(
    x: Floats, rows: Ints, short: Short, guess: Ints, targets: Targets, sketch: Sketch, short_KS: Tensor, among: Ints
) -> tuple[Ints, Floats]:
    """The best of the guesses and of the centroids `among`, whose sketches are given, for a block of rows of x."""
    own, each = _pair_scores(x, rows, guess, targets), np.arange(len(rows))
    found = list(_possible(against(short, own, targets, sketch), short_KS))
    at, places = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
    new = np.flatnonzero(among[places] != guess[at])
    at, columns = at[new], among[places[new]]
    scores = np.concatenate([own, _pair_scores(x, rows[at], columns, targets)])
    at, columns = np.concatenate([each, at]), np.concatenate([guess, columns])
    labels, best = guess.copy(), own.copy()
    np.maximum.at(best, at, scores)
    wins = np.flatnonzero(scores == best[at])
    wins = wins[np.argsort(-columns[wins], kind="stable")]
    labels[at[wins]] = columns[wins]  # of several the last stays, which is the lowest number
    return labels, best


def _possible(short_BS: Tensor, short_KS: Tensor) -> Iterator[tuple[Ints, Ints]]:
    """Rows and centroids whose sketches' product is above 0, by blocks of centroids."""
    rows = len(short_BS)
    for at, product_CB in _products(short_BS, short_KS, None):
        if product_CB.dtype == torch.bfloat16:
            product_CB = product_CB.view(torch.int16)  # which is above 0 where the number is
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


def _best(x: Tensor, c_KD: Tensor, bias_K: Tensor) -> tuple[Ints, Floats]:
    """The best centroid of each row and its score, by whole products."""
    labels, scores = np.zeros(len(x), np.int64), np.full(len(x), -np.inf, np.float32)

    def answer(block: slice) -> None:
        for at, product_CB in _products(x[block], c_KD, bias_K):
            groups_GCB = product_CB.view(-1, GROUP, product_CB.shape[1])
            score, group = groups_GCB.amax(dim=1).max(dim=0)
            among_BC = groups_GCB[group, :, torch.arange(len(group))].float().numpy()
            label, score = at + group.numpy() * GROUP + among_BC.argmax(axis=1), score.float().numpy()
            better = score > scores[block]
            labels[block], scores[block] = np.where(better, label, labels[block]), np.where(better, score, scores[block])

    _by_blocks(answer, len(x))
    return labels, scores
