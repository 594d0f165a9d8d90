"""What a run came to: how far each noun is, and the funnel from what was found to the curated set."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
from rich.table import Table

from curation import crawl_records, records
from curation.store import Store
from pipelines.config import RecipeError, parse
from pipelines.progress import tally

FUNNEL = ("images", "cleaned", "sanitized", "descriptors", "survivors", "embeddings", "selection", "shards")


def progress_of(run_dir: str) -> list[dict[str, Any]]:
    """One row per noun: parts done, rows, kept, dropped by reason, seconds of work. RecipeError if this is no run."""
    store = Store(run_dir)
    crawl = store.read_bytes("crawl.toml") is not None
    if not crawl and store.read_bytes("recipe.toml") is None:
        raise RecipeError(f"{run_dir} is not a run folder: it has no recipe.toml")
    rows = []
    for noun, meaning in (crawl_records.CRAWL_NOUNS if crawl else records.NOUNS).items():
        receipts = store.receipts(noun)
        kept, reasons = tally(receipts.values())
        rows.append({
            "noun": noun, "meaning": meaning, "parts": len(receipts), "rows": sum(r.rows for r in receipts.values()),
            "kept": kept, "reasons": reasons, "seconds": round(sum(r.seconds for r in receipts.values()), 1),
        })  # fmt: skip
    return rows


def render_progress(rows: list[dict[str, Any]]) -> Table:
    """The rows of `progress_of` as a table."""
    table = Table("noun", "what", box=None, header_style="dim")
    for name in ("parts", "rows", "kept", "work, s"):
        table.add_column(name, justify="right")
    for row in rows:
        style = None if row["parts"] else "dim"
        counts = [f"{row[name]:,}" for name in ("parts", "rows", "kept")]
        table.add_row(row["noun"], row["meaning"], *counts, f"{row['seconds']:,.1f}", style=style)
    return table


@dataclass(frozen=True)
class Summary:
    """facts: the numbers, as JSON has them."""

    facts: dict[str, Any]

    def text(self) -> Table:
        table = Table(title=f"{self.facts['curated']:,} images curated", box=None, header_style="dim", title_justify="left")
        for name in ("noun", "received", "kept", "dropped"):
            table.add_column(name, justify="left" if name == "noun" else "right")
        table.add_column("why")
        for row in self.facts["funnel"]:
            why = ", ".join(f"{count:,} {reason}" for reason, count in row["reasons"].items())
            table.add_row(row["noun"], *(f"{row[name]:,}" for name in ("received", "kept", "dropped")), why)
        table.caption = "\n".join(self.facts["notes"])
        return table


def summarise(run_dir: str) -> Summary:
    """The funnel of a finished run; also written to RUN/report/summary.json."""
    store = Store(run_dir)
    rows = {row["noun"]: row for row in progress_of(run_dir)}
    funnel = [
        {"noun": noun, "received": rows[noun]["rows"], "kept": rows[noun]["kept"],
         "dropped": rows[noun]["rows"] - rows[noun]["kept"], "reasons": rows[noun]["reasons"]}
        for noun in FUNNEL
    ]  # fmt: skip
    recipe = parse(tomllib.loads((store.read_bytes("recipe.toml") or b"").decode()))
    off = recipe.sanitized.unchecked
    notes = [f"not checked: {' and '.join(off)} (none in the recipe)"] if off else []
    if recipe.manifest.metadata == "keep":
        notes.append("metadata of exported images is kept (keep in the recipe)")
    notes += _giants(store, recipe.survivors.giant)
    notes.append(f"manifest: {run_dir}/manifest, shards: {run_dir}/curated")
    facts = {"run": run_dir, "curated": rows["shards"]["kept"], "funnel": funnel, "notes": notes}
    store.write_bytes(json.dumps(facts, indent=1).encode(), "report", "summary.json")
    store.write_bytes(json.dumps(_shard_stats(store), indent=1).encode(), "report", "shards_stats.json")
    return Summary(facts)


def _giants(store: Store, giant: int) -> list[str]:
    """A line on groups of copies of `giant` images or more, and on images that only a chain of copies ties to a group."""
    groups, chained = dict[str, int](), 0
    for _, table in store.parts("survivors").tables(["group_id", "group_size", "via"]):
        chained += table.num_rows - table["via"].null_count
        large = table.filter(pc.greater_equal(table["group_size"], giant))
        groups |= dict(zip(large["group_id"].to_pylist(), large["group_size"].to_pylist(), strict=True))
    told = [f"{len(groups):,} groups of {giant:,} images or more, the largest {max(groups.values()):,}"] if groups else []
    told += [f"{chained:,} images tied by a chain of copies only"] if chained else []
    return [f"copies: {' and '.join(told)} (curate report {store.url} giant_groups)"] if told else []


def _shard_stats(store: Store) -> dict[str, Any]:
    """Images and refusals of every curated tar, and in all."""
    shards = {f"{part:05d}.tar": {"count": r.rows, "successes": r.kept, "failed": r.rows - r.kept}
              for part, r in store.receipts("shards").items()}  # fmt: skip
    return {"shards": shards} | {name: sum(s[name] for s in shards.values()) for name in ("count", "successes", "failed")}


def crawl_text(facts: dict[str, Any]) -> Table:
    """The facts of a crawl as a table."""
    table = Table(title=f"{facts['images']:,} images fetched", box=None, header_style="dim", title_justify="left")
    for name in ("noun", "rows", "kept"):
        table.add_column(name, justify="left" if name == "noun" else "right")
    table.add_column("why not")
    for noun, row in facts["nouns"].items():
        why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(row["reasons"].items(), key=lambda one: -one[1]))
        table.add_row(noun, f"{row['rows']:,}", f"{row['kept']:,}", why)
    table.caption = f"images: {facts['crawl']}/images; as a pool: curate run --pool {facts['crawl']}"
    return table
