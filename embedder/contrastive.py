"""Train the two small networks without labels, on a CPU or two.

    python -m embedder.contrastive --network copy --data seeds/ --data pool/ --minutes 75 --out copy.safetensors
    python -m embedder.contrastive --network vit --data pool/ --minutes 62 --threads 2 --out first.safetensors
    python -m embedder.contrastive --network vit-contrast --start first.safetensors --data pool/ --minutes 80 --threads 2 \\
        --out vit.safetensors

Two edited views of every image must find each other among all views of the batch (InfoNCE). The copy network follows
SSCD (arXiv 2202.10261, equations 3 and 5) and adds an entropy term, KoLeo. The transformer first guesses the hand-made
targets of `teacher.py`; then it goes on by InfoNCE behind a projection head that is thrown away, with small views that
look for the large ones (SwAV, arXiv 2006.09882), and is kept near its start.
The loop is time-boxed: schedules run on the share of the minutes used. A killed training resumes from its checkpoint.

Letters: B images of a batch, N = 2 B views, S V pixels of a stored image and of a view, E descriptor width.
"""

import argparse
import copy
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from embedder.augment import AugmentConfig, ease, make_view
from embedder.contrastive_config import DEFAULTS, TrainConfig
from embedder.contrastive_learner import Elder, Learner, elder, fold_head
from embedder.copy_losses import info_nce, koleo, local_nce
from embedder.drawings import draw_pictures
from embedder.encoder import native_bfloat16, normalise, save_weights
from embedder.pictures import Pictures, read_pictures
from embedder.teacher import Teacher, fit_teacher

Targets = Teacher | Elder


def learning_rate(cfg: TrainConfig, done: float) -> float:
    """Linear warm-up, then a cosine to a hundredth. done: share of the training, 0 to 1."""
    if done < cfg.warmup:
        return cfg.lr * done / cfg.warmup
    return cfg.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - cfg.warmup) / (1 - cfg.warmup))))


def edits(cfg: TrainConfig, done: float, view: int) -> AugmentConfig:
    """The augmentations of view 0 or 1 at a share `done` of the training: they grow first, and finish larger."""
    side = cfg.finish_side if cfg.finish_side and done > 1 - cfg.finish else cfg.augment.side
    effort = 1.0 if done >= cfg.ramp else 0.3 + 0.7 * done / cfg.ramp
    return replace(ease(cfg.augment, effort * (cfg.first_view if view == 0 else 1.0)), side=side)


