"""plan: what a run will take before it is made, and beside what it took afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from rich.console import Group
from rich.table import Table

from curation.store import Store
from pipelines import plan_growth
from pipelines.config import Recipe, RecipeError
from pipelines.plan_cluster import cluster_plan
from pipelines.plan_lines import added
from pipelines.plan_profile import Profile
from pipelines.plan_sample import looked_at, measure

LVD = 1_300_000_000
MIB = 2**20


def plan_here(recipe: Recipe, sample: int, images: int | None, workers: int | None) -> dict[str, Any]:
    """Seconds and bytes by noun, each (expected, low, high), of `images` (default: all the pool has) on this machine."""
    sampled = measure(recipe, sample, images, workers)
    n = images or sampled.found
    seconds = plan_growth.seconds(sampled.tries, recipe, n, sampled.rates)
    disk = plan_growth.disk(sampled.tries, recipe, n, sampled.rates)
    return {
        "images": n,
        "sampled": sample,
        "workers": sampled.rates.workers,
        "wall_s": added(list(seconds.values())),
        "disk_bytes": added(list(disk.values())),
        "binds": max(seconds, key=lambda noun: seconds[noun][0]),
        "memory_bytes": psutil.virtual_memory().total,
        "chosen": round(plan_growth.chosen_of(sampled.tries, recipe)(n)),
        "rates": asdict(sampled.rates),
        "seconds": seconds,
        "disk": disk,
    }


def plan_there(profile: Profile, images: int | None) -> dict[str, Any]:
    """The recipe of the paper on some hardware, by arithmetic (plan_cluster)."""
    return asdict(cluster_plan(profile, images or LVD))


def plan_file(out: Path) -> Path:
    """Where a plan is kept: in a file whose name ends in .json, or in the report of a run folder, there already or not."""
    return out if out.suffix == ".json" else out / "report" / "plan.json"


def write(plan: dict[str, Any], path: Path) -> None:
    """Keep a plan, to be held against the run."""
    Store(str(path.parent.absolute())).write_bytes(json.dumps(plan, indent=1).encode(), path.name)


def beside(path: Path, run: str) -> list[dict[str, Any]]:
    """Plan and fact, noun by noun and in all. Raises RecipeError if the file holds no plan of a run here."""
    try:
        plan = json.loads(path.read_text())
        planned = {"seconds": plan["seconds"], "disk": plan["disk"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path} holds no plan that curate plan --out wrote: {error}") from error
    fact = looked_at(run)
    took = {"seconds": fact.seconds, "disk": fact.disk}
    rows = []
    for what in ("seconds", "disk"):
        nouns = [noun for noun in planned[what] if noun in took[what]]
        for noun in nouns:
            rows.append(_row(what, noun, planned[what][noun], took[what][noun]))
        sums = [sum(planned[what][noun][at] for noun in nouns) for at in range(3)]
        rows.append(_row(what, "all", sums, sum(took[what][noun] for noun in nouns)))
    return rows


def _row(what: str, noun: str, planned: Sequence[float], took: float) -> dict[str, Any]:
    off = round(100 * (planned[0] / took - 1), 1) if took else None
    low, high = round(planned[1], 1), round(planned[2], 1)
    return {"what": what, "noun": noun, "plan": round(planned[0], 1), "low": low, "high": high, "fact": round(took, 1),
            "percent_off": off}  # fmt: skip


def render_here(plan: dict[str, Any]) -> Table:
    """A plan of this machine as a table."""
    wall, disk = plan["wall_s"], plan["disk_bytes"]
    title = (
        f"{plan['images']:,} images: {wall[0] / 3600:.2f} h ({wall[1] / 3600:.2f} to {wall[2] / 3600:.2f}), "
        f"{disk[0] / MIB:,.0f} MiB of disk ({disk[1] / MIB:,.0f} to {disk[2] / MIB:,.0f}); most of it: {plan['binds']}"
    )
    table = Table("noun", title=title, box=None, header_style="dim", title_justify="left")
    for name in ("seconds", "low", "high", "MiB"):
        table.add_column(name, justify="right")
    for noun, (middle, low, high) in plan["seconds"].items():
        size = plan["disk"].get(noun, (0,))[0]
        table.add_row(noun, f"{middle:,.1f}", f"{low:,.1f}", f"{high:,.1f}", f"{size / MIB:,.1f}")
    return table


def render_there(plan: dict[str, Any]) -> Group:
    """A plan of a cluster as tables: the work, and what processes hold."""
    hours, gpu, disk = plan["hours"], plan["gpu_hours"], plan["disk_tb"]
    title = (
        f"{plan['images']:,} images on {plan['cluster']}: {hours[0]:.1f} h ({hours[1]:.1f} to {hours[2]:.1f}); "
        f"{gpu[0]:,.0f} GPU-hours ({gpu[1]:,.0f} to {gpu[2]:,.0f}); binds: {plan['binds']}; disk {disk[0]:.1f} TB "
        f"({disk[1]:.1f} to {disk[2]:.1f}); network {plan['network_tb']:,.0f} TB; a process holds at most "
        f"{plan['memory_gib']:.1f} GiB{'' if plan['fits'] else ': more than a machine has'}; {plan['bf16']}"
    )
    table = Table("what", "binds", title=title, box=None, header_style="dim", title_justify="left")
    for name in ("hours", "low", "high"):
        table.add_column(name, justify="right")
    table.add_column("rate")
    table.add_column("source")
    for work in plan["works"]:
        table.add_row(work["noun"], work["binds"], *(f"{h:.2f}" for h in work["hours"]), work["rate"], work["source"])
    memory = Table("process of", "GiB", "what it holds", box=None, header_style="dim")
    for one in plan["memory"]:
        memory.add_row(one["noun"], f"{one['gib']:.1f}", one["holds"])
    return Group(table, memory)


def render_beside(rows: list[dict[str, Any]]) -> Table:
    """Plan and fact as a table."""
    table = Table("what", "noun", box=None, header_style="dim")
    for name in ("plan", "low", "high", "fact", "% off"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (f"{row[name]:,.1f}" for name in ("plan", "low", "high", "fact"))
        table.add_row(row["what"], row["noun"], *numbers, "" if row["percent_off"] is None else f"{row['percent_off']:+.1f}")
    return table
