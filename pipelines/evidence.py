"""Pairs of described images whose truth is known: edits and their originals, different images, and those in doubt."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from curation import align
from curation.graph.components import components
from curation.thresholds import Pairs, Pool, class_weights, most_alike, to_look_at
from embedder.edits import EVERYDAY
from pipelines.config import RecipeError
from pipelines.specimens import Specimens

LOOKED_AT = 400  # originals whose edits are looked at closely
FULL = 400  # false pairs looked at, and ever fewer of those less alike (thresholds.to_look_at)
LOOKS_PER_IMAGE = 8  # pairs that a run may have to look at for each image of its pool
FOUND = 0.98  # of edits: no more than the rest is given up by looking at alike pairs only
ALIKE = 0.25  # quantile: originals more alike than this share of the edits are to theirs may be copies
KIN, GROUP = 0.05, 8  # share of originals in such pairs, and originals tied by them: more of both are kin, not copies
NOT_SEEN = -9.0  # the score of a pair that a run would not look at


@dataclass(frozen=True)
class Edited:
    """E edits beside their originals. agreement: NaN where it was not looked at."""

    kind: NDArray[np.int64]
    origin: NDArray[np.int64]
    cosine: NDArray[np.float32]
    agreement: NDArray[np.float32]

    def pairs(self, chosen: NDArray[np.bool_], floor: float | None) -> Pairs:
        """`chosen` edits by cosine; with a floor, those looked at by cosine + agreement."""
        if floor is None:
            score, chosen = self.cosine, chosen
        else:
            score = np.where(self.cosine >= floor, self.cosine + self.agreement, NOT_SEEN)
            chosen = chosen & ~np.isnan(self.agreement)
        own = self.origin[chosen]
        return Pairs(
            score[chosen].astype(np.float64), own, own, np.full(len(own), 1 / max(1, len(own))), 1.0 if floor is None else 2.0
        )

    @property
    def everyday(self) -> NDArray[np.bool_]:
        return self.kind < len(EVERYDAY)


@dataclass(frozen=True)
class Doubt:
    """Two different originals that look like copies: numbers, cosine, agreement; what a person said of them, if anyone."""

    first: int
    second: int
    cosine: float
    agreement: float
    same: bool | None = None


@dataclass(frozen=True)
class Evidence:
    """floor: cosine from which pairs are looked at. false: by cosine; false_sums: a weighted sample of those at or above
    the floor, by cosine + agreement. kin: so many are in doubt that they count as false. labels: how many were of use."""

    edited: Edited
    false: Pairs
    false_sums: Pairs
    floor: float
    doubts: list[Doubt]
    kin: bool
    labels: int


Said = dict[tuple[str, str], bool]  # names in order


def gather(specimens: Specimens, pool: Pool, chance: np.random.Generator, said: Said, floor: float | None = None) -> Evidence:
    """Everything the statistics need, real copies among the originals left out of the false pairs.

    floor: cosine from which pairs are looked at; None: most edits, but few pairs for each image of the pool.
    """
    n = len(specimens.names)
    edited = _edits(specimens)
    i, j, false = _different(specimens, pool)
    true = edited.pairs(edited.everyday, None)
    floor = _floor(true, false, pool) if floor is None else floor
    above = np.flatnonzero(false.score >= floor)
    taken, weight = to_look_at(false.weight[above], FULL, chance)
    at = above[taken]
    agreed = _agreement(specimens, i[at], j[at])
    sums = Pairs(false.score[at] + agreed, false.first[at], false.second[at], weight, top=2.0)
    doubts = _doubts(specimens, i[at], j[at], false.score[at], agreed, edited, said)
    kin = _are_kin(doubts, n)
    labels = _labels(specimens.names, said)
    copies = [pair for pair, same in labels.items() if same]
    copies += [(d.first, d.second) for d in doubts if d.same is None and not kin]
    return Evidence(edited, _without(false, copies, n), _without(sums, copies, n), floor, doubts, kin, len(labels))


def _are_kin(doubts: list[Doubt], originals: int) -> bool:
    """Whether pairs that nobody spoke of are what the domain is like: many, and not in the small groups of copies."""
    open_pairs = np.array([(d.first, d.second) for d in doubts if d.same is None], np.int64).reshape(-1, 2)
    few = len(np.unique(open_pairs)) <= KIN * originals
    return not few and int(np.bincount(components(originals, *open_pairs.T)).max()) > GROUP


def _labels(names: list[str], said: Said) -> dict[tuple[int, int], bool]:
    """What a person said of pairs of the sample's originals, by number."""
    number = {name: at for at, name in enumerate(names)}
    return {(number[a], number[b]): same for (a, b), same in said.items() if a in number and b in number}


