"""What `curate calibrate` says and writes: facts for programs, a report for people, a recipe for `curate run`."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from curation.thresholds import Curve
from pipelines.calibrate import CAUGHT, INNOCENTS, LEAST_RECALL, PRECISE, Calibration, Way
from pipelines.evidence import Doubt, write_questions

ROWS = 12  # of a table for people
INSEPARABLE = "copies cannot be told apart by this network on these images"
_WAYS = {"self_similarity": "cosine alone", "confirm": "cosine + agreement of thumbnails"}


def facts(found: Calibration) -> dict[str, Any]:
    """Everything, as JSON. `best_trade_off` is the highest F1; it is not recommended where `separable` is false."""
    way = found.way
    best = rows(way)[way.at]
    return {
        **_done(found),
        "edits": found.per_edit(),
        "separable": found.separable,
        "separable_small": found.separable_small,
        "verdict": verdict(found),
        "recommended": found.recommended,
        "decides": _decides(found),
        "expected": best if found.separable else None,
        "best_trade_off": None if found.separable else best,
        "reference": _reference(found),
        "looks_per_image": round(found.looks, 2) if found.confirm else 0.0,
        "pool_size_without_tail": found.vouched,
        "borderline": [_doubt(found, one) for one in found.evidence.doubts],
        "labels_used": found.evidence.labels,
        "borderline_count_as": "false" if found.evidence.kin else "neither",
        "precision_if_borderline_are_false": round(found.if_doubts_are_false, 4),
        "self_similarity": rows(found.cosine),
        "confirm": rows(found.confirmed),
    }


def _done(found: Calibration) -> dict[str, Any]:
    return {
        "network": found.question.network,
        "digest": found.digest,
        "seed": found.question.seed,
        "images": len(found.names),
        "found": found.sample.found,
        "passed_over": dict(sorted(found.sample.passed_over.items())),
        "pool_size": found.pool.images,
        "copies": found.pool.copies,
    }


def _decides(found: Calibration) -> str:
    return "confirm" if found.confirm else "self_similarity"


def rows(way: Way) -> list[dict[str, float]]:
    """Each threshold of a way, with precision in the pool and in one of the sample's size (`precision_small`)."""
    small = ([float(f"{v[at]:.4g}") for v in way.small.precision] for at in range(len(way.curve.threshold)))
    names = ("precision_small", "precision_small_low", "precision_small_high")
    return [way.curve.row(at) | dict(zip(names, values, strict=True)) for at, values in enumerate(small)]


def _reference(found: Calibration) -> dict[str, float]:
    curve = found.way.curve if found.separable and found.confirm else found.cosine.curve
    row = curve.row(found.way.at if found.separable and found.confirm else found.reference)
    return {name: value for name, value in row.items() if not name.startswith("precision")}


def _doubt(found: Calibration, one: Doubt) -> dict[str, Any]:
    return {"uri_a": found.names[one.first], "uri_b": found.names[one.second], "cosine": round(one.cosine, 4),
            "agreement": round(one.agreement, 4), "same": one.same}  # fmt: skip


def verdict(found: Calibration) -> str:
    """One or two sentences: can copies be told apart, where, and how well."""
    way = found.way
    row = rows(way)[way.at]
    at = f"{_decides(found)} {row['threshold']}"
    shown = f"recall {_interval(row, 'recall')}, precision {_interval(row, 'precision')} in a pool of {found.pool.images:,}"
    if found.separable:
        return f"copies can be told apart: {at}, {shown}"
    return f"{INSEPARABLE}: no threshold has precision {PRECISE} (lower bound) at recall {LEAST_RECALL}. Best: {at}, {shown}"


def report(found: Calibration) -> str:
    """For people: what was done, both tables, what is in doubt, what to do."""
    return "\n\n".join([_made(found), *_tables(found), _edits(found), _tail(found), _doubts(found), _advice(found)]) + "\n"


def fragment(found: Calibration) -> str:
    """A recipe with the values and, as comments, how they were found."""
    name = found.question.network
    name = os.path.abspath(name) if os.path.isfile(name) else name
    values = tomli_w.dumps({"descriptors": {"network": name}, "survivors": found.recommended})
    told = [f"# {line}".rstrip() for line in ["Written by `curate calibrate`.", "", *report(found).rstrip().split("\n")]]
    use = "# curate run --recipe THIS --pool ... --seeds ...; or copy both sections into a recipe of your own."
    return "\n".join([*told, "#", use, "", values])


def write(found: Calibration, out: Path | None, ask: Path | None) -> None:
    """The recipe and the questions, where they are asked for."""
    if out:
        out.write_text(fragment(found), encoding="utf-8")
    if ask:
        write_questions(ask, found.names, found.evidence.doubts)


def _interval(row: dict[str, float], name: str) -> str:
    return f"{row[name]:.3f} [{row[name + '_low']:.3f}, {row[name + '_high']:.3f}]"


