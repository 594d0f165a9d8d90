"""survivors: one image of every group of copies, and none that copies a protected image.

Source: DINOv2 paper, appendix A.3: connected components, one kept of each; components that hold an image of an
evaluation set are dropped whole.

Differs from the paper: the edges that tie an image to a protected one count between those two only, so that the lower
reference threshold does not chain the pool together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import records
from curation.graph.components import components, ends
from curation.stage import WholeStage, derived
from curation.store import Parts, join


@dataclass(frozen=True, kw_only=True)
class SurvivorsConfig:
    """When two images are copies. All three values belong to the copy network: None takes the network's own, but for
    `confirm` where the recipe names a cosine itself: then the cosine alone decides."""

    self_similarity: float | None = None
    """Cosine from which two pool images are alleged to be copies (0.60 for SSCD in the paper)."""
    reference_similarity: float | None = None
    """Cosine from which an image is alleged to copy a protected one (0.45 for SSCD in the paper)."""
    confirm: float | None = None
    """Cosine + agreement of the thumbnails (curation/align.py) from which an alleged pair is believed.
    0: the cosine alone decides, as in the paper."""
    k: int = 64
    """Most copies looked at per image."""
    as_is: tuple[str, ...] = derived()
    """Seed sets that enter the manifest as they are: pool copies of them give way."""

    def __post_init__(self) -> None:
        for name in ("self_similarity", "reference_similarity"):
            value = getattr(self, name)
            if value is not None and not -1 <= value <= 1:
                raise ValueError(f"{name} is a cosine, -1 to 1, not {value}")


def judge(inputs: Mapping[str, Parts], cfg: SurvivorsConfig) -> Iterator[tuple[int, pa.Table]]:
    """records.SURVIVORS for every described image. Only images with an edge are held in memory."""
    edges = _believed(inputs["edges"].whole(), cfg.confirm)
    groups = _Groups(_facts(inputs, ends(edges)), edges, cfg)
    for part in inputs["descriptors"].numbers:
        images = inputs["images"].kept_part(part, ["image_id", "sets"])
        rows = join(inputs["descriptors"].kept_part(part, ["image_id"]), images).to_pylist()
        judged = [row | groups.verdict(row["image_id"], row["sets"]) for row in rows]
        yield part, pa.Table.from_pylist(judged, schema=records.SURVIVORS)


def _believed(edges: pa.Table, confirm: float | None) -> pa.Table:
    """The edges whose cosine and agreement of thumbnails come to at least `confirm`; all of them if that is 0."""
    return edges.filter(pc.greater_equal(pc.add(edges["similarity"], edges["agreement"]), confirm)) if confirm else edges


def _facts(inputs: Mapping[str, Parts], ids: pa.Array) -> dict[str, dict[str, Any]]:
    """Sets and size of the images that have an edge."""
    wanted = ["image_id", "sets", "width", "height", "length"]
    tables = (table.filter(pc.is_in(table["image_id"], ids)) for _, table in inputs["images"].kept(wanted))
    return {row["image_id"]: row for table in tables for row in table.to_pylist()}


class _Groups:
    """Connected components of the rivals' edges, their representatives, and what touches a protected image."""

    def __init__(self, facts: dict[str, dict[str, Any]], edges: pa.Table, cfg: SurvivorsConfig) -> None:
        self.facts, self.cfg = facts, cfg
        self.as_is = {records.SEED_PREFIX + name for name in cfg.as_is}
        self.touch: dict[str, tuple[float, str]] = {}  # image -> highest similarity to a protected image, and which
        self.strongest: dict[str, float] = {}
        self.direct: dict[tuple[str, str], float] = {}
        self.group: dict[str, list[str]] = {}
        self._read(edges)

    def _read(self, edges: pa.Table) -> None:
        a, b, s = (edges[name].to_pylist() for name in ("a", "b", "similarity"))
        ties: list[tuple[str, str]] = []
        for x, y, similarity in zip(a, b, s, strict=True):
            for one, other in ((x, y), (y, x)):
                if self._is_protected(other):
                    self.touch[one] = max(self.touch.get(one, (-2.0, "")), (similarity, other))
            if self._is_rival(x) and self._is_rival(y) and similarity >= (self.cfg.self_similarity or 0):
                ties.append((x, y))
                self.direct[x, y] = self.direct[y, x] = similarity
                self.strongest[x] = max(self.strongest.get(x, -2.0), similarity)
                self.strongest[y] = max(self.strongest.get(y, -2.0), similarity)
        self._connect(ties)

    def _connect(self, ties: list[tuple[str, str]]) -> None:
        names = sorted(self.strongest)
        number = {name: at for at, name in enumerate(names)}
        a = np.array([number[x] for x, _ in ties], np.int64)
        b = np.array([number[y] for _, y in ties], np.int64)
        labels = components(len(names), a, b)
        for start in np.split(np.argsort(labels, kind="stable"), np.flatnonzero(np.diff(np.sort(labels))) + 1):
            members = sorted((names[at] for at in start), key=self._rank)
            self.group |= dict.fromkeys(members, members)

    def _is_protected(self, name: str) -> bool:
        return any(s.startswith(records.PROTECT_PREFIX) for s in self.facts[name]["sets"])

    def _is_rival(self, name: str) -> bool:
        sets = self.facts[name]["sets"]
        return records.POOL in sets or bool(self.as_is.intersection(sets))

    def _rank(self, name: str) -> tuple[bool, int, int, str]:
        """The representative has the lowest: an as-is seed, else most pixels, then most bytes, then the lowest id."""
        fact = self.facts[name]
        seed = bool(self.as_is.intersection(fact["sets"]))
        return (not seed, -fact["width"] * fact["height"], -fact["length"], name)

    def verdict(self, name: str, sets: list[str]) -> dict[str, Any]:
        members = self.group.get(name, [name])
        row: dict[str, Any] = {"group_size": len(members), "usable": True}
        row["group_id"] = members[0] if len(members) > 1 else None
        in_seed = any(s.startswith(records.SEED_PREFIX) for s in sets)
        leak = self._leak(name, members, sets)
        if leak:
            row |= {"usable": False, "touch_similarity": leak[0], "touches": leak[1]}
        if leak and (records.POOL in sets or in_seed):
            why = {"drop_score": leak[0], "drop_limit": self.cfg.reference_similarity, "drop_cause": leak[1]}
            return row | ({} if in_seed else {"drop_reason": "protected_copy"} | why)
        if leak:
            return row | {"drop_reason": "protected_set"}
        if members[0] != name and not in_seed:
            score = self.direct.get((name, members[0]), self.strongest[name])
            why = {"drop_score": score, "drop_limit": self.cfg.self_similarity, "drop_cause": members[0]}
            return row | {"drop_reason": "copy"} | why
        if members[0] != name and not self.as_is.intersection(sets):
            row["usable"] = False  # it may ask, as a seed; its representative may be chosen
        return row

    def _leak(self, name: str, members: list[str], sets: list[str]) -> tuple[float, str] | None:
        """The protected image that the image, or else its group, touches; itself, if it is one."""
        if any(s.startswith(records.PROTECT_PREFIX) for s in sets):
            return (1.0, name)
        touched = [self.touch[m] for m in members if m in self.touch]
        return self.touch.get(name) or (max(touched) if touched else None)


STAGE = WholeStage(name="survivors", consumes=("descriptors", "edges", "images"), version=3, fn=judge)
