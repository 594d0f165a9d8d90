"""Two seed images of a set retrieve one image: who has it? The paper leaves that open (dinov2 #57); both rules are here.

`nearest`: each, its k nearest. `next_unused`: rank by rank, each its nearest that none of its set has taken yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Lists = Mapping[str, list[tuple[str, int, float]]]
Taken = Iterator[tuple[str, tuple[str, int, float]]]


def nearest(lists: Lists, k: int) -> Taken:
    """Seed image by seed image its k nearest. lists: seed id -> (image_id, rank, similarity), nearest first."""
    return ((seed, hit) for seed, hits in lists.items() for hit in hits[:k])


def next_unused(lists: Lists, k: int) -> Taken:
    """Round by round, nearest pairs first: a seed image takes its nearest neighbour that nobody has taken."""
    used: set[str] = set()
    at = dict.fromkeys(lists, 0)
    for _ in range(k):
        heads = {seed: _skip(hits, at[seed], used) for seed, hits in lists.items()}
        order = sorted((s for s in lists if heads[s] < len(lists[s])), key=lambda s: (-lists[s][heads[s]][2], s))
        for seed in order:
            at[seed] = _skip(lists[seed], heads[seed], used)
            if at[seed] < len(lists[seed]):
                used.add(lists[seed][at[seed]][0])
                yield seed, lists[seed][at[seed]]


def _skip(hits: list[tuple[str, int, float]], at: int, used: set[str]) -> int:
    while at < len(hits) and hits[at][0] in used:
        at += 1
    return at
