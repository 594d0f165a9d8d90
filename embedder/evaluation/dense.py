"""Frozen patch features with a linear head: classes of pixels (mIoU), and depth (RMSE, AbsRel, delta1).

Heads and losses follow arXiv 2304.07193, section 7.4. Images are squashed to the encoder's square, and not augmented.
Letters: N images, B images of a batch, F feature width, h w patches, S pixels (the encoder's own side), C classes, K bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from curation.decode import Reject, decode, opened
from embedder.encoder import Encoder, normalise
from embedder.vit import VisionTransformer

IGNORED = 255  # class of pixels that nobody labelled
BINS, NEAREST = 256, 1e-3  # of depth; metres


@dataclass(frozen=True, kw_only=True)
class DenseConfig:
    """Length of a head's training."""

    steps: int = 1000
    """Batches."""
    batch: int = 16
    """Images."""
    rate: float = 1e-3
    """Learning rate of AdamW; falls linearly to 0."""
    layers: int = 1
    """Last blocks that the head sees."""
    farthest: float = 10.0
    """Metres: the last bin of depth, and the farthest pixel that counts."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.rate, self.layers, self.farthest - NEAREST) <= 0:
            raise ValueError(f"steps, batch, rate, layers and farthest of a dense head are positive, not {self}")


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Frozen features and the truth of each pixel."""

    features_NFhw: Tensor
    truth_NSS: Tensor
    """int64 classes, or float32 metres of which 0 is unknown."""
    skipped: dict[str, int]
    """Images that could not be read, by reason."""


def read_maps(encoder: Encoder, where: Path, task: str, layers: int) -> Maps:
    """DIR/images/x.* and DIR/masks/x.png, or for depth DIR/depth/x.png (16 bits, millimetres) or x.npy (metres).

    Raises ValueError if there are none, if an image has no truth, or if the encoder is no vision transformer.
    """
    if not isinstance(encoder.network, VisionTransformer):
        raise ValueError(f"{encoder.name} is no vision transformer, so it has no patches")
    paths = sorted((Path(where) / "images").glob("*.*"))
    features, truths, skipped = list[Tensor](), list[Tensor](), dict[str, int]()
    for path in paths:
        try:
            image = decode(path.read_bytes(), encoder.side, "squash")
            truth = _truth(path, task, encoder.side)
        except Reject as reject:
            skipped[reject.reason] = skipped.get(reject.reason, 0) + 1
            continue
        features.append(_patches(encoder, encoder.network, image[None], layers, task == "depth"))
        truths.append(truth)
    if not features:
        raise ValueError(f"no readable image in {where}/images (of {len(paths)})")
    return Maps(features_NFhw=torch.cat(features), truth_NSS=torch.stack(truths), skipped=skipped)


@torch.inference_mode()
def _patches(encoder: Encoder, network: VisionTransformer, image_BSS: Tensor, layers: int, with_class: bool) -> Tensor:
    pixels = normalise(image_BSS.to(encoder.device).float() / 255)
    with torch.autocast(torch.device(encoder.device).type, torch.bfloat16, enabled=encoder.half):
        found = network.get_intermediate_layers(pixels, layers, reshape=True, return_class_token=True)
    parts = [part for map_, token in found for part in (map_, token[:, :, None, None].expand_as(map_))[: 1 + with_class]]
    return torch.cat(parts, 1).float().cpu()


def _truth(path: Path, task: str, side: int) -> Tensor:
    """(S, S), each pixel that of the nearest original one."""
    folder = path.parent.parent / ("depth" if task == "depth" else "masks")
    array, png = folder / f"{path.stem}.npy", folder / f"{path.stem}.png"
    if task == "depth" and array.is_file():
        values = np.load(array, allow_pickle=False).astype(np.float32)
    elif png.is_file():
        with opened(png.read_bytes(), None) as image:
            values = np.asarray(image if image.mode in ("L", "P") or image.mode.startswith("I") else image.convert("L"))
        values = values.astype(np.float32) / (1000 if task == "depth" else 1)
    else:
        raise ValueError(f"no truth for {path}: expected {png}")
    if values.ndim != 2:
        raise ValueError(f"the truth of {path} is {values.shape}, not one number a pixel")
    resized = np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.NEAREST))
    return torch.from_numpy(resized.copy()).to(torch.float32 if task == "depth" else torch.int64)


def segmentation(train: Maps, val: Maps, cfg: DenseConfig) -> dict[str, float]:
    """mIoU and pixel accuracy of BatchNorm + 1 x 1 convolution, its scores brought to the pixels' grid."""
    known = [maps.truth_NSS[maps.truth_NSS != IGNORED] for maps in (train, val)]
    if not all(map(len, known)):
        raise ValueError("no labelled pixels")
    classes = int(torch.cat(known).max()) + 1
    width = train.features_NFhw.shape[1]
    head = nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, classes, 1))
    _fit(head, train, cfg, lambda out, truth: functional.cross_entropy(_to_pixels(out, truth), truth, ignore_index=IGNORED))
    confusion_CC = torch.zeros(classes, classes, dtype=torch.int64)
    for features, truth in _batches(val, cfg):
        guess = _to_pixels(head(features), truth).argmax(1)
        seen = truth != IGNORED
        confusion_CC += torch.bincount(truth[seen] * classes + guess[seen], minlength=classes**2).view(classes, classes)
    return {"miou": mean_iou(confusion_CC), "pixel_accuracy": (confusion_CC.trace() / confusion_CC.sum()).item()}


