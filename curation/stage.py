"""The shapes of a stage, and what a network must offer to be used in one.

A stage is a function and a card that describes it. `MapStage`: one part in, one part out, rows in rows out.
`WholeStage`: all parts in, any parts out. `PlannedStage`: the same, but the parts are known beforehand and each is made
on its own. `RoundsStage`: rounds of these, until enough. `JournalStage`: like the first, but safe at every row. None knows
Ray or progress bars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from curation.journal import Journal
from curation.store import Parts, Store


def derived(default: Any = ()) -> Any:
    """A config field that the recipe's other sections fill in; a recipe file may not name it."""
    return field(default=default, metadata={"derived": True})


MEMBERS = pa.field("members", pa.list_(pa.struct([("name", pa.string()), ("data", pa.binary())])))
"""The column by which a stage hands over what goes into its tar."""


def unset(_cfg: Any, _side: object) -> Any:
    """The setup of a stage whose network the flow has to hand in."""
    raise ValueError("the flow hands this stage its network")


def no_weights(_cfg: Any) -> str:
    """The digest of a stage that loads no weights."""
    return ""


class Encoder(Protocol):
    """A frozen network that maps pictures to unit vectors; a copy network also carries its thresholds."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """SHA-256 of the weights file."""
        ...

    @property
    def dim(self) -> int: ...

    @property
    def side(self) -> int:
        """Input side, pixels."""
        ...

    @property
    def fit(self) -> str:
        """How a picture is brought to side x side: "squash" or "crop"."""
        ...

    def __call__(self, pixels: Any) -> Any:
        """(B, 3, side, side) uint8 RGB tensor -> (B, dim) float32, rows of unit length."""
        ...


class CopyEncoder(Encoder, Protocol):
    """A copy-detection network with the values calibrated for it, where it has any (SurvivorsConfig)."""

    @property
    def self_similarity(self) -> float | None: ...

    @property
    def reference_similarity(self) -> float | None: ...

    @property
    def confirm(self) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class MapStage:
    """Part to part. `fn(batch, tool, cfg)` returns one row per received row, in the same order.

    batch: up to `batch_rows` kept rows of `consumes[0]`, joined by image_id with the columns of the other nouns it
    consumes, and with a binary column `bytes` (null where they cannot be had) if `needs_bytes`.
    setup(cfg, side): builds the tool (a network, a hash) once per worker; side holds the small tables named in `also`.
    weights(cfg): SHA-256 of what the tool loads, so that other weights mean other results.
    tar: path in the run of a tar per part, that takes what `fn` returns in a column `members`, [(name, bytes)]; the
    offset of each row's first member is filled in, and the tar's path as its uri where there is such a column.
    """

    name: str
    consumes: tuple[str, ...]
    fn: Callable[[pa.Table, Any, Any], pa.Table]
    version: int
    setup: Callable[[Any, Mapping[str, pa.Table]], Any]
    weights: Callable[[Any], str] = no_weights
    also: tuple[str, ...] = ()
    needs_bytes: bool = False
    batch_rows: int = 64
    gpu: bool = False
    tar: str | None = None

    @property
    def produces(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class WholeStage:
    """Dataset to dataset. `fn(inputs, cfg)` yields (part number, table) and holds no more than it must."""

    name: str
    consumes: tuple[str, ...]
    fn: Callable[[Mapping[str, Parts], Any], Iterable[tuple[int, pa.Table]]]
    version: int
    weights: Callable[[Any], str] = no_weights

    @property
    def produces(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """Dataset to dataset, in parts that are made independently of one another, on one thread each.

    plan(inputs, cfg): the numbers of the parts; quick, and a function of the inputs alone, as it is asked at every start.
    fn(part, inputs, cfg): one part, whatever else is being made.
    """

    name: str
    consumes: tuple[str, ...]
    plan: Callable[[Mapping[str, Parts], Any], Sequence[int]]
    fn: Callable[[int, Mapping[str, Parts], Any], pa.Table]
    version: int
    weights: Callable[[Any], str] = no_weights

    @property
    def produces(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class RoundsStage:
    """Dataset to dataset, round after round, each of them planned stages that follow one another; any worker does a part.

    rounds(n): the stages of round n, 0 first; their nouns begin with a dot: they are scratch, and go when all is done.
    They consume `consumes`, and one another. ended(n, store): whether round n, which is done, was the last.
    last(n): the stages after round n, the noun itself the last of them.
    """

    name: str
    consumes: tuple[str, ...]
    rounds: Callable[[int], tuple[PlannedStage, ...]]
    ended: Callable[[int, Store], bool]
    last: Callable[[int], tuple[PlannedStage, ...]]
    version: int
    weights: Callable[[Any], str] = no_weights

    @property
    def produces(self) -> str:
        return self.name

    @property
    def scratch(self) -> str:
        return f".{self.name}"


@dataclass(frozen=True, kw_only=True)
class JournalStage:
    """Part to part, row by row in any order, each row safe as soon as it is done: for work that others must not see twice.

    fn(rows, journal, tool): does the rows of the part that are not in `journal.done` (row numbers) and adds each.
    setup(cfg, root): builds the tool once per worker; root is the run folder. Rows once done stay done whatever the
    config becomes: only other input makes a part anew.
    tar: path in the run of the tar that takes what the journal is given.
    """

    name: str
    consumes: tuple[str, ...]
    fn: Callable[[pa.Table, Journal, Any], None]
    version: int
    setup: Callable[[Any, str], Any]
    schema: pa.Schema
    tar: str

    @property
    def produces(self) -> str:
        return self.name


PartStage = MapStage | JournalStage
Stage = MapStage | WholeStage | PlannedStage | RoundsStage | JournalStage


def check(stage: MapStage, received: pa.Table, produced: pa.Table) -> pa.Table:
    """`produced`, if it has exactly the received images in their order; raises ValueError otherwise."""
    if "image_id" in received.column_names and not produced["image_id"].equals(received["image_id"]):
        raise ValueError(f"stage {stage.name} lost or reordered rows: {received.num_rows} in, {produced.num_rows} out")
    return produced
