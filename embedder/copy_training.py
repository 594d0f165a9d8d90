"""Train a copy-detection network the way SSCD was: many processes, one batch.

    torchrun --nproc-per-node 8 -m embedder.copy_training --recipe resnet50 --data tars/ --out sscd.safetensors
    python -m embedder.copy_training --recipe small --data tars/ --set batch=64 --steps 1000 --out small.safetensors

Two views of every image must find each other among all views of all processes (InfoNCE), and no view may lie close to
another image's (KoLeo). A step's views follow from (seed, step) alone and batch norm is over all processes, so that any
number of them takes the same steps. A killed training goes on from `out` + ".checkpoint", written by the first process.
Source: SSCD (arXiv 2202.10261), section 4 and appendix; constants from facebookresearch/sscd-copy-detection, sscd/train.py.

Letters: B images of this process, N = 2 B views, S V pixels of a stored image and of a view.
"""

import argparse
import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from embedder.copy_losses import gather, rank, share_norms, sscd_losses, world
from embedder.copy_views import ViewConfig, make_views
from embedder.copynet import CopyNet
from embedder.encoder import normalise, save_weights
from embedder.lars import Lars
from embedder.tar_pictures import TarPictures


@dataclass(frozen=True, kw_only=True)
class CopyRecipe:
    """One training. The defaults are the paper's for a ResNet-50 with advanced edits and mixing."""

    variant: str = "resnet50"
    views: ViewConfig = field(default_factory=ViewConfig)
    stored_side: int = 256  # pixels an image is decoded to, a square, before it is edited
    batch: int = 4096  # images of all processes; twice as many views
    chunk: int = 64  # images that mixing draws partners from; a process takes whole chunks
    epochs: int = 100
    warmup: int = 5  # epochs
    optimizer: Literal["lars", "adamw"] = "lars"
    base_lr: float = 0.3  # for a batch of 256
    momentum: float = 0.9
    weight_decay: float = 1e-6
    trust: float = 0.001
    temperature: float = 0.05
    entropy: float = 30.0  # weight of KoLeo; the authors advise to begin with 10 in other setups
    use_side: int = 288  # pixels that the network is used at ...
    use_fit: str = "short"  # ... and how a picture is brought there
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch % self.chunk:
            raise ValueError(f"a batch of {self.batch} images is no whole number of chunks of {self.chunk}")

    @property
    def lr(self) -> float:
        """At the end of the warm-up."""
        return self.base_lr * self.batch / 256


# small: sized for CPUs, after the settings that the shipped network needed (DECISIONS.md): a small KoLeo and Adam.
RECIPES = {
    "resnet50": CopyRecipe(),
    "small": CopyRecipe(
        variant="medium",
        views=ViewConfig(side=96),
        stored_side=128,
        batch=128,
        chunk=32,
        epochs=10,
        warmup=1,
        optimizer="adamw",
        base_lr=2e-3,
        weight_decay=0.02,
        temperature=0.06,
        entropy=0.3,
        use_side=96,
        use_fit="squash",
    ),
}


def learning_rate(cfg: CopyRecipe, step: int, steps_per_epoch: int) -> float:
    """Linear from 0 over the warm-up, then a cosine to 0 at the last step."""
    warm, total = cfg.warmup * steps_per_epoch, cfg.epochs * steps_per_epoch
    if step < warm:
        return cfg.lr * step / warm
    return cfg.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))


def make_optimizer(network: nn.Module, cfg: CopyRecipe) -> torch.optim.Optimizer:
    """LARS on all parameters, as SSCD; or AdamW."""
    if cfg.optimizer == "lars":
        return Lars(network.parameters(), momentum=cfg.momentum, weight_decay=cfg.weight_decay, trust=cfg.trust)
    return torch.optim.AdamW(network.parameters(), lr=0.0, betas=(cfg.momentum, 0.98), weight_decay=cfg.weight_decay)


@dataclass
class State:
    """What a resumed training needs."""

    network: CopyNet
    optimizer: torch.optim.Optimizer
    step: int = 0

    def save(self, path: Path) -> None:
        """Write under a temporary name, then rename."""
        saved = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        torch.save(saved, f"{path}.tmp")
        os.replace(f"{path}.tmp", path)

    def load(self, path: Path) -> None:
        """Continue from `path`; the same recipe must have written it."""
        saved = torch.load(path, map_location=next(self.network.parameters()).device, weights_only=True)
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]


def new_state(cfg: CopyRecipe, device: str) -> State:
    """The same fresh network in every process, its norms shared between them."""
    torch.manual_seed(cfg.seed)
    network = share_norms(CopyNet(cfg.variant).to(device, memory_format=torch.channels_last))
    assert isinstance(network, CopyNet)
    return State(network, make_optimizer(network, cfg))