def losses(
    learner: Learner,
    image_B3SS: Tensor,
    teacher: Targets | None,
    cfg: TrainConfig,
    done: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The weighted terms of one batch of uint8 images; their sum is minimised. done: share of the training, 0 to 1."""
    views = [make_view(image_B3SS, edits(cfg, done, view), generator) for view in range(2 if cfg.contrast else 1)]
    z_NE, guess_NT = seen(learner, [edited for _, edited in views], cfg)
    terms: dict[str, Tensor] = {}
    if cfg.contrast:
        terms["contrast"] = cfg.contrast * contrasted(learner, image_B3SS, z_NE, cfg, generator)
    if cfg.entropy:
        terms["entropy"] = cfg.entropy * koleo(z_NE)
    if teacher is not None:
        targets = [teacher(as_cut) for as_cut, _ in views]
        target_NT = torch.cat(targets[:1] * len(views) if cfg.teach_first else targets)
        terms["teach"] = cfg.teach * (1 - (guess_NT * target_NT).sum(1)).mean()
    return terms


def contrasted(learner: Learner, image_B3SS: Tensor, z_NE: Tensor, cfg: TrainConfig, generator: torch.Generator) -> Tensor:
    """InfoNCE of the large views z_NE, and where there are small ones also of those: every view counts the same."""
    own = info_nce(z_NE, cfg.temperature)
    if not cfg.small:
        return own
    small = [make_view(image_B3SS, cfg.small, generator)[1] for _ in range(cfg.locals_)]
    weight = cfg.locals_ / 2
    return (own + weight * local_nce(seen(learner, small, cfg)[0], z_NE, cfg.temperature)) / (1 + weight)


def seen(learner: Learner, views: list[Tensor], cfg: TrainConfig) -> tuple[Tensor, Tensor]:
    """What the learner makes of views of one size, the first view of all images first."""
    pixels_N3VV = normalise(torch.cat(views))
    with torch.autocast("cpu", torch.bfloat16, enabled=cfg.halved and native_bfloat16("cpu")):
        return learner(pixels_N3VV.to(memory_format=torch.channels_last))


@dataclass
class State:
    """What a resumed training needs."""

    learner: Learner
    average: Learner  # exponential moving average of the weights: this one is kept
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    seconds: float = 0.0
    step: int = 0

    def save(self, path: Path, cfg: TrainConfig) -> None:
        """Write under a temporary name, then rename."""
        saved = {name: getattr(self, name).state_dict() for name in ("learner", "average", "optimizer")}
        saved |= {"generator": self.generator.get_state(), "seconds": self.seconds, "step": self.step, "of": _of(cfg)}
        torch.save(saved, f"{path}.tmp")
        os.replace(f"{path}.tmp", path)

    def load(self, path: Path, cfg: TrainConfig) -> None:
        """Continue from `path`. Raises ValueError if another configuration wrote it."""
        saved = torch.load(path, weights_only=True)
        if saved.get("of", _of(cfg)) != _of(cfg):
            raise ValueError(f"{path} is of another training; move it away, or write elsewhere")
        for name in ("learner", "average", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])
        self.generator.set_state(saved["generator"])
        self.seconds, self.step = saved["seconds"], saved["step"]


def _of(cfg: TrainConfig) -> str:
    """What may not change under a training: all but how long it is."""
    return str(asdict(replace(cfg, minutes=0.0)))


def new_state(cfg: TrainConfig, teacher: Targets | None) -> State:
    """Fresh networks and optimiser; no weight decay on vectors (norms, biases, gains)."""
    torch.manual_seed(cfg.seed)
    learner = Learner(cfg, teacher.dim if teacher else 0)
    learner.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    matrices = [p for p in learner.parameters() if p.ndim > 1]
    vectors = [p for p in learner.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    return State(learner, copy.deepcopy(learner), optimizer, torch.Generator().manual_seed(cfg.seed))


def train_step(state: State, cfg: TrainConfig, images_B3SS: Tensor, teacher: Targets | None) -> dict[str, float]:
    """One update. Raises ValueError on a non-finite loss, before the weights change."""
    done = min(1.0, state.seconds / (60 * cfg.minutes))
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(cfg, done)
    terms = losses(state.learner, images_B3SS, teacher, cfg, done, state.generator)
    total = torch.stack(list(terms.values())).sum()
    if not total.isfinite():
        raise ValueError(f"loss is not finite at step {state.step}: { {k: v.item() for k, v in terms.items()} }")
    state.optimizer.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_(state.learner.parameters(), 3.0)
    state.optimizer.step()
    update_average(state, cfg.ema)
    state.step += 1
    return {name: value.item() for name, value in terms.items()}


@torch.no_grad()
def update_average(state: State, momentum: float) -> None:
    """Move the average towards the learner; faster in the first steps. Batch-norm statistics are copied."""
    momentum = min(momentum, (1 + state.step) / (10 + state.step))
    for kept, new in zip(state.average.parameters(), state.learner.parameters(), strict=True):
        kept.lerp_(new, 1 - momentum)
    for kept, new in zip(state.average.buffers(), state.learner.buffers(), strict=True):
        kept.copy_(new)


def pairs(pictures: Pictures, cfg: TrainConfig, count: int = 20_000) -> Iterator[tuple[Tensor, Tensor]]:
    """Two views each of pictures of the largest folder, cut and changed as in the training."""
    generator = torch.Generator().manual_seed(cfg.seed)
    for part in pictures.sample(count, seed=cfg.seed + 1).split(500):
        yield make_view(part, cfg.augment, generator)[1], make_view(part, cfg.augment, generator)[1]


def taught_by(pictures: Pictures, cfg: TrainConfig) -> Targets | None:
    """The start, or else the hand-made descriptors fitted on the pictures; None without either's weight."""
    if not cfg.teach:
        return None
    if cfg.start:
        return elder(cfg.start)
    return fit_teacher(pictures.sample(10_000, seed=cfg.seed).float() / 255, pairs(pictures, cfg))


def train(pictures: Pictures, cfg: TrainConfig, out: Path) -> State:
    """Train for `cfg.minutes` and write `out`; a second call resumes from `out` + ".checkpoint", where there is one."""
    teacher = taught_by(pictures, cfg)
    if cfg.drawn:
        pictures = Pictures((*pictures.folders, draw_pictures(cfg.drawn, pictures.folders[0].shape[-1], cfg.seed)))
    state, checkpoint = new_state(cfg, teacher), Path(f"{out}.checkpoint")
    if checkpoint.exists():
        state.load(checkpoint, cfg)
    clock = saved = reported = time.monotonic()
    keep = 60 * cfg.keep_minutes or math.inf
    while state.seconds < 60 * cfg.minutes:
        kept = state.seconds // keep
        terms = train_step(state, cfg, pictures.batch(cfg.batch, cfg.first_share, state.generator), teacher)
        now = time.monotonic()
        state.seconds, clock = state.seconds + now - clock, now
        if now - reported > 15:
            reported = now
            seen = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
            print(f"step {state.step}  minute {state.seconds / 60:.1f}  {seen}", flush=True)
        if state.seconds // keep > kept:
            save_weights(out.with_stem(f"{out.stem}-{state.seconds // keep:.0f}"), fold_head(state.average), cfg.augment.side)
        if now - saved > cfg.checkpoint_seconds:
            saved = now
            state.save(checkpoint, cfg)
    state.save(checkpoint, cfg)
    save_weights(out, fold_head(state.average), cfg.augment.side)
    return state


def main() -> None:
    """Parse, train, write."""
    parser = argparse.ArgumentParser(description="Train a small network without labels.")
    parser.add_argument("--network", choices=sorted(DEFAULTS), required=True)
    parser.add_argument("--data", type=Path, action="append", required=True, help="tars of KEY.jpg; may be repeated")
    parser.add_argument("--minutes", type=float, default=75.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", default="", help="encoder that a transformer begins as: for vit-contrast")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if bool(args.start) != (args.network == "vit-contrast"):
        parser.error("--start is for --network vit-contrast, which needs it")
    torch.set_num_threads(args.threads)
    cfg = replace(DEFAULTS[args.network], minutes=args.minutes, start=args.start)
    print(asdict(cfg), flush=True)
    train(read_pictures(args.data, cfg.stored_side), cfg, args.out)


if __name__ == "__main__":
    main()
