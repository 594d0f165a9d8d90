"""calibrate: thresholds of a copy network for a user's own images, from edits of a sample of them.

Two ways of telling copies are measured side by side: the cosine alone, and the cosine with the agreement of thumbnails
(`confirm`), as `edges` and `survivors` use them. The statistics are curation/thresholds.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from curation import thresholds
from curation.thresholds import Curve, Pairs, Pool
from pipelines.config import Recipe, RecipeError
from pipelines.evidence import Evidence, Said, gather, read_labels
from pipelines.flow import network
from pipelines.specimens import EDITS, Editing, Sample, Specimens, draw, prepare

COSINES = np.concatenate([np.arange(200, 980, 5), np.arange(980, 1001)]) / 1000
SUMS = np.concatenate([np.arange(600, 1950, 10), np.arange(1950, 2001, 2)]) / 1000
PRECISE, LEAST_RECALL = 0.99, 0.5  # copies can be told apart if a threshold has this precision (lower bound) and recall
CAUGHT, INNOCENTS = 0.99, 0.01  # of edits of protected images; of unrelated images, by 1,000 protected ones
WORTH = 0.02  # recall that looking at pairs must add to be recommended
EDITED = 3  # one in so many originals is edited
FEWEST = 60  # originals


@dataclass(frozen=True, kw_only=True)
class Question:
    """What `curate calibrate` was asked. pool_size: None takes the images found in the sources."""

    sources: tuple[str, ...]
    network: str = "copy-small"
    images: int = 3000
    seed: int = 0
    pool_size: int | None = None
    copies: float = 0.1
    everyday: int = 2
    hard: int = 1


@dataclass(frozen=True)
class Way:
    """One way of telling copies. curve: in the pool; small: in a pool of the sample's size; best, best_small: the lowest
    threshold that is good enough in each, if one is."""

    true: Pairs
    false: Pairs
    curve: Curve
    small: Curve
    best: int | None
    best_small: int | None

    @property
    def at(self) -> int:
        """The recommended threshold, or else the best trade-off."""
        return thresholds.trade_off(self.curve) if self.best is None else self.best

    @property
    def threshold(self) -> float:
        return float(self.curve.threshold[self.at])


@dataclass(frozen=True)
class Calibration:
    """What was measured, and what follows from it."""

    question: Question
    digest: str
    sample: Sample
    names: list[str]
    pool: Pool
    evidence: Evidence
    cosine: Way
    confirmed: Way

    @property
    def separable(self) -> bool:
        return self.cosine.best is not None or self.confirmed.best is not None

    @property
    def separable_small(self) -> bool:
        """Whether copies can be told apart in a pool of the sample's size."""
        return self.cosine.best_small is not None or self.confirmed.best_small is not None

    @property
    def confirm(self) -> bool:
        """Whether looking at pairs is worth its time."""
        if (self.cosine.best is None) != (self.confirmed.best is None):
            return self.cosine.best is None
        own, looked = (way.curve.recall[0][way.at] for way in (self.cosine, self.confirmed))
        return bool(looked > own + WORTH)

    @property
    def way(self) -> Way:
        return self.confirmed if self.confirm else self.cosine

    @property
    def reference(self) -> int:
        """Of COSINES: where an image counts as a copy of a protected one, if the cosine alone decides."""
        at = thresholds.reference(self.cosine.curve, CAUGHT, INNOCENTS)
        return at if self.cosine.best is None else min(at, self.cosine.best)

    @property
    def recommended(self) -> dict[str, float]:
        """Values for [survivors]. Where copies cannot be told apart, only equal descriptors make a pair in the pool."""
        if self.separable and self.confirm:
            floor = self.evidence.floor
            return {"self_similarity": floor, "reference_similarity": floor, "confirm": self.way.threshold}
        own = self.way.threshold if self.separable else 1.0
        return {"self_similarity": own, "reference_similarity": float(COSINES[self.reference]), "confirm": 0.0}

    @property
    def looks(self) -> float:
        """Pairs that a run would look at for each image of the pool."""
        false = self.evidence.false
        return self.pool.images * float(false.weight[false.score >= self.evidence.floor].sum())

    @property
    def vouched(self) -> int:
        """The largest pool for which the way's threshold is vouched for by counting alone (thresholds.vouched)."""
        way = self.way
        counted = float(way.false.weight[way.false.score >= way.threshold].sum())
        return thresholds.vouched(float(way.curve.recall[0][way.at]), counted, len(self.names), self.pool.copies, PRECISE)

    @property
    def if_doubts_are_false(self) -> float:
        """Precision if all pairs in doubt that were left out are pairs of different pictures."""
        left = [d for d in self.evidence.doubts if d.same is None and not self.evidence.kin]
        score = np.array([d.cosine + (d.agreement if self.confirm else 0) for d in left])
        n, way = len(self.names), self.way
        rate = float((score >= way.threshold).sum()) * (1 - self.pool.copies) ** 2 / (n * (n - 1) / 2)
        rate += thresholds.false_match_rates(way.false, way.curve.threshold, np.ones((1, n), np.int64))[0][0, way.at]
        return float(thresholds.precision(way.curve.recall[0][way.at], np.float64(rate), self.pool))

    def per_edit(self) -> list[dict[str, Any]]:
        """Recall of each kind of edit at the recommended threshold, with Wilson's interval."""
        edited, out = self.evidence.edited, []
        for kind, edit in enumerate(EDITS):
            pairs = edited.pairs(edited.kind == kind, self.evidence.floor if self.confirm else None)
            if not len(pairs.score):
                continue
            share = float((pairs.score >= self.way.threshold).mean())
            low, high = (float(end) for end in thresholds.wilson(np.float64(share), len(pairs.score)))
            sort = "everyday" if edited.everyday[edited.kind == kind].any() else "hard"
            out.append({"name": edit.name, "strength": edit.strength, "kind": sort, "pairs": len(pairs.score),
                        "recall": round(share, 3), "recall_low": round(low, 3), "recall_high": round(high, 3)})  # fmt: skip
        return out


