"""Colours of crops, batched on the device, every sample with parameters of its own; as the released DINOv2 saw them.

Flip, jitter, grey, blur, solarisation, normalisation: dinov2/data/augmentations.py, whose blur happens with 1 - p (noted
there by its maintainers): 0.0, 0.9 and 0.5 for the first global, the second global and local crops. Jitter is
torchvision's ColorJitter, blur its GaussianBlur of kernel 9. Differs: levels are not rounded to 8 bits between the edits.

Letters: B crops, H W pixels. Floats are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from embedder.training.draws import stream, uniforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's "L"
REACH = 4  # pixels to each side: kernel 9
THRESHOLD = 127.5 / 255  # 128 of whole levels
_COLOUR = 21  # stream
_ORDERS = np.array([[a, b, c, d] for a in range(4) for b in range(4) for c in range(4) for d in range(4)
                    if len({a, b, c, d}) == 4])  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ColourConfig:
    """What happens to colours; a number that is no strength is the share of crops that it happens to."""

    flip: float = 0.5
    """Mirrored left to right."""
    jitter: float = 0.8
    """Brightness, contrast, saturation and hue, in random order."""
    brightness: float = 0.4
    """Strength: the factor lies within 1 - x and 1 + x."""
    contrast: float = 0.4
    """Strength, likewise."""
    saturation: float = 0.2
    """Strength, likewise."""
    hue: float = 0.1
    """Strength: the shift lies within -x and x turns of the colour circle."""
    grey: float = 0.2
    """All colour gone."""
    blur: tuple[float, float, float] = (0.0, 0.9, 0.5)
    """Of first global, second global and local crops: a Gaussian of 0.1 to 2 pixels."""
    sigma: tuple[float, float] = (0.1, 2.0)
    """Pixels."""
    solarise: tuple[float, float, float] = (0.0, 0.2, 0.0)
    """Of first global, second global and local crops: levels of 128 and more are inverted."""

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.{name} is a share, 0 to 1, not {getattr(self, name)}")
        for name in ("blur", "solarise"):
            if len(getattr(self, name)) != 3 or not all(0 <= share <= 1 for share in getattr(self, name)):
                raise ValueError(f"data.{name} is three shares, 0 to 1, not {getattr(self, name)}")
        for name, most in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"data.{name} lies between 0 and {most}, not {getattr(self, name)}")
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"data.sigma is a range above 0, not {self.sigma}")


@dataclass(frozen=True)
class Edits:
    """Parameters of B crops. What does not happen to a crop has its neutral value; sigma 0 is no blur."""

    flip: NDArray[np.bool_]
    jitter: NDArray[np.bool_]
    factors: NDArray[np.float64]  # (B, 4) brightness, contrast, saturation, hue
    order: NDArray[np.int64]  # (B, 4) which of them comes first, second, ...
    grey: NDArray[np.bool_]
    sigma: NDArray[np.float64]
    solarise: NDArray[np.bool_]


def drawn(cfg: ColourConfig, seed: int, position_B: NDArray[np.int64], crop: int) -> Edits:
    """Edits of crop number `crop` (0 and 1 are global) of the images at positions of the order."""
    u = uniforms(stream(seed, _COLOUR, crop), position_B, 11)
    kind = min(crop, 2)
    strength = np.array([cfg.brightness, cfg.contrast, cfg.saturation, cfg.hue])
    sigma = cfg.sigma[0] + (cfg.sigma[1] - cfg.sigma[0]) * u[:, 9]
    return Edits(
        flip=u[:, 0] < cfg.flip,
        jitter=u[:, 1] < cfg.jitter,
        factors=np.array([1, 1, 1, 0]) + strength * (2 * u[:, 2:6] - 1),
        order=_ORDERS[(u[:, 6] * len(_ORDERS)).astype(int)],
        grey=u[:, 7] < cfg.grey,
        sigma=np.where(u[:, 8] < cfg.blur[kind], sigma, 0.0),
        solarise=u[:, 10] < cfg.solarise[kind],
    )


def joined(edits: list[Edits]) -> Edits:
    """The edits of several batches, one after the other."""
    names = Edits.__dataclass_fields__
    return Edits(**{name: np.concatenate([getattr(one, name) for one in edits]) for name in names})


def coloured(pixels_B3HW: Tensor, edits: Edits) -> Tensor:
    """(B, 3, H, W) float32, normalised, of uint8 crops on any device. Nothing waits for the device."""
    x = edited(pixels_B3HW.float() / 255, _steps(edits))
    mean, std = sent([np.array(MEAN, np.float32), np.array(STD, np.float32)], x.device)
    return x.sub_(mean.view(1, 3, 1, 1)).div_(std.view(1, 3, 1, 1))


@dataclass(frozen=True)
class Step:
    """One edit of some crops: their rows, and a value of each."""

    edit: Callable[[Tensor, Tensor], Tensor]
    rows: NDArray[np.int64]
    values: NDArray[np.float32]


def edited(x_B3HW: Tensor, steps: list[Step]) -> Tensor:
    """The crops after one step after the other, in place. All rows and values go to the device at once."""
    rows = sent([step.rows for step in steps], x_B3HW.device)
    values = sent([step.values for step in steps], x_B3HW.device)
    for step, at, value in zip(steps, rows, values, strict=True):
        if len(step.rows):
            x_B3HW.index_copy_(0, at, step.edit(x_B3HW.index_select(0, at), value.view(-1, 1, 1, 1)))
    return x_B3HW


def sent(arrays: Sequence[NDArray[Any]], device: torch.device) -> list[Tensor]:
    """Arrays of one kind on a device, by one copy that nobody waits for."""
    whole = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    if device.type == "cuda":
        whole = whole.pin_memory()
    return list(whole.to(device, non_blocking=True).split([array.size for array in arrays]))


def _steps(edits: Edits) -> list[Step]:
    """All edits in their order."""
    return [
        _step(lambda x, _: x.flip(-1), edits.flip),
        *jitter_steps(edits),
        _step(lambda x, _: grey(x).expand(-1, 3, -1, -1), edits.grey),
        _step(blurred, edits.sigma > 0, edits.sigma),
        _step(lambda x, _: solarised(x), edits.solarise),
    ]


def jitter_steps(edits: Edits) -> list[Step]:
    """Four edits of each chosen crop, in its own order."""
    kinds = (brightened, contrasted, saturated, hued)
    return [
        _step(edit, edits.jitter & (edits.order[:, turn] == which), edits.factors[:, which])
        for turn in range(len(kinds))
        for which, edit in enumerate(kinds)
    ]


def _step(edit: Callable[..., Tensor], chosen: NDArray[np.bool_], values: NDArray[np.float64] | None = None) -> Step:
    rows = np.flatnonzero(chosen)
    return Step(edit, rows, (np.zeros(len(rows)) if values is None else values[rows]).astype(np.float32))


def grey(x_B3HW: Tensor) -> Tensor:
    """(B, 1, H, W)."""
    red, green, blue = x_B3HW.split(1, dim=1)
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def brightened(x_B3HW: Tensor, factor: Tensor) -> Tensor:
    """Blended with black."""
    return (x_B3HW * factor).clamp_(0, 1)


def contrasted(x_B3HW: Tensor, factor: Tensor) -> Tensor:
    """Blended with the mean of its grey levels."""
    mean = grey(x_B3HW).mean((2, 3), keepdim=True)
    return (mean + (x_B3HW - mean) * factor).clamp_(0, 1)


def saturated(x_B3HW: Tensor, factor: Tensor) -> Tensor:
    """Blended with its grey self."""
    plain = grey(x_B3HW)
    return (plain + (x_B3HW - plain) * factor).clamp_(0, 1)


def hued(x_B3HW: Tensor, shift: Tensor) -> Tensor:
    """Hue turned by `shift` of the circle; saturation and value of HSV stay (Smith, SIGGRAPH 1978)."""
    red, green, blue = x_B3HW.unbind(1)
    value, low = x_B3HW.amax(1), x_B3HW.amin(1)
    spread = value - low
    safe = torch.where(spread > 0, spread, 1)
    sixth = torch.where(value == red, (green - blue) / safe % 6, (blue - red) / safe + 2)
    sixth = torch.where((value == blue) & (value != red) & (value != green), (red - green) / safe + 4, sixth)
    sixth = sixth + 6 * shift.squeeze(1)
    channels = [value - spread * _bump((sixth + turn) % 6) for turn in (5, 3, 1)]
    return torch.stack(channels, dim=1)


def _bump(k: Tensor) -> Tensor:
    return torch.minimum(k, 4 - k).clamp(0, 1)


def blurred(x_B3HW: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian of `sigma` pixels, cut at 4 pixels; edges are mirrored."""
    steps = torch.arange(-REACH, REACH + 1, device=x_B3HW.device, dtype=x_B3HW.dtype)
    weight = torch.exp(-0.5 * (steps / sigma.view(-1, 1)) ** 2)
    weight = (weight / weight.sum(1, keepdim=True)).repeat_interleave(3, dim=0)
    B, _, H, W = x_B3HW.shape
    planes = pad(x_B3HW, (REACH,) * 4, mode="reflect").view(1, B * 3, H + 2 * REACH, W + 2 * REACH)
    planes = conv2d(planes, weight.view(-1, 1, 1, 2 * REACH + 1), groups=B * 3)
    return conv2d(planes, weight.view(-1, 1, 2 * REACH + 1, 1), groups=B * 3).view(B, 3, H, W)


def solarised(x_B3HW: Tensor) -> Tensor:
    """Levels of 128 and more inverted."""
    return torch.where(x_B3HW >= THRESHOLD, 1 - x_B3HW, x_B3HW)