def mean_iou(confusion_CC: Tensor) -> float:
    """From counts of (truth, guess); classes that neither holds do not count."""
    right_C = confusion_CC.diag().double()
    return (right_C / (confusion_CC.sum(0) + confusion_CC.sum(1) - right_C)).nanmean().item()


def depth(train: Maps, val: Maps, cfg: DenseConfig) -> dict[str, float]:
    """RMSE (metres), AbsRel and delta1 of a linear head over 256 uniform bins."""
    head = nn.Sequential(nn.BatchNorm2d(train.features_NFhw.shape[1]), nn.Conv2d(train.features_NFhw.shape[1], BINS, 1))

    def loss(out: Tensor, truth: Tensor) -> Tensor:
        guess = metres(out, truth, cfg.farthest)
        return sig_loss(guess, truth, cfg.farthest) + 0.5 * gradient_loss(guess, truth, cfg.farthest)

    _fit(head, train, cfg, loss)
    pairs = [(metres(head(features), truth, cfg.farthest), truth) for features, truth in _batches(val, cfg)]
    guess, truth = (torch.cat([part[_known(pair[1], cfg.farthest)] for pair in pairs for part in (pair[n],)]) for n in (0, 1))
    if not len(truth):
        raise ValueError("no known depths to score on")
    return depth_scores(guess, truth)


def depth_scores(guess_M: Tensor, truth_M: Tensor) -> dict[str, float]:
    """Of known pixels, metres."""
    off_M, ratio_M = guess_M - truth_M, torch.maximum(guess_M / truth_M, truth_M / guess_M)
    scores = {"rmse": off_M.square().mean().sqrt(), "abs_rel": (off_M.abs() / truth_M).mean()}
    return {name: score.item() for name, score in scores.items()} | {"delta1": (ratio_M < 1.25).double().mean().item()}


def metres(out_BKhw: Tensor, truth_BSS: Tensor, farthest: float) -> Tensor:
    """(B, S, S): mean of the bins' depths, weighted by ReLU + 0.1, normalised."""
    weight_BKhw = functional.relu(out_BKhw) + 0.1
    bins_K = torch.linspace(NEAREST, farthest, BINS)
    depth_Bhw = torch.einsum("bkhw,k->bhw", weight_BKhw / weight_BKhw.sum(1, keepdim=True), bins_K)
    return _to_pixels(depth_Bhw[:, None], truth_BSS)[:, 0]


def sig_loss(guess_BSS: Tensor, truth_BSS: Tensor, farthest: float) -> Tensor:
    """Root of the variance of the log error + 0.15 of its squared mean, over known pixels."""
    known = _known(truth_BSS, farthest)
    error_M = (guess_BSS[known] + 1e-3).log() - (truth_BSS[known] + 1e-3).log()
    if len(error_M) < 2:
        return guess_BSS.sum() * 0
    return (error_M.var() + 0.15 * error_M.mean().square() + 1e-12).sqrt()


def gradient_loss(guess_BSS: Tensor, truth_BSS: Tensor, farthest: float) -> Tensor:
    """Mean absolute step of the log error between neighbours, at four scales."""
    known, total = _known(truth_BSS, farthest), guess_BSS.sum() * 0
    error = (guess_BSS + 1e-3).log() - (truth_BSS + 1e-3).log()
    for stride in (1, 2, 4, 8):
        part, seen = error[:, ::stride, ::stride], known[:, ::stride, ::stride]
        down = (part[:, 1:] - part[:, :-1]).abs() * (seen[:, 1:] & seen[:, :-1])
        right = (part[:, :, 1:] - part[:, :, :-1]).abs() * (seen[:, :, 1:] & seen[:, :, :-1])
        total = total + (down.sum() + right.sum()) / seen.sum().clamp(min=1)
    return total


def _known(truth: Tensor, farthest: float) -> Tensor:
    return (truth >= NEAREST) & (truth <= farthest)


def _to_pixels(out_BChw: Tensor, truth_BSS: Tensor) -> Tensor:
    return functional.interpolate(out_BChw, size=truth_BSS.shape[1:], mode="bilinear", align_corners=False)


def _fit(head: nn.Module, train: Maps, cfg: DenseConfig, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(head.parameters(), lr=cfg.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1e-3, cfg.steps)
    for _ in range(cfg.steps):
        at_B = torch.randint(len(train.features_NFhw), (min(cfg.batch, len(train.features_NFhw)),))
        optimiser.zero_grad()
        loss(head(train.features_NFhw[at_B]), train.truth_NSS[at_B]).backward()
        nn.utils.clip_grad_norm_(head.parameters(), 35)
        optimiser.step()
        schedule.step()
    head.eval().requires_grad_(False)


def _batches(maps: Maps, cfg: DenseConfig) -> zip:
    return zip(maps.features_NFhw.split(cfg.batch), maps.truth_NSS.split(cfg.batch), strict=True)
