"""Precision and recall of a copy threshold, with intervals, for a pool of any size; from pairs whose truth is known.

Letters: N originals, P pairs, T thresholds (rising), R resamples (row 0: the sample itself).

False pairs grow with the square of a pool and true pairs in proportion to it, so precision belongs to a pool size.
The share of false pairs at or above a threshold (the false match rate, as biometrics calls it) does not: it is
counted in the sample, and beyond the sample's most alike pairs it goes on as an exponential of the angle between them
(peaks over threshold, shape 0: Pickands 1975; that the angle is the scale on which it is one was found by measuring).
Pairs of one image are not independent: intervals come from drawing originals again with all their pairs (the vertex
bootstrap of Snijders and Borgatti 1999), and recall's are never narrower than Wilson's (1927) for N trials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Band = tuple[Floats, Floats, Floats]  # estimate, low, high: (T,) each

ROUNDS = 200  # resamples of the originals
Z = 1.96  # 95% intervals
CUTS = (200, 800)  # pairs of originals that the tail is fitted on: the first estimates, the worst of both bounds
MOST = 0.25  # of the pairs at hand: towards their lowest scores they are no tail
KEPT = 100_000  # most alike false pairs held
BLOCK = 512  # rows compared at once


@dataclass(frozen=True)
class Pairs:
    """P scored pairs of images. first, second: their originals. weight: share that a pair stands for of all such pairs,
    those with lower scores that are not here included. top: the highest score there can be."""

    score: Floats
    first: Ints
    second: Ints
    weight: Floats
    top: float = 1.0

    def where(self, chosen: Bools) -> Pairs:
        """The pairs that are `chosen` (P,), their weights unchanged."""
        return Pairs(self.score[chosen], self.first[chosen], self.second[chosen], self.weight[chosen], self.top)


@dataclass(frozen=True)
class Pool:
    """What precision is stated for: `images`, of which a share `copies` are edited copies of one other image each."""

    images: int
    copies: float


@dataclass(frozen=True)
class Curve:
    """What each threshold does. lost: the share of unrelated images that match one of 1,000 protected images."""

    threshold: Floats
    recall: Band
    precision: Band
    lost: Band

    def row(self, at: int) -> dict[str, float]:
        """Threshold number `at`, rounded: recall, recall_low, recall_high, precision, ..."""
        out = {"threshold": round(float(self.threshold[at]), 4)}
        for name in ("recall", "precision", "lost"):
            for end, values in zip(("", "_low", "_high"), getattr(self, name), strict=True):
                out[name + end] = float(f"{values[at]:.4g}")
        return out


def curve(true: Pairs, false: Pairs, thresholds: Floats, pool: Pool, draws: Ints) -> Curve:
    """Recall, precision in `pool` and loss at each threshold. draws: (R, N) from `resamples`."""
    found = recall(true, thresholds, draws)
    rates = false_match_rates(false, thresholds, draws)
    wrong, least, most = bound([1 - precision(found, rate, pool) for rate in rates])
    lost = bound([1 - np.exp(-1000 * rate) for rate in rates])
    return Curve(thresholds, _recall_band(found, len(np.unique(true.first))), (1 - wrong, 1 - most, 1 - least), lost)


def resamples(originals: int, seed: int, rounds: int = ROUNDS) -> Ints:
    """(1 + rounds, N) how often each original is drawn: once each, then with replacement."""
    chance = np.random.default_rng(seed)
    again = chance.multinomial(originals, np.full(originals, 1 / originals), size=rounds)
    return np.concatenate([np.ones((1, originals), np.int64), again.astype(np.int64)])


def recall(true: Pairs, thresholds: Floats, draws: Ints) -> Floats:
    """(R, T) share of (original, edit) pairs at or above each threshold."""
    drawn = true.weight * draws[:, true.first]
    return _at_or_above(true.score, drawn, thresholds) / np.maximum(drawn.sum(1, keepdims=True), 1e-12)


def false_match_rates(false: Pairs, thresholds: Floats, draws: Ints) -> list[Floats]:
    """(R, T) share of false pairs at or above each threshold: one with the tail from each of CUTS, and the bare count."""
    n = draws.shape[1]
    ordered = (n * n - (draws.astype(np.float64) ** 2).sum(1, keepdims=True)) / max(1, n * (n - 1))  # pairs drawn, as a share
    drawn = (false.weight * draw[false.first] * draw[false.second] for draw in draws)
    starts = [_cut(false, pairs / max(1, n * (n - 1) / 2)) for pairs in CUTS]
    grid = np.unique(np.concatenate([thresholds, starts]))
    shares = np.concatenate([_at_or_above(false.score, weight[None], grid) for weight in drawn]) / np.maximum(ordered, 1e-12)
    counted = shares[:, np.searchsorted(grid, thresholds)]
    at_start = (shares[:, np.searchsorted(grid, start)] for start in starts)
    tails = [_tail(false, start, at, thresholds, draws) for start, at in zip(starts, at_start, strict=True)]
    return [*(np.where(thresholds > start, tail, counted) for start, tail in zip(starts, tails, strict=True)), counted]


def _tail(false: Pairs, start: float, rate_R: Floats, thresholds: Floats, draws: Ints) -> Floats:
    """(R, T) exponential of the angle, from `rate_R` at `start`; it falls as the excess of the pairs beyond `start` says."""
    beyond = false.where(false.score >= start)
    drawn = beyond.weight * draws[:, beyond.first] * draws[:, beyond.second]
    nearer = _angle(np.array(start), false.top) - _angle(beyond.score, false.top)
    excess = (drawn * nearer).sum(1) / np.maximum(drawn.sum(1), 1e-300)
    way = np.maximum(0, _angle(np.array(start), false.top) - _angle(thresholds, false.top))
    return rate_R[:, None] * np.exp(-way / np.maximum(excess[:, None], 1e-6))


def _angle(score: Floats, top: float) -> Floats:
    """Radians between two descriptors of this cosine; a sum of cosines is taken for its mean."""
    return np.arccos(np.clip(score / top, -1, 1))


def _cut(false: Pairs, share: float) -> float:
    """The highest score that at least `share` of all false pairs reach, or MOST of those here, if fewer are here."""
    if not len(false.score):
        return 1e9
    order = np.argsort(-false.score, kind="stable")
    reached = np.cumsum(false.weight[order])
    at = int(np.searchsorted(reached, min(share, MOST * reached[-1])))
    return float(false.score[order[min(at, len(order) - 1)]])


def _at_or_above(score_P: Floats, weight_RP: Floats, grid_T: Floats) -> Floats:
    """(R, T) weight at or above each of a rising grid."""
    reached = np.searchsorted(grid_T, score_P, side="right")  # how many of the grid each pair reaches
    bins = np.stack([np.bincount(reached, weight, len(grid_T) + 1) for weight in weight_RP])
    return bins[:, ::-1].cumsum(1)[:, ::-1][:, 1:]


def precision(recall: Floats, false_match_rate: Floats, pool: Pool) -> Floats:
    """Share of true pairs among all pairs of a pool that are at or above a threshold; 1 where there is none."""
    true, false = pool.copies * pool.images * recall, pool.images * (pool.images - 1) / 2 * false_match_rate
    return np.where(true + false > 0, true / np.maximum(true + false, 1e-300), 1.0)


def band(values_RT: Floats) -> Band:
    """The sample's own values, and the middle 95% of the resamples'."""
    low, high = np.quantile(values_RT[1:], [0.025, 0.975], axis=0)
    return values_RT[0], np.minimum(low, values_RT[0]), np.maximum(high, values_RT[0])


def bound(errors: list[Floats]) -> Band:
    """Of several views of one error rate the first's estimate and the worst high; the last, a bare count, gives no low."""
    bands = [band(one) for one in errors]
    return bands[0][0], np.min([b[1] for b in bands[:-1]], axis=0), np.max([b[2] for b in bands], axis=0)


