"""The nearest centroid of every row, exactly, on a CPU: most centroids are ruled out along a few axes.

Of two vectors, what lies off the first R axes adds at most the product of the two remainders' lengths (Cauchy-Schwarz):
so a product of R + 3 numbers tells which centroids could beat the one a row is thought to have. Rows are taken in the
order of those, in tiles of T, and a tile is multiplied in full by the few centroids that some row of it could prefer.
The result is that of the whole product. Where a sample of tiles says that it does not pay, the whole product is made.

Letters: N rows, D dimensions, K centroids, R axes, T rows of a tile, B rows of a block.
Score: x . c + bias; bias 0 for unit centroids (cosine), -|c|^2 / 2 for Euclidean distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TILE = 64  # rows that are held against the same centroids
BLOCK = 2048  # rows of one product of sketches
COLUMNS = 1024  # centroids of one product: a block of both stays in the cache
WHOLE = 2048  # rows of one whole product
LEAST = 256  # centroids, and twice the dimensions, below which sketches do not pay
AXES = (32, 64, 96, 128, 192)  # that are tried
SAMPLE = 16  # tiles that tell which pays
# Prices in whole products: of remembering, of sketching, of a share of the axes, of a share of the centroids (set by eye).
RECALL, COMPARE, ALONG, TILED = 0.1, 0.25, 1.3, 1.5
ROUNDING = 1e-5  # of a score, in units of |x| max |c|: more than float32 products of this length are off by
REMAINDER = 1e-6  # squared, of |x|: the same for lengths

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """Centroids ready to be asked: centroids_KD, bias_K, and rank_K, their places in an order that keeps like ones together."""

    centroids_KD: Tensor
    bias_K: Tensor
    rank_K: Ints

    @staticmethod
    def of(centroids: Floats, *, euclidean: bool = False) -> Targets:
        c = torch.from_numpy(np.ascontiguousarray(centroids, np.float32))
        bias = -(c.double() ** 2).sum(1).float() / 2 if euclidean else torch.zeros(len(c))
        return Targets(c, bias, alike(c))


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
        return _whole(x, targets)
    if guess is None:
        guess = _guessed(x, targets, sketch)
    labels, scores = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    short_KS, order = short(targets, sketch), np.argsort(targets.rank_K[guess], kind="stable")
    for at in range(0, len(x), BLOCK):
        rows = order[at : at + BLOCK]
        block = torch.from_numpy(x[rows])
        left = margins(block, own_scores(block, guess[rows], targets), targets, sketch, short_KS)
        labels[rows], scores[rows] = tiled(block, left, targets)
    return labels, scores


def fitting(x: Floats, targets: Targets, guess: Ints | None = None) -> Sketch | None:
    """The sketch that promises the least work for rows like x, by a sample of tiles; None where none pays.

    A function of its arguments alone.
    """
    k, dims = targets.centroids_KD.shape
    if k < LEAST or 2 * dims < LEAST or len(x) < 4 * TILE:
        return None
    if guess is None:
        x = np.ascontiguousarray(x[:: max(1, len(x) // (SAMPLE * TILE))])
        guess = _whole(x, targets)[0]
    axes_DD = principal(targets.centroids_KD)
    sketches = [Sketch(axes_DD[:, :count].contiguous()) for count in AXES if 2 * count < dims + 1]
    prices = [price(x, targets, guess, sketch) for sketch in sketches]
    return sketches[int(np.argmin(prices))] if min(prices, default=1.0) < 1 else None


def price(x: Floats, targets: Targets, guess: Ints, sketch: Sketch | None) -> float:
    """Of asking rows like x, in whole products, by a sample of tiles."""
    if sketch is None:
        return 1.0
    order = np.argsort(targets.rank_K[guess], kind="stable")
    starts = np.linspace(0, max(0, len(order) - TILE), SAMPLE).astype(int)
    rows = np.concatenate([order[at : at + TILE] for at in starts])
    block = torch.from_numpy(x[rows])
    left = margins(block, own_scores(block, guess[rows], targets), targets, sketch, short(targets, sketch)) > 0
    count, dims = sketch.axes_DR.shape[1], x.shape[1]
    return COMPARE + ALONG * (count + 3) / dims + TILED * float(left.float().mean())


def principal(c_KD: Tensor) -> Tensor:
    """Directions (D, D) in which the centroids differ from zero, those of most spread first."""
    return torch.linalg.eigh((c_KD.T @ c_KD).double()).eigenvectors.flip(1).float().contiguous()


def shortened(x_BD: Tensor, axes_DR: Tensor) -> Tensor:
    """(B, R + 1): rows along the axes, and no less than the length of what is left of them."""
    along_BR, squared_B = x_BD @ axes_DR, (x_BD * x_BD).sum(1)
    rest_B = ((squared_B - (along_BR * along_BR).sum(1)).clamp_min(0) + REMAINDER * squared_B).sqrt()
    return torch.cat([along_BR, rest_B[:, None]], dim=1)


def alike(c_KD: Tensor) -> Ints:
    """(K,) places of centroids in an order in which like ones are together: by the nearest of a few of them."""
    few = c_KD[:: max(1, round(len(c_KD) ** 0.5))]
    order = np.argsort((c_KD @ few.T).argmax(1).numpy(), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def short(targets: Targets, sketch: Sketch) -> Tensor:
    """(K, R + 3): the centroids' sketches, their bias, and the ones that a row's own score is taken from."""
    short = shortened(targets.centroids_KD, sketch.axes_DR)
    return torch.cat([short, targets.bias_K[:, None], torch.ones(len(short), 1)], dim=1)


def _guessed(x: Floats, targets: Targets, sketch: Sketch) -> Ints:
    """(N,) the centroid of best score along the axes of the sketch alone."""
    short_KS, guess = short(targets, sketch), np.empty(len(x), np.int64)
    short_KS = torch.cat([short_KS[:, :-3], short_KS[:, -2:-1]], dim=1)
    for at in range(0, len(x), BLOCK):
        along = torch.from_numpy(x[at : at + BLOCK]) @ sketch.axes_DR
        guess[at : at + BLOCK] = _best(torch.cat([along, torch.ones(len(along), 1)], dim=1), short_KS)[0].numpy()
    return guess


def own_scores(block: Tensor, guess: Ints, targets: Targets) -> Tensor:
    """(B,) score of each row with the centroid it is thought to have."""
    mine = torch.from_numpy(guess)
    return torch.einsum("bd,bd->b", block, targets.centroids_KD[mine]) + targets.bias_K[mine]


def slack(lengths: Tensor, targets: Targets) -> Tensor:
    """How far off scores of rows of these lengths may be by rounding."""
    return ROUNDING * (lengths * targets.centroids_KD.norm(dim=1).max() + targets.bias_K.abs().max())


def margins(
    block: Tensor, own_B: Tensor, targets: Targets, sketch: Sketch, short_KS: Tensor, made: Tensor | None = None
) -> Tensor:
    """(tiles, K): by how much, at most, some row of the tile could prefer the centroid to its own; its own's is > 0.

    made (B, R + 1): the rows' sketches, where they are known.
    """
    one, short_BS = torch.ones(len(block), 1), shortened(block, sketch.axes_DR) if made is None else made
    short_BS = torch.cat([short_BS, one, (slack(block.norm(dim=1), targets) - own_B)[:, None]], dim=1)
    return _tiles_of(short_BS, short_KS)


def all_margins(block: Tensor, own_B: Tensor, targets: Targets) -> Tensor:
    """The same, by whole products: how much they do prefer it."""
    one, bias, ones = torch.ones(len(block), 1), targets.bias_K[:, None], torch.ones(len(targets.bias_K), 1)
    block_BS = torch.cat([block, one, (slack(block.norm(dim=1), targets) - own_B)[:, None]], dim=1)
    return _tiles_of(block_BS, torch.cat([targets.centroids_KD, bias, ones], dim=1))


def _tiles_of(x_BS: Tensor, c_KS: Tensor) -> Tensor:
    """(tiles, K) largest product of each tile."""
    full, found = len(x_BS) // TILE * TILE, torch.empty(-(-len(x_BS) // TILE), len(c_KS))
    for at in range(0, len(c_KS), COLUMNS):
        product = x_BS @ c_KS[at : at + COLUMNS].T
        if full:
            found[: full // TILE, at : at + COLUMNS] = product[:full].view(full // TILE, TILE, -1).amax(dim=1)
        if full < len(x_BS):
            found[-1, at : at + COLUMNS] = product[full:].amax(0)
    return found


def tiled(block: Tensor, margins: Tensor, targets: Targets, *, tighten: bool = False) -> tuple[Ints, Floats]:
    """Whole products of each tile with the centroids that are left; `tighten`: and `margins` made those."""
    labels, scores = torch.empty(len(block), dtype=torch.int64), torch.empty(len(block))
    tile_C, left_C = np.nonzero(~(margins <= 0).numpy())  # what is no number is not ruled out
    ends, left = np.searchsorted(tile_C, np.arange(len(margins) + 1)).tolist(), torch.from_numpy(left_C)
    for tile in range(len(margins)):
        rows, some = slice(tile * TILE, (tile + 1) * TILE), left[ends[tile] : ends[tile + 1]]
        product = torch.addmm(targets.bias_K[some], block[rows], targets.centroids_KD[some].T)
        score, place = product.max(dim=1)
        scores[rows], labels[rows] = score, some[place]
        if tighten:
            margins[tile, some] = product.sub_(score[:, None]).amax(dim=0)
    return labels.numpy(), scores.numpy()


def _whole(x: Floats, targets: Targets) -> tuple[Ints, Floats]:
    labels, scores = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    for at in range(0, len(x), WHOLE):
        block = torch.from_numpy(np.ascontiguousarray(x[at : at + WHOLE]))
        place, score = _best(block, targets.centroids_KD, targets.bias_K)
        labels[at : at + WHOLE], scores[at : at + WHOLE] = place.numpy(), score.numpy()
    return labels, scores


def _best(x_BD: Tensor, c_KD: Tensor, bias_K: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The best centroid of each row and its score: by columns of bounded width, so that the product stays small."""
    score, label = torch.full((len(x_BD),), -torch.inf), torch.zeros(len(x_BD), dtype=torch.int64)
    for at in range(0, len(c_KD), COLUMNS):
        c = c_KD[at : at + COLUMNS]
        product = x_BD @ c.T if bias_K is None else torch.addmm(bias_K[at : at + COLUMNS], x_BD, c.T)
        value, place = product.max(dim=1)
        better = value > score
        score, label = torch.where(better, value, score), torch.where(better, place + at, label)
    return label, score
