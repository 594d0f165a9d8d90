"""Do the thresholds that `curate calibrate` recommends differ from domain to domain, and hold on other images of the same?

    python -m tests.bench.bench_calibrate --json

Three domains: photographs (a folder, tar or Parquet file of yours), drawn pages on shared templates, drawn chest films.
Each is calibrated on one draw of images and edits, and the value found (or, where copies cannot be told apart, the best
trade-off) is measured on a second draw: other images, other edits. `recall_held`, `precision_held`: the second draw's
value lies within the first's 95% interval; two draws vary, so one in six or so should not. With --crowd N the false match
rates predicted from 16 samples of N photographs are compared with those counted among all of them.
The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from curation import thresholds
from curation.thresholds import Pairs, most_alike
from pipelines.calibrate import Calibration, Question, Way, calibrate
from pipelines.calibrated import facts, report
from pipelines.config import Recipe
from pipelines.flow import network
from pipelines.specimens import Editing, draw, prepare
from tests.bench.drawn_domains import DRAWN, draw_domain

CROWD_COSINES, DRAWS = np.array([0.5, 0.6, 0.7, 0.8, 0.85, 0.9]), 16


def sources(name: str, photographs: str, scratch: Path, images: int, seed: int) -> tuple[str, ...]:
    """Where the images of a domain lie; a drawn one is drawn, anew for every seed."""
    if name == "photographs":
        return (photographs,)
    return (str(draw_domain(name, scratch / f"{name}-{seed}", images, seed)),)


def compare(name: str, args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """One domain: calibrate on the first draw, measure the value found on the second."""
    began, images = time.monotonic(), args.images if name == "photographs" else args.drawn
    common = {"network": args.network, "images": images, "pool_size": args.pool_size, "copies": args.copies, "hard": 0}
    first, second = (
        Question(sources=sources(name, args.photographs, scratch, images, seed), seed=seed, **common) for seed in args.seeds
    )
    found = calibrate(first)
    again = calibrate(second, floor=found.evidence.floor)
    if not args.json:
        print(f"== {name}\n{report(found)}")
    told = facts(found)
    kept = (
        "separable",
        "separable_small",
        "decides",
        "recommended",
        "looks_per_image",
        "reference",
        "edits",
        "borderline_count_as",
    )
    out = {key: told[key] for key in kept} | {"borderline": len(told["borderline"]), "images": told["images"]}
    return out | held(found, again) | {"table": thin(told[told["decides"]]), "seconds": round(time.monotonic() - began, 1)}


def held(found: Calibration, again: Calibration) -> dict[str, Any]:
    """The value found, on the first draw and on the second."""
    at, (one, two) = found.way.at, ((c.confirmed if found.confirm else c.cosine) for c in (found, again))
    first, second = one.curve.row(at), two.curve.row(at)
    counted = counted_precision(two, float(one.curve.threshold[at]), again)
    out: dict[str, Any] = {
        "verdict_held": found.separable == again.separable,
        "first": first,
        "second": second,
        "second_precision_by_count": round(counted, 4),
    }
    for name in ("recall", "precision"):
        out[f"{name}_held"] = first[f"{name}_low"] <= second[name] <= first[f"{name}_high"]
        out[f"{name}_overlaps"] = (
            first[f"{name}_low"] <= second[f"{name}_high"] and second[f"{name}_low"] <= first[f"{name}_high"]
        )
    return out


def counted_precision(way: Way, threshold: float, found: Calibration) -> float:
    """Precision in the pool by the bare count of false pairs, without a tail."""
    recall, rate = (float(p.weight[p.score >= threshold].sum()) for p in (way.true, way.false))
    return float(thresholds.precision(np.float64(recall), np.float64(rate), found.pool))


def thin(rows: list[dict[str, float]], most: int = 12) -> list[dict[str, float]]:
    """A few rows of a table, where precision moves."""
    moving = [row for row in rows if row["recall"] > 0.02 and 0.02 < row["precision"] < 0.9999]
    return moving[:: max(1, len(moving) // most)]


def crowd(args: argparse.Namespace) -> list[dict[str, float]]:
    """False match rates predicted from DRAWS samples of a crowd, and their intervals, beside those counted in all of it."""
    vectors, chance = described(args, args.crowd, 77), np.random.default_rng(0)
    everyone = different(vectors)
    counted = np.array([everyone.weight[everyone.score >= cosine].sum() for cosine in CROWD_COSINES])
    draws = thresholds.resamples(args.images, 0)
    found = [different(vectors[chance.permutation(len(vectors))[: args.images]]) for _ in range(DRAWS)]
    bands = np.array([thresholds.bound(thresholds.false_match_rates(one, CROWD_COSINES, draws)) for one in found])
    held = (bands[:, 1] <= counted) & (counted <= bands[:, 2])
    rows = zip(CROWD_COSINES, counted, np.median(bands, 0).T, held.sum(0), strict=True)
    return [{"cosine": float(c), "counted": float(f"{n:.2g}"), "predicted": float(f"{p[0]:.2g}"), "low": float(f"{p[1]:.2g}"),
             "high": float(f"{p[2]:.2g}"), "intervals_held": int(h), "intervals": DRAWS} for c, n, p, h in rows]  # fmt: skip


def described(args: argparse.Namespace, images: int, seed: int) -> np.ndarray:
    recipe = Recipe()
    sample = draw((args.photographs,), images, seed, recipe)
    return prepare(sample, network(args.network), recipe, Editing(images, 0, 0, 0, seed)).vectors


def different(vectors: np.ndarray) -> Pairs:
    """All pairs of different images."""
    i, j, cosine = most_alike(vectors, np.arange(len(vectors)))
    return Pairs(cosine.astype(np.float64), i, j, np.full(len(cosine), 2 / (len(vectors) * (len(vectors) - 1))))


def main() -> None:
    """Calibrate each domain, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", default="../shared/data/pool")
    parser.add_argument("--network", default="copy-small")
    parser.add_argument("--images", type=int, default=720, help="photographs of each draw")
    parser.add_argument("--drawn", type=int, default=300, help="pages and films of each draw")
    parser.add_argument("--pool-size", type=int, default=1000)
    parser.add_argument("--copies", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 1])
    parser.add_argument("--domains", nargs="+", default=["photographs", *DRAWN])
    parser.add_argument("--crowd", type=int, default=0, help="photographs to count false pairs among; slow")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result: dict[str, Any] = {name: compare(name, args, Path(scratch)) for name in args.domains}
    values = {tuple(result[name]["recommended"].values()) for name in args.domains}
    result |= {"all_differ": len(values) == len(args.domains), "pool_size": args.pool_size, "copies": args.copies}
    result |= {"network": args.network, "digest": network(args.network).digest}
    if args.crowd:
        result["crowd"] = crowd(args)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
