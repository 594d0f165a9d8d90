"""Precision and recall of a threshold: against brute force, by hand, and on scores whose law is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from curation import thresholds as th
from curation.thresholds import Curve, Pairs, Pool


def pairs(score: list[float], first: list[int], second: list[int], weight: float = 1.0) -> Pairs:
    a, b = (np.array(end, np.int64) for end in (first, second))
    return Pairs(np.array(score, float), a, b, np.full(len(score), weight))


def unit_rows(seed: int, count: int, width: int = 8) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_most_alike_is_the_top_of_all_pairs_of_different_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(th, "BLOCK", 7)
    rows, origin = unit_rows(0, 40), np.arange(40) % 25
    i, j, score = th.most_alike(rows, origin, keep=60)
    every = {(a, b): float(rows[a] @ rows[b]) for a, b in itertools.combinations(range(40), 2) if origin[a] != origin[b]}
    assert np.allclose(score, sorted(every.values(), reverse=True)[:60], atol=1e-6)
    assert all(abs(every[a, b] - s) < 1e-6 for a, b, s in zip(i.tolist(), j.tolist(), score.tolist(), strict=True))


def test_classes_of_pairs_weigh_what_they_are_met() -> None:
    originals, edits, copies = 6, 4, 0.2
    kinds = [False] * originals + [True] * edits
    owner = [*range(originals), *range(edits)]
    different = [(a, b) for a, b in itertools.combinations(range(10), 2) if owner[a] != owner[b]]
    a, b = (np.array([kinds[p[end]] for p in different]) for end in (0, 1))
    weight = th.class_weights(a, b, originals, edits, copies)
    assert weight.sum() == pytest.approx(1)
    assert weight[~a & ~b].sum() == pytest.approx(0.64)
    assert weight[a & b].sum() == pytest.approx(0.04)


def test_counted_rates_are_those_of_the_resample_written_out() -> None:
    chance = np.random.default_rng(1)
    n, grid = 12, np.array([0.2, 0.5, 0.8])
    first, second = np.array(list(itertools.combinations(range(n), 2))).T
    score = chance.uniform(size=len(first))
    draws = th.resamples(n, seed=3, rounds=4)
    counted = th.false_match_rates(Pairs(score, first, second, np.full(len(first), 1 / len(first))), grid, draws)[-1]
    table = {(a, b): s for a, b, s in zip(first.tolist(), second.tolist(), score.tolist(), strict=True)}
    for draw, rates in zip(draws, counted, strict=True):
        drawn = np.repeat(np.arange(n), draw)
        scores = [table[min(a, b), max(a, b)] for a, b in itertools.combinations(drawn.tolist(), 2) if a != b]
        assert rates == pytest.approx([np.mean([s >= t for s in scores]) for t in grid])
    true = pairs([0.9, 0.6, 0.1, 0.7], [0, 0, 1, 2], [0, 0, 1, 2])
    found = th.recall(true, grid, draws)
    for draw, shares in zip(draws, found, strict=True):
        scores = [s for s, own in zip(true.score, true.first, strict=True) for _ in range(draw[own])]
        assert shares == pytest.approx([np.mean([s >= t for s in scores]) if scores else 0 for t in grid])


def test_the_tail_of_exponential_angles_goes_on_as_they_do() -> None:
    n, grid = 600, np.array([0.3, 0.6, 0.9])  # 180 thousand pairs: the last is beyond all of them
    first, second = np.triu_indices(n, 1)
    angle = np.pi / 2 - np.random.default_rng(5).exponential(0.07, len(first))
    weight, wanted = np.full(len(first), 1 / len(first)), -(np.pi / 2 - np.arccos(grid)) / 0.07
    for top in (1.0, 2.0):
        false = Pairs(top * np.cos(angle), first, second, weight, top)
        rates = th.false_match_rates(false, top * grid, th.resamples(n, 0, 40))
        for tail in rates[:-1]:
            assert np.log(tail[0]) == pytest.approx(wanted, rel=0.15)
        low, high = np.log(np.quantile(rates[0][1:], [0.025, 0.975], axis=0))
        assert np.all((low <= wanted) & (wanted <= high))
        assert rates[-1][0, -1] == 0


def test_rates_join_where_the_tail_begins() -> None:
    n = 80
    first, second = np.triu_indices(n, 1)
    score = np.random.default_rng(2).uniform(size=len(first))
    false = Pairs(score, first, second, np.full(len(first), 1 / len(first)))
    start = np.sort(score)[-th.CUTS[0]]  # less than MOST of the 3,160 pairs
    rates = th.false_match_rates(false, np.array([start - 1e-9, start + 1e-9]), th.resamples(n, 0, 3))[0]
    assert rates[:, 0] == pytest.approx(rates[:, 1], rel=1e-4)


def test_precision_by_hand_falls_with_the_pool() -> None:
    few, many = (th.precision(np.array(0.8), np.array(1e-4), Pool(images, 0.1)) for images in (1001, 100_001))
    assert few == pytest.approx(0.1 * 0.8 / (0.1 * 0.8 + 500 * 1e-4))
    assert many == pytest.approx(0.08 / (0.08 + 50_000 * 1e-4))
    assert th.precision(np.array(0.0), np.array(0.0), Pool(10, 0.1)) == 1


def test_wilson_by_hand() -> None:
    assert th.wilson(np.array(0.5), 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert th.wilson(np.array(1.0), 10)[0] == pytest.approx(0.7225, abs=1e-4)


def test_many_edits_of_few_originals_are_not_many_trials() -> None:
    own = np.repeat(np.arange(20), 50)
    true = Pairs((own < 10).astype(float), own, own, np.full(1000, 1e-3))
    found = th.curve(true, pairs([0.1], [0], [1], 1e-3), np.array([0.5]), Pool(100, 0.1), th.resamples(20, 0))
    _, low, high = (values[0] for values in found.recall)
    assert low < 0.32
    assert high > 0.68


def curve(recall: list[float], low: list[float], lost: list[float]) -> Curve:
    r, p, q = map(np.array, (recall, low, lost))
    return Curve(np.arange(len(recall)) / 10, (r, r, r), (p, p, p), (q, q, q))


def test_recommended_is_the_lowest_threshold_from_which_on_all_are_good() -> None:
    found = curve([0.9, 0.8, 0.7, 0.6, 0.1], [0.99, 0.9, 0.99, 1.0, 0.2], [0] * 5)
    assert th.recommend(found, 0.99, 0.5) == 2
    assert th.recommend(found, 0.99, 0.75) is None
    assert th.recommend(curve([0.4, 0.3], [1.0, 1.0], [0, 0]), 0.99, 0.5) is None
    assert th.trade_off(found) == 0


def test_reference_catches_if_the_price_is_right() -> None:
    found = curve([1.0, 0.995, 0.9, 0.5], [1] * 4, [0.5, 0.005, 0.001, 0.0])
    assert th.reference(found, caught=0.99, innocents=0.01) == 1
    assert th.reference(found, caught=0.99, innocents=0.002) == 2
    assert th.reference(curve([0.5, 0.4], [1, 1], [0.9, 0.8]), 0.99, 0.01) == 1


def test_looked_at_pairs_stand_for_all() -> None:
    weight = np.random.default_rng(0).choice([1.0, 0.1], 5000)
    sure = np.flatnonzero((weight == 1) & (weight.cumsum() < 100))
    sums = []
    for seed in range(30):
        taken, new = th.to_look_at(weight, 100, np.random.default_rng(seed))
        assert set(sure.tolist()) <= set(taken.tolist())
        assert len(taken) < 1000
        sums.append(new.sum())
    assert np.mean(sums) == pytest.approx(weight.sum(), rel=0.03)


def test_counting_vouches_for_little() -> None:
    assert th.vouched(0.8, 0.0, 1000, 0.1, 0.99) == int(2 * 0.08 / 99 * 499_500 / (1 + th.Z / 2) ** 2)
    assert th.vouched(0.8, 1e-3, 1000, 0.1, 0.99) < 2


def test_nothing_false_at_all_is_no_error() -> None:
    empty = pairs([], [], [])
    found = th.curve(pairs([0.9], [0], [0]), empty, np.array([0.5, 0.95]), Pool(50, 0.1), th.resamples(5, 0, 10))
    assert found.precision[0].tolist() == [1.0, 1.0]
    assert found.recall[0].tolist() == [1.0, 0.0]
    assert found.row(0)["recall_low"] < 0.3