def calibrate(question: Question, labels: str | Path | None = None, floor: float | None = None) -> Calibration:
    """Draw, edit, describe, count. floor: see evidence.gather. Raises SourceError and RecipeError for what a user can mend."""
    said = read_labels(labels) if labels else {}
    recipe = Recipe()
    recipe = replace(recipe, descriptors=replace(recipe.descriptors, network=question.network))
    encoder = network(question.network)
    sample = draw(question.sources, question.images, question.seed, recipe)
    edited = -(-min(question.images, sample.rows.num_rows) // EDITED)
    editing = Editing(question.images, edited, question.everyday, question.hard, question.seed)
    specimens = prepare(sample, encoder, recipe, editing)
    if len(specimens.names) < FEWEST:
        raise RecipeError(f"{len(specimens.names)} usable images: too few to calibrate on, at least {FEWEST} are needed")
    return measure(question, encoder.digest, sample, specimens, said, floor)


def measure(
    question: Question, digest: str, sample: Sample, specimens: Specimens, said: Said, floor: float | None = None
) -> Calibration:
    """The statistics of described specimens. floor: see evidence.gather."""
    n = len(specimens.names)
    pool = Pool(question.pool_size or max(sample.found, n), question.copies)
    evidence = gather(specimens, pool, np.random.default_rng([question.seed, 1]), said, floor)
    edited = evidence.edited
    cosine = _way(edited.pairs(edited.everyday, None), evidence.false, COSINES, pool, question.seed, n)
    confirmed = _way(edited.pairs(edited.everyday, evidence.floor), evidence.false_sums, SUMS, pool, question.seed, n)
    return Calibration(question, digest, sample, specimens.names, pool, evidence, cosine, confirmed)


def _way(true: Pairs, false: Pairs, grid: thresholds.Floats, pool: Pool, seed: int, n: int) -> Way:
    draws = thresholds.resamples(n, seed)
    found, small = (thresholds.curve(true, false, grid, one, draws) for one in (pool, Pool(n, pool.copies)))
    best, best_small = (thresholds.recommend(one, PRECISE, LEAST_RECALL) for one in (found, small))
    return Way(true, false, found, small, best, best_small)