class Batches:
    """This process's share of every step's views. The next step's are made while the network works on this one's."""

    def __init__(self, pictures: TarPictures, cfg: CopyRecipe, threads: int) -> None:
        self.pictures, self.cfg, self.pool = pictures, cfg, ThreadPoolExecutor(threads)
        self.per_epoch = len(pictures) // cfg.batch
        if not self.per_epoch:
            raise ValueError(f"{len(pictures)} images do not fill one batch of {cfg.batch}")
        chunks = cfg.batch // cfg.chunk
        if chunks % world():
            raise ValueError(f"{chunks} chunks of {cfg.chunk} images cannot be shared by {world()} processes")
        self.mine = range(rank() * chunks // world(), (rank() + 1) * chunks // world())

    def since(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endlessly (N, 3, V, V) in [0, 1] and (N, 2) image numbers, from `step` on."""
        waiting = self._begin(step)
        while True:
            step, made = step + 1, [future.result() for future in waiting]
            waiting = self._begin(step)
            yield torch.cat([views for views, _ in made]), torch.cat([numbers for _, numbers in made])

    def _begin(self, step: int) -> list[Future[tuple[Tensor, Tensor]]]:
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng((self.cfg.seed, epoch)).permutation(len(self.pictures))
        numbers = order[place * self.cfg.batch : (place + 1) * self.cfg.batch].reshape(-1, self.cfg.chunk)
        return [self.pool.submit(self._chunk, numbers[chunk], step, chunk) for chunk in self.mine]

    def _chunk(self, numbers: np.ndarray, step: int, chunk: int) -> tuple[Tensor, Tensor]:
        seed = np.random.SeedSequence((self.cfg.seed, step, chunk)).generate_state(1, np.uint64)[0] >> np.uint64(1)
        image_B3SS = torch.stack([self.pictures[int(number)] for number in numbers])
        generator = torch.Generator().manual_seed(int(seed))
        return make_views(image_B3SS, torch.from_numpy(numbers), self.cfg.views, generator)


def train_step(state: State, model: nn.Module, cfg: CopyRecipe, lr: float, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
    """One update. Returns the losses of the whole batch. Raises ValueError if one is not finite, before weights change."""
    device = next(state.network.parameters()).device
    view_N3VV, sources_N2 = (part.to(device, non_blocking=True) for part in batch)
    z_NE = model(normalise(view_N3VV).contiguous(memory_format=torch.channels_last))
    contrast, entropy = sscd_losses(z_NE, sources_N2, cfg.temperature)
    with torch.no_grad():
        told = dict(zip(("contrast", "entropy"), gather(torch.stack([contrast, entropy])[None]).mean(0).tolist(), strict=True))
    if not all(map(math.isfinite, told.values())):
        raise ValueError(f"loss is not finite at step {state.step}: {told}")
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.zero_grad()
    (contrast + cfg.entropy * entropy).backward()
    state.optimizer.step()
    state.step += 1
    return told


def train(pictures: TarPictures, cfg: CopyRecipe, out: Path, *, steps: int = 0, every: int = 500, threads: int = 1) -> State:
    """Train to the recipe's end, or to step `steps`, and write `out`; resumes from its checkpoint, written each `every`."""
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    state, checkpoint = new_state(cfg, device), Path(f"{out}.checkpoint")
    if checkpoint.exists():
        state.load(checkpoint)
    batches = Batches(pictures, cfg, threads)
    last = steps or cfg.epochs * batches.per_epoch
    model = DistributedDataParallel(state.network, broadcast_buffers=False) if world() > 1 else state.network
    for batch in batches.since(state.step):
        if state.step >= last:
            break
        told = train_step(state, model.train(), cfg, learning_rate(cfg, state.step, batches.per_epoch), batch)
        if rank() == 0:
            print(json.dumps({"step": state.step, **told}), flush=True)
            if state.step % every == 0 or state.step == last:
                state.save(checkpoint)
    batches.pool.shutdown(cancel_futures=True)
    if rank() == 0:
        save_weights(out, state.network, cfg.use_side, fit=cfg.use_fit)
    return state


def changed(cfg: CopyRecipe, settings: list[str]) -> CopyRecipe:
    """The recipe with `name=value` or `views.name=value`, values in JSON. Raises ValueError for a name that it lacks."""
    changes: dict[str, dict[str, Any]] = {"": {}, "views": {}}
    for setting in settings:
        name, _, value = setting.partition("=")
        part, _, inner = name.rpartition(".")
        if part not in changes or inner not in {f.name for f in fields(cfg.views if part else cfg)}:
            raise ValueError(f"a copy recipe has no {name!r}")
        parsed = json.loads(value)
        changes[part][inner] = tuple(parsed) if isinstance(parsed, list) else parsed
    return replace(cfg, **{"views": replace(cfg.views, **changes["views"])} | changes[""])


def main() -> None:
    """Parse, join the other processes, train."""
    parser = argparse.ArgumentParser(description="Train a copy-detection network with SSCD's losses.")
    parser.add_argument("--recipe", choices=sorted(RECIPES), required=True)
    parser.add_argument("--data", type=Path, action="append", required=True, help="tars of KEY.jpg; may be repeated")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE or views.NAME=VALUE, in JSON; may be repeated")
    parser.add_argument("--steps", type=int, default=0, help="stop after so many; 0: the recipe's epochs")
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=4, help="that make views, per process")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    cfg = changed(RECIPES[args.recipe], args.set)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if rank() == 0:
        print(json.dumps({"recipe": asdict(cfg), "lr": cfg.lr, "processes": world()}), flush=True)
    train(TarPictures(args.data, cfg.stored_side), cfg, args.out, steps=args.steps, every=args.every, threads=args.threads)
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