def _edits(specimens: Specimens) -> Edited:
    n = len(specimens.names)
    origin, kind = specimens.origin[n:], specimens.edit[n:]
    rows = np.arange(n, n + len(origin))
    cosine = (specimens.vectors[rows] * specimens.vectors[origin]).sum(1)
    agreement = np.full(len(origin), np.nan, np.float32)
    looked = np.flatnonzero(origin < LOOKED_AT)
    agreement[looked] = _agreement(specimens, rows[looked], origin[looked])
    return Edited(kind, origin, cosine.astype(np.float32), agreement)


def _agreement(specimens: Specimens, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float32]:
    """(P,) agreement of thumbnails, as `edges` looks at pairs."""
    return align.agreement(specimens.thumbs[torch.from_numpy(i)], specimens.thumbs[torch.from_numpy(j)])


def _different(specimens: Specimens, pool: Pool) -> tuple[NDArray[np.int64], NDArray[np.int64], Pairs]:
    """Rows of the most alike pairs of originals and everyday edits that show different images, and the pairs."""
    rows = np.flatnonzero(specimens.edit < len(EVERYDAY))
    a, b, cosine = most_alike(specimens.vectors[rows], specimens.origin[rows])
    i, j = rows[a], rows[b]
    n = len(specimens.names)
    weight = class_weights(i >= n, j >= n, n, len(rows) - n, pool.copies)
    return i, j, Pairs(cosine.astype(np.float64), specimens.origin[i], specimens.origin[j], weight)


def _floor(true: Pairs, false: Pairs, pool: Pool) -> float:
    """The cosine from which pairs are looked at: most edits, but few pairs for each image of the pool."""
    share = np.cumsum(false.weight)  # most alike first
    few = int(np.searchsorted(share, LOOKS_PER_IMAGE / pool.images))
    costly = float(false.score[min(few, len(share) - 1)]) if len(share) else -1.0
    return round(max(float(np.quantile(true.score, 1 - FOUND)), costly), 3)


def _doubts(
    specimens: Specimens, i: NDArray[np.int64], j: NDArray[np.int64], cosine: NDArray[np.float64],
    agreed: NDArray[np.float32], edited: Edited, said: Said,
) -> list[Doubt]:  # fmt: skip
    """Looked-at pairs of originals as alike as copies are, and those that a person spoke of; most alike first."""
    names = specimens.names
    usual = np.nanquantile((edited.cosine + edited.agreement)[edited.everyday], ALIKE)
    out: list[Doubt] = []
    for at in np.argsort(-(cosine + agreed), kind="stable"):
        first, second = int(i[at]), int(j[at])
        if max(first, second) < len(names):
            same = said.get((min(names[first], names[second]), max(names[first], names[second])))
            if same is not None or cosine[at] + agreed[at] >= usual:
                out.append(Doubt(first, second, float(cosine[at]), float(agreed[at]), same))
    return out


def _without(pairs: Pairs, copies: list[tuple[int, int]], originals: int) -> Pairs:
    """The pairs but those of originals that are copies of one another, and of their edits."""
    gone = [min(pair) * originals + max(pair) for pair in copies]
    here = np.minimum(pairs.first, pairs.second) * originals + np.maximum(pairs.first, pairs.second)
    return pairs.where(~np.isin(here, np.array(gone, np.int64)))


_SAID = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def read_labels(path: str | Path) -> Said:
    """Pairs of names and whether they are the same picture, from a CSV file with uri_a, uri_b, same; a row whose `same` is
    empty says nothing. Raises RecipeError, naming the line."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"cannot read {path}: {error}") from error
    said: Said = {}
    for line, row in enumerate(rows, 2):
        if not {"uri_a", "uri_b", "same"} <= row.keys():
            raise RecipeError(f"{path} needs the columns uri_a, uri_b and same")
        word = (row["same"] or "").strip().lower()
        if word and word not in _SAID:
            raise RecipeError(f'{path}, line {line}: same is 1 or 0, yes or no, not "{row["same"]}"')
        if word:
            said[min(row["uri_a"], row["uri_b"]), max(row["uri_a"], row["uri_b"])] = _SAID[word]
    return said


def write_questions(path: str | Path, names: list[str], doubts: list[Doubt], most: int = 200) -> None:
    """The `most` alike pairs in doubt as a CSV file for a person to fill in."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["uri_a", "uri_b", "same", "cosine", "agreement"])
        for one in doubts[:most]:
            answer = "" if one.same is None else int(one.same)
            rows.writerow([names[one.first], names[one.second], answer, round(one.cosine, 4), round(one.agreement, 4)])