def wilson(share: Floats, trials: int) -> tuple[Floats, Floats]:
    """Wilson's 95% interval of a share of `trials`."""
    middle, spread = share + Z * Z / (2 * trials), Z * np.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials**2))
    low, high = (middle - spread) / (1 + Z * Z / trials), (middle + spread) / (1 + Z * Z / trials)
    return np.maximum(low, 0.0), np.minimum(high, 1.0)


def _recall_band(recall_RT: Floats, originals: int) -> Band:
    found, low, high = band(recall_RT)
    lowest, highest = wilson(np.clip(found, 0, 1), max(1, originals))
    return found, np.minimum(low, lowest), np.maximum(high, highest)


def recommend(found: Curve, precise: float, least_recall: float) -> int | None:
    """The lowest threshold from which on precision's lower bound is `precise` for as long as recall is `least_recall`."""
    enough = found.recall[0] >= least_recall
    good = np.logical_and.accumulate(((found.precision[1] >= precise) | ~enough)[::-1])[::-1]
    at = int(np.argmax(good))
    return at if good[at] and enough[at] else None


def trade_off(found: Curve) -> int:
    """The threshold of the highest F1."""
    recall, precise = found.recall[0], found.precision[0]
    return int(np.argmax(2 * recall * precise / np.maximum(recall + precise, 1e-12)))


