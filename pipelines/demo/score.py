"""What the run found, against what was planted. Tables are joined by the hash of the bytes alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from rich.table import Table

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Score:
    """Shares are 0..1; `misses` names hostile files that were dropped for another reason than they should be."""

    exact_duplicates: float
    copy_recall: float
    copy_precision: float
    protected_left: int
    hostile: float
    retrieval_precision: float
    misses: list[str] = field(default_factory=list)

    def lines(self) -> list[tuple[str, str, str, bool]]:
        """(what, found, wanted, whether it is met)."""
        return [
            ("exact duplicates found", f"{self.exact_duplicates:.1%}", "100%", self.exact_duplicates == 1),
            ("edited copies found (recall)", f"{self.copy_recall:.1%}", ">= 95%", self.copy_recall >= 0.95),
            ("removed as copies, rightly (precision)", f"{self.copy_precision:.1%}", ">= 99%", self.copy_precision >= 0.99),
            ("copies of the protected set left in", str(self.protected_left), "0", self.protected_left == 0),
            ("hostile files with their reason", f"{self.hostile:.1%}", "100%", self.hostile == 1),
            (
                "retrieved images of the seed's concept",
                f"{self.retrieval_precision:.1%}",
                ">= 80%",
                self.retrieval_precision >= 0.8,
            ),
        ]

    @property
    def met(self) -> bool:
        return all(ok for *_, ok in self.lines())


def score(truth: pa.Table, seeds: pa.Table, tables: dict[str, pa.Table]) -> Score:
    """truth, seeds: as `build_world` wrote them. tables: images, cleaned, survivors, manifest (curation.records)."""
    known = truth.to_pylist()
    ids = {row["sha256"][:32]: row for row in known}
    fate = _fates(tables)
    recall, precision = _copies(known, ids, fate)
    share, misses = _hostile(known, tables["images"].to_pylist(), fate)
    return Score(
        exact_duplicates=_exact(known, tables["images"].to_pylist()),
        copy_recall=recall,
        copy_precision=precision,
        protected_left=_left(known, tables["manifest"]),
        hostile=share,
        retrieval_precision=_retrieval(ids, seeds, tables["manifest"].to_pylist()),
        misses=misses,
    )


def _fates(tables: dict[str, pa.Table]) -> dict[str, dict[str, Any]]:
    """image_id -> its row where it was dropped last, or its survivors row."""
    return {row["image_id"]: row for name in ("cleaned", "survivors") for row in tables[name].to_pylist()}


def _exact(known: Rows, images: Rows) -> float:
    """Share of byte-identical extra files that were dropped as such."""
    copies = defaultdict(int)
    for row in known:
        copies[row["sha256"]] += row["kind"] in ("original", "exact_duplicate")
    extra = sum(n - 1 for n in copies.values() if n > 1)
    twins = {sha for sha, n in copies.items() if n > 1}
    found = sum(row["drop_reason"] == "exact_duplicate" and row["sha256"] in twins for row in images)
    return found / extra if extra else 1.0


def _copies(known: Rows, ids: dict[str, dict[str, Any]], fate: dict[str, dict[str, Any]]) -> tuple[float, float]:
    """Recall: planted copies tied to their original. Precision: images dropped as copies whose cause is of their family."""
    planted = [row for row in known if row["kind"] == "edited_copy" and row["sha256"][:32] in fate]
    of_family = {row["family"]: row["sha256"][:32] for row in known if row["kind"] == "original"}
    tied = sum(_tied(fate, row["sha256"][:32], of_family[row["family"]]) for row in planted)
    dropped = [
        (name, row["drop_cause"])
        for name, row in fate.items()
        if row["drop_reason"] in ("copy", "near_exact_duplicate") and name in ids
    ]
    right = sum(cause in ids and ids[name]["family"] == ids[cause]["family"] for name, cause in dropped)
    return tied / max(1, len(planted)), right / max(1, len(dropped))


def _tied(fate: dict[str, dict[str, Any]], copy: str, original: str) -> bool:
    """Whether both are in one group, followed through near-exact duplicates."""
    a, b = (_root(fate, name) for name in (copy, original))
    return a == b or (
        a in fate and b in fate and fate[a].get("group_id") is not None and fate[a].get("group_id") == fate[b].get("group_id")
    )


def _root(fate: dict[str, dict[str, Any]], name: str) -> str:
    while name in fate and fate[name]["drop_reason"] == "near_exact_duplicate":
        name = fate[name]["drop_cause"]
    return name


def _left(known: Rows, manifest: pa.Table) -> int:
    curated = set(manifest["sha256"].to_pylist())
    return sum(row["kind"] == "protected_copy" and row["sha256"] in curated for row in known)


def _hostile(known: Rows, images: Rows, fate: dict[str, dict[str, Any]]) -> tuple[float, list[str]]:
    """Share of the broken files whose row has the expected reason, and the others."""
    later = {name: row["drop_reason"] for name, row in fate.items()}
    reasons = {(row["uri"], row["member"]): row["drop_reason"] or later.get(row["image_id"]) for row in images}
    broken, misses = [row for row in known if row["kind"] == "broken"], []
    for row in broken:
        got = next(
            (
                r
                for (uri, member), r in reasons.items()
                if uri.endswith("/" + row["container"]) and member in (row["member"], None)
            ),
            "no row",
        )
        if got != row["expected"]:
            misses.append(f"{row['container']} {row['member'] or ''}: {got}, not {row['expected']}")
    return 1 - len(misses) / max(1, len(broken)), misses


def _retrieval(ids: dict[str, dict[str, Any]], seeds: pa.Table, manifest: Rows) -> float:
    """Share of the sampled images that show the concept of the seed image that retrieved them."""
    wanted = {row["sha256"][:32]: row["concept"] for row in seeds.to_pylist()}
    sampled = [row for row in manifest if row["mode"] == "sample"]
    right = sum(row["image_id"] in ids and ids[row["image_id"]]["concept"] == wanted[row["seed_id"]] for row in sampled)
    return right / max(1, len(sampled))


def render(found: Score) -> Table:
    """The score beside what is wanted."""
    table = Table("against the truth", box=None, header_style="bold", title_justify="left")
    for name in ("found", "wanted", ""):
        table.add_column(name, justify="right")
    for what, value, wanted, ok in found.lines():
        table.add_row(what, value, wanted, "[green]ok[/green]" if ok else "[red]no[/red]")
    for miss in found.misses:
        table.add_row(f"  [red]{miss}[/red]", "", "", "")
    return table
