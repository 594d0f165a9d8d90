"""What every way to the batches of a training shares: which image stands where, and what has to be kept to go on.

Global batch b holds positions b * W to (b + 1) * W, where W is the images of all processes; process r has its contiguous
share. Which image stands at a position, how it is cropped and what happens to its colours depend on nothing else: a
training that was stopped, or goes on with another number of processes, sees the same.

Letters: B images of a process, C crops of an image, L local crops, G l sides of global and local crops, S side of a crop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.training.augment import ColourConfig, Edits, coloured, drawn, joined
from embedder.training.crops import GLOBALS, CropConfig
from embedder.training.manifest_rows import read_manifest
from embedder.training.sampler import Mix, Order, mix
from embedder.training.weighting import orders

Crops = tuple[torch.Tensor, torch.Tensor]  # (2, B, 3, G, G) and (L, B, 3, l, l) uint8


@dataclass(frozen=True, kw_only=True)
class DataConfig(CropConfig, ColourConfig):
    """What a training sees of its images."""

    balance: str = ""
    """A column of the manifest ("cluster", "seed_set") whose values get equal weight; "" leaves the weights as they are."""
    homogeneous: dict[str, float] = field(default_factory=dict)
    """Share of batches that hold one component alone, by its name: { imagenet = 0.1 }. The other batches hold everything."""
    component: str = "seed_set"
    """The column of the manifest that `homogeneous` names values of."""
    workers: int = -1
    """Processes that decode: -1 is one per core, shared among the processes of this machine; 0 is none."""
    ahead: int = 4
    """Batches that are made ahead of time."""
    resident: int = 0
    """For pools of small pictures: pixels of the side that every image is kept at on the device, decoded once, squashed to
    a square (crops keep their shape): 3 x side x side bytes an image. 0 decodes an image each time that it is seen."""

    def __post_init__(self) -> None:
        CropConfig.__post_init__(self)
        ColourConfig.__post_init__(self)
        if self.resident < 0:
            raise ValueError(f"data.resident must be 0 or more, not {self.resident}")
        if self.workers < -1 or self.ahead < 1:
            raise ValueError(f"data.workers is -1 or more, data.ahead 1 or more, not {self.workers} and {self.ahead}")

    @property
    def groups(self) -> list[str]:
        """Columns of the manifest that are needed beside those that say where the bytes are."""
        names = [self.balance, self.component if self.homogeneous else ""]
        return list(dict.fromkeys(name for name in names if name))


@dataclass(frozen=True)
class Batch:
    """globals_ (2B, 3, G, G) and locals_ (L x B, 3, l, l) float32, normalised, all first crops first, then all second ones,
    and so on; keys: image_id of the B images; skipped: reason -> images of this process passed over since the start;
    state: what has to be kept to go on after this batch.
    """

    globals_: torch.Tensor
    locals_: torch.Tensor
    keys: list[str]
    skipped: dict[str, int]
    state: dict[str, Any]


class Loader(ABC):
    """Endless batches of `batch` images for process `rank` of `world`; iterate to get them from where the state says.

    data, run: as for read_manifest. device: where the batches come to be, and where colours are worked on.
    digest: of the manifest. Raises ValueError for data that cannot be trained on.
    """

    def __init__(
        self,
        data: str,
        cfg: DataConfig,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        run: str = "",
        device: str | torch.device = "cpu",
    ) -> None:
        if batch < 1 or not 0 <= rank < world:
            raise ValueError(f"batches of {batch} images for process {rank} of {world}")
        self.cfg, self.batch, self.seed, self.rank, self.world = cfg, batch, seed, rank, world
        self.prepare()
        self.manifest = read_manifest(data, run, cfg.groups)
        self.digest, self.device = self.manifest.digest, torch.device(device)
        self.mix: Mix = mix(cfg.homogeneous, seed)
        self.orders: dict[str | None, tuple[Order, NDArray[np.int64] | None]] = orders(
            self.manifest, cfg.balance, cfg.component, cfg.homogeneous, seed
        )
        self.position, self.skipped = 0, Counter[str]()

    @abstractmethod
    def prepare(self) -> None:
        """Begin what can go on while the manifest is read."""

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]: ...

    @property
    def whole(self) -> int:
        """Images of a global batch."""
        return self.batch * self.world

    def state_dict(self) -> dict[str, Any]:
        """What has to be kept to go on after the last batch that was given out."""
        return {"position": self.position, "whole": self.whole, "seed": self.seed, "skipped": dict(self.skipped)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there: the next iterator does. Raises ValueError if that cannot be the same order."""
        if state["seed"] != self.seed:
            raise ValueError(f"the order of seed {state['seed']} cannot be gone on with under seed {self.seed}")
        if self.cfg.homogeneous and state["whole"] != self.whole:
            raise ValueError(f"homogeneous batches of {state['whole']} images cannot go on as batches of {self.whole}")
        self.position, self.skipped = int(state["position"]), Counter(state["skipped"])

    def positions(self, begin: int, number: int) -> NDArray[np.int64]:
        """(B,) of this process's images in the order of the training."""
        return begin + number * self.whole + self.rank * self.batch + np.arange(self.batch)

    def rows(self, position_N: NDArray[np.int64], attempt: int = 0) -> NDArray[np.int64]:
        """(N,) rows of the manifest at positions of one global batch."""
        name, before = self.mix.of(int(position_N[0]) // self.whole)
        order, rows = self.orders[name]
        inside = position_N if not self.cfg.homogeneous else before * self.whole + position_N % self.whole
        found = order.at(inside, attempt)
        return found if rows is None else rows[found]

    def given(
        self,
        begin: int,
        number: int,
        row_B: NDArray[np.int64],
        skipped: Counter[str],
        pixels: Crops,
        edits: Sequence[Edits | None] | None = None,
    ) -> Batch:
        """Batch `number` since position `begin`: its crops coloured, its images named; from here on it counts as given out.

        skipped: reason -> images passed over for it. edits: `edits` of its positions, where they were drawn before.
        """
        self.skipped += skipped
        self.position = begin + (number + 1) * self.whole
        each = edits or self.edits(self.positions(begin, number))
        globals_, locals_ = (self._coloured(some, edit) for some, edit in zip(pixels, each, strict=True))
        return Batch(globals_, locals_, self.manifest.keys(row_B), dict(self.skipped), self.state_dict())

    def edits(self, position_B: NDArray[np.int64]) -> list[Edits | None]:
        """What happens to the colours of the global and of the local crops, if there are any."""
        every = [drawn(self.cfg, self.seed, position_B, crop) for crop in range(GLOBALS + self.cfg.locals_)]
        return [joined(some) if some else None for some in (every[:GLOBALS], every[GLOBALS:])]

    def _coloured(self, pixels_CB3SS: torch.Tensor, edits: Edits | None) -> torch.Tensor:
        """(C x B, 3, S, S)."""
        if edits is None:
            return torch.empty(0, *pixels_CB3SS.shape[2:], device=self.device)
        return coloured(pixels_CB3SS.flatten(0, 1).to(self.device), edits)