def reference(found: Curve, caught: float, innocents: float) -> int:
    """The highest threshold that finds a share `caught` of edits, or else the lowest at which no more than `innocents`
    unrelated images are surely lost: a leak is worse than a loss, but not at any price."""
    catching = np.flatnonzero(found.recall[0] >= caught)
    sparing = np.flatnonzero(found.lost[2] <= innocents)
    return int(max(catching[-1] if len(catching) else 0, sparing[0] if len(sparing) else len(found.threshold) - 1))


def vouched(recall: float, counted: float, originals: int, copies: float, precise: float) -> int:
    """The largest pool for which the count alone, without a tail, bounds precision by `precise`.

    counted: share of false pairs at or above the threshold. Pairs that were not met may yet be: Poisson's upper limit.
    """
    pairs = max(1.0, originals * (originals - 1) / 2)
    most = (np.sqrt(counted * pairs + 1) + Z / 2) ** 2 / pairs
    return int(2 * copies * recall * (1 - precise) / precise / most)


def class_weights(copy_a: Bools, copy_b: Bools, originals: int, edits: int, copies: float) -> Floats:
    """(P,) weight of a false pair, so that pairs of two originals, of one original and an edit, and of two edits count as
    often as they are met in a pool with a share `copies` of edits."""
    both = (copy_a.astype(int) + copy_b).astype(int)
    shares = np.array([(1 - copies) ** 2, 2 * copies * (1 - copies), copies**2])
    counts = np.array([originals * (originals - 1) / 2, (originals - 1) * edits, edits * (edits - 1) / 2])
    return (shares / np.maximum(counts, 1))[both]


def most_alike(vectors_ND: Floats, origin_N: Ints, keep: int = KEPT) -> tuple[Ints, Ints, Floats]:
    """Rows i < j of different originals and their cosine, the `keep` most alike of all, falling."""
    i, j, score = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    for start in range(0, len(vectors_ND), BLOCK):
        cosine = vectors_ND[start : start + BLOCK] @ vectors_ND[start:].T
        far = origin_N[start : start + BLOCK, None] != origin_N[None, start:]
        far &= np.arange(cosine.shape[0])[:, None] < np.arange(cosine.shape[1])[None]
        if len(score) == keep:
            far &= cosine > score[-1]
        a, b = np.nonzero(far)
        i, j, score = np.append(i, a + start), np.append(j, b + start), np.append(score, cosine[a, b])
        top = np.argsort(-score, kind="stable")[:keep]
        i, j, score = i[top], j[top], score[top]
    return i, j, score


def to_look_at(weight: Floats, full: int, chance: np.random.Generator) -> tuple[Ints, Floats]:
    """Which of P pairs, falling by cosine, to look at closely, and the weight of each then.

    Of the most alike all that weigh much, then ever fewer: none weighs more than a `full`-th of all that are as alike.
    """
    share = np.minimum(1.0, full * weight / np.maximum(np.cumsum(weight), 1e-300))
    taken = np.flatnonzero(chance.uniform(size=len(weight)) < share)
    return taken, weight[taken] / share[taken]
