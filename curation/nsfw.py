"""From the scores of one or more NSFW detectors to a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RULES = ("any", "mean", "all")
Scores = Mapping[str, float]  # class -> score, 0..1


@dataclass(frozen=True)
class Verdict:
    """ratio: score / limit, joined over the detectors by the rule; the image is unsafe from 1 up.

    score, limit, unsafe_class, detector: of the class with the highest ratio; detector is its number.
    """

    ratio: float
    score: float
    limit: float
    unsafe_class: str
    detector: int


def judge(scores: Sequence[Scores], limits: Sequence[Scores], rule: str) -> Verdict | None:
    """The verdict of several detectors on one image; None if no class of theirs has a limit.

    scores, limits: per detector, class -> value; a class without a limit is never held against an image. "any": the
    highest ratio of all detectors decides, "all": the lowest of each detector's highest, "mean": their mean.
    """
    worst = [_worst(at, one, limits[at]) for at, one in enumerate(scores)]
    found = [verdict for verdict in worst if verdict is not None]
    if not found:
        return None
    ratios = [verdict.ratio for verdict in found]
    joined = {"any": max(ratios), "all": min(ratios), "mean": sum(ratios) / len(ratios)}[rule]
    top = max(found, key=lambda verdict: verdict.ratio)
    return Verdict(joined, top.score, top.limit, top.unsafe_class, top.detector)


def _worst(detector: int, scores: Scores, limits: Scores) -> Verdict | None:
    ratios = {name: scores.get(name, 0.0) / limit for name, limit in limits.items()}
    if not ratios:
        return None
    name = max(ratios, key=lambda one: ratios[one])
    return Verdict(ratios[name], scores.get(name, 0.0), limits[name], name, detector)
