"""k-NN against the formula written naively, and on features whose neighbours are known."""

import math

import pytest
import torch

from embedder.evaluation.knn import accuracy, classify, nearest


def features(rows: int, seed: int) -> torch.Tensor:
    """Random rows, of no particular length."""
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))


def naive(train: torch.Tensor, label: torch.Tensor, query: torch.Tensor, k: int) -> int:
    """One query's class, neighbour by neighbour."""
    cosines = [float(torch.nn.functional.cosine_similarity(row, query, dim=0)) for row in train]
    best = sorted(range(len(train)), key=lambda n: -cosines[n])[:200]
    total = sum(math.exp(cosines[n] / 0.07) for n in best)
    vote: dict[int, float] = {}
    for n in best[:k]:
        vote[int(label[n])] = vote.get(int(label[n]), 0.0) + math.exp(cosines[n] / 0.07) / total
    return max(vote, key=lambda at: vote[at])


def test_agrees_with_the_formula_for_every_k() -> None:
    train, query = features(300, 0), features(40, 1)
    label = torch.randint(7, (300,), generator=torch.Generator().manual_seed(2))
    guesses = classify(train, label, query, 7, queries=9)
    for k, guess in guesses.items():
        assert guess.tolist() == [naive(train, label, row, k) for row in query], k


def test_blocks_change_nothing() -> None:
    train, query = features(300, 0), features(40, 1)
    cosine, row = nearest(train, query, 200, block=10**6)
    for block in (7, 200, 299):
        again_cosine, again_row = nearest(train, query, 200, block=block)
        assert torch.equal(row, again_row)
        assert torch.allclose(cosine, again_cosine, atol=1e-6)


def test_a_near_neighbour_outweighs_several_far_ones() -> None:
    train = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    label, query = torch.tensor([0, 1, 1, 1]), torch.tensor([[2.0, 0.0]])
    assert accuracy(train, label, query, torch.tensor([0]), (4,)) == {4: 1.0}


def test_fewer_rows_than_neighbours_and_no_rows() -> None:
    assert accuracy(torch.eye(3), torch.arange(3), torch.eye(3), torch.arange(3)) == {10: 1, 20: 1, 100: 1, 200: 1}
    with pytest.raises(ValueError, match="training rows"):
        classify(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), torch.eye(3), 3)