def _made(found: Calibration) -> str:
    asked, passed = found.question, sum(found.sample.passed_over.values())
    return _wrapped(
        f"Network {asked.network} ({found.digest[:12]}) on {len(found.names):,} of {found.sample.found:,} images, seed "
        f"{asked.seed}{f', {passed} passed over as a run would' if passed else ''}. One in three was edited; the recall "
        f"below is that of the everyday edits. Precision is for a pool of {found.pool.images:,} images of which "
        f"{found.pool.copies:.0%} are edited copies of another one in it; intervals are 95%."
    )


def _tables(found: Calibration) -> list[str]:
    """A table for each way of telling copies."""
    ways = (("self_similarity", found.cosine), ("confirm", found.confirmed))
    return [f"{name} ({_WAYS[name]})\n" + _aligned(_cells(found, way)) for name, way in ways]


def _cells(found: Calibration, way: Way) -> list[list[str]]:
    shown = {"recall": "recall", "precision": f"precision at {found.pool.images:,}"}
    if found.pool.images != len(found.names):
        shown |= {"precision_small": f"precision at {len(found.names):,}"}
    shown |= {"lost": "lost per 1,000 protected"}
    made, out = rows(way), [["", *shown.values(), ""]]
    for at in _shown(way.curve, way.at):
        mark = "" if at != way.at or way is not found.way else "<- recommended" if found.separable else "<- best trade-off"
        out.append([f"{made[at]['threshold']:.3f}", *(_interval(made[at], name) for name in shown), mark])
    return out


def _shown(curve: Curve, always: int) -> list[int]:
    """A dozen thresholds where recall or precision moves, and the one that is spoken of."""
    recall, precise = curve.recall[0], curve.precision[0]
    moving = np.flatnonzero((recall > 0.02) & (precise > 0.02) & (recall < 0.9999))
    moving = moving if len(moving) else np.arange(len(recall))
    picked = moving[np.unique(np.linspace(0, len(moving) - 1, ROWS).round().astype(int))]
    return sorted({*picked.tolist(), always})


def _edits(found: Calibration) -> str:
    made = found.per_edit()
    value = f"{_decides(found)} {found.way.threshold:.3f}"
    cells = [[one["kind"], one["name"], one["strength"], str(one["pairs"]), _interval(one, "recall")] for one in made]
    return f"recall by edit at {value}\n" + _aligned([["", "edit", "strength", "pairs", "recall"], *cells])


def _tail(found: Calibration) -> str:
    times = found.pool.images / len(found.names)
    return _wrapped(
        "How far this reaches: false pairs grow with the square of a pool, copies in proportion to it, so there are "
        f"{times:,.3g} times as many false pairs for each copy as in a pool of the sample's size. Their share is counted in "
        "the sample; beyond its 200 most alike pairs of originals it is taken to go on falling as it does there (exponentially "
        "with the angle between descriptors), and the interval is the widest of fits to 200 and 800 pairs and of the count. "
        "Kinds of likeness that the sample did not meet are not in it: by counting alone, without that assumption, it vouches "
        f"for a pool of {found.vouched:,}. More --images narrow all of it."
    )


def _doubts(found: Calibration) -> str:
    doubts, worst = found.evidence.doubts, found.if_doubts_are_false
    if not doubts:
        return "No two different images of the sample look like copies of one another."
    rule = f"they count neither as true nor as false; if all are different pictures, precision is {worst:.3f}."
    if found.evidence.kin:
        rule = "so many of one kind count as false: this domain is like that, or full of copies."
    how = "--ask FILE lists them to be labelled, --labels FILE uses the labels."
    first = (_doubt(found, one) for one in doubts[:3])
    lines = [f"  {one['uri_a']}  {one['uri_b']}  {one['cosine']:.3f} + {one['agreement']:.3f}" for one in first]
    return "\n".join([_wrapped(f"{len(doubts)} pairs of different images look as alike as copies do; {rule} {how}"), *lines])


def _advice(found: Calibration) -> str:
    values = "\n".join(f"{name} = {value}" for name, value in found.recommended.items())
    looks = f" A run would look at {found.looks:.1f} pairs for each image." if found.confirm and found.separable else ""
    told = [f"Verdict: {verdict(found)}.{looks}", *([] if found.separable else [_remedy(found)])]
    return "\n".join([*map(_wrapped, told), values, _wrapped(_leaks(_reference(found)))])


def _remedy(found: Calibration) -> str:
    small = (
        f"In a pool of {len(found.names):,} they can be; for {found.pool.images:,} the sample is too small to say so, or the "
        "pool too large for this network: more --images narrow the intervals. "
    )
    return (small if found.separable_small else "") + (
        "What to do: take a larger copy network (--network FILE), or drop exact duplicates only: with the values below equal "
        "descriptors alone make a pair, and exact and near-exact duplicates go as before."
    )


def _leaks(row: dict[str, float]) -> str:
    return (
        f"Protected images: the reference value finds {_interval(row, 'recall')} of their edits, and of unrelated images loses "
        f"{_interval(row, 'lost')} to each 1,000 of them (wanted: {CAUGHT} found, if no more than {INNOCENTS} are lost)."
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 118)


def _aligned(cells: list[list[str]]) -> str:
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
