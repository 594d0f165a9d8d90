"""Random edits of images, batched on tensors: where a view is cut from, and what people do to it.

`cut` samples one crop, flip, rotation and frame for every image with a single affine map; the edits after it each
touch a random share of the batch. JPEG, text and shapes go through Pillow, because the point is to meet the real thing.

Letters: B images, S pixels of a stored image, V pixels of a view. Floats are in [0, 1].
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

PillowEdit = Callable[[Image.Image, np.random.Generator], Image.Image]
GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,!?"))


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What happens to a view. Every number that is not a range is the share of images it happens to."""

    side: int  # pixels of a view
    area: tuple[float, float] = (0.3, 1.0)  # share of the image that a crop covers
    aspect: float = 4 / 3  # the crop's stretch is log-uniform between 1 / aspect and aspect
    whole: float = 0.0  # no crop at all
    flip: float = 0.5
    rotate: float = 0.0  # by up to `angle`
    angle: float = 25.0  # degrees
    quarter_turns: float = 0.0
    frame: float = 0.0  # zoomed out, up to half as large, on a plain background
    colour: float = 0.8
    strength: float = 0.3  # of brightness, contrast and saturation
    grey: float = 0.1
    blur: float = 0.0  # sigma up to 4% of the side
    pixelate: float = 0.0  # down to a fifth to four fifths of the side and up again
    noise: float = 0.0
    overlay: float = 0.0  # text and shapes, drawn by Pillow
    collage: float = 0.0  # pasted on, or blended with, another image of the batch
    inner: tuple[float, float] = (0.55, 0.85)  # share of the edges that a pasted image covers
    jpeg: float = 0.0  # quality 5 to 60, by Pillow


# Few and mild: layout and colour stay useful for retrieval.
GENTLE = AugmentConfig(side=64)
# After SSCD's "advanced" and "mixup" sets (arXiv 2202.10261 section 4.3), shares raised for a short training.
EDITS = AugmentConfig(
    side=64,
    area=(0.25, 1.0),
    aspect=1.6,
    whole=0.12,
    flip=0.4,
    rotate=0.4,
    quarter_turns=0.08,
    frame=0.15,
    colour=0.6,
    strength=0.6,
    grey=0.2,
    blur=0.25,
    pixelate=0.15,
    noise=0.1,
    overlay=0.35,
    collage=0.08,
    jpeg=0.25,
)
EASED = (
    "rotate",
    "quarter_turns",
    "frame",
    "colour",
    "grey",
    "blur",
    "pixelate",
    "noise",
    "overlay",
    "collage",
    "jpeg",
)


def ease(cfg: AugmentConfig, effort: float) -> AugmentConfig:
    """Returns gentler edits: every share but the flip's times `effort` (0 to 1), and crops that cover more."""
    shares = {name: effort * getattr(cfg, name) for name in EASED}
    return replace(cfg, area=(1 - effort * (1 - cfg.area[0]), cfg.area[1]), **shares)


def make_view(image_B3SS: Tensor, cfg: AugmentConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns two (B, 3, V, V) float32 tensors: the view as cut, and the view as edited.

    image_B3SS: uint8. The same generator state gives the same views.
    """
    cut_B3VV = cut(image_B3SS.float() / 255, cfg, generator)
    view = colour(cut_B3VV, cfg, generator)
    for share, edit in (
        (cfg.grey, lambda x: (x * GREY).sum(1, keepdim=True).expand(-1, 3, -1, -1)),
        (cfg.blur / 2, lambda x: blur(x, uniform(generator, 0.006, 0.04) * cfg.side)),
        (cfg.blur / 2, lambda x: blur(x, uniform(generator, 0.006, 0.02) * cfg.side)),
        (cfg.pixelate, lambda x: pixelate(x, uniform(generator, 0.2, 0.8))),
        (cfg.collage / 2, lambda x: paste(x, cut_B3VV, cfg.inner, generator)),
        (cfg.collage / 2, lambda x: x.lerp(others(cut_B3VV, len(x), generator), uniform(generator, 0.15, 0.4))),
        (cfg.overlay, lambda x: by_pillow(x, draw_overlay, generator)),
        (cfg.noise, lambda x: x + uniform(generator, 0.01, 0.08) * torch.randn(x.shape, generator=generator)),
        (cfg.jpeg, lambda x: by_pillow(x, recompress, generator)),
    ):
        view = on_share(view, share, edit, generator)
    return cut_B3VV, view.clamp(0, 1)


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """One number between low and high."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def on_share(view_B3VV: Tensor, share: float, edit: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
    """Apply `edit` to a random `share` of the batch; the others stay as they are."""
    chosen = (torch.rand(len(view_B3VV), generator=generator) < share).nonzero().squeeze(1)
    if not len(chosen):
        return view_B3VV
    return view_B3VV.index_copy(0, chosen, edit(view_B3VV[chosen]))


def cut(image_B3SS: Tensor, cfg: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Returns (B, 3, V, V): one crop each, flipped, turned and framed by chance; outside the image is one colour."""
    B = len(image_B3SS)
    maps_B23 = crop_maps(B, cfg, generator)
    grid = functional.affine_grid(maps_B23, [B, 3, cfg.side, cfg.side], align_corners=False)
    view = functional.grid_sample(image_B3SS, grid, padding_mode="zeros", align_corners=False)
    if not (cfg.rotate or cfg.frame):
        return view
    inside = (grid.abs() <= 1).all(-1).unsqueeze(1)
    plain = torch.rand(B, 3, 1, 1, generator=generator).round(decimals=1)
    plain[torch.rand(B, generator=generator) < 0.6] = 0.0
    return torch.where(inside, view, plain)


def crop_maps(B: int, cfg: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Returns (B, 2, 3): affine maps from a view's coordinates to the image's, both in [-1, 1]."""

    def chance(share: float) -> Tensor:
        return torch.rand(B, generator=generator) < share

    area = cfg.area[0] + (cfg.area[1] - cfg.area[0]) * torch.rand(B, generator=generator)
    stretch = torch.exp((torch.rand(B, generator=generator) * 2 - 1) * math.log(cfg.aspect) / 2)
    width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    whole = chance(cfg.whole)
    width, height = width.masked_fill(whole, 1.0), height.masked_fill(whole, 1.0)
    x, y = ((torch.rand(B, generator=generator) * 2 - 1) * (1 - extent) for extent in (width, height))
    framed = torch.where(chance(cfg.frame), 1 + torch.rand(B, generator=generator), 1.0)
    width, height = width * framed, height * framed
    angle = torch.where(chance(cfg.rotate), (torch.rand(B, generator=generator) * 2 - 1) * math.radians(cfg.angle), 0.0)
    quarters = torch.randint(1, 4, (B,), generator=generator) * chance(cfg.quarter_turns)
    angle = angle + quarters * math.pi / 2
    mirror = torch.where(chance(cfg.flip), -1.0, 1.0)
    row_x = torch.stack([width * angle.cos() * mirror, -width * angle.sin(), x], dim=1)
    row_y = torch.stack([height * angle.sin() * mirror, height * angle.cos(), y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def colour(view_B3VV: Tensor, cfg: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and a tint, each within `strength`, for a share of the batch."""

    def factor(strength: float) -> Tensor:
        return 1 + strength * (torch.rand(n, 1, 1, 1, generator=generator) * 2 - 1)

    chosen = (torch.rand(len(view_B3VV), generator=generator) < cfg.colour).nonzero().squeeze(1)
    n = len(chosen)
    x = view_B3VV[chosen]
    x = x * factor(cfg.strength)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * factor(cfg.strength)
    grey = (x * GREY).sum(1, keepdim=True)
    x = grey + (x - grey) * factor(cfg.strength)
    x = x * (1 + 0.4 * cfg.strength * (torch.rand(n, 3, 1, 1, generator=generator) * 2 - 1))
    return view_B3VV.index_copy(0, chosen, x.clamp(0, 1))


def blur(view_B3VV: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with one sigma, in pixels, for all images given."""
    reach = max(1, math.ceil(2.5 * sigma))
    weight = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weight = (weight / weight.sum()).repeat(3, 1, 1, 1)
    padded = functional.pad(view_B3VV, (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, weight, groups=3), weight.transpose(2, 3), groups=3)


def pixelate(view_B3VV: Tensor, share: float) -> Tensor:
    """Resize to `share` of the side and back."""
    V = view_B3VV.shape[-1]
    small = functional.interpolate(view_B3VV, size=max(8, round(V * share)), mode="bilinear", antialias=True)
    return functional.interpolate(small, size=V, mode="bilinear")


def others(pool_B3VV: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Returns (count, 3, V, V): other images of the batch, drawn with repetition."""
    return pool_B3VV[torch.randint(len(pool_B3VV), (count,), generator=generator)]


def paste(view_B3VV: Tensor, pool_B3VV: Tensor, shares: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Put each image, shrunk to one of `shares` of the side, somewhere on another image."""
    V = view_B3VV.shape[-1]
    inner = round(V * uniform(generator, *shares))
    top, left = (round(uniform(generator, 0, V - inner)) for _ in range(2))
    canvas = others(pool_B3VV, len(view_B3VV), generator).clone()
    shrunk = functional.interpolate(view_B3VV, size=inner, mode="bilinear", antialias=True)
    canvas[:, :, top : top + inner, left : left + inner] = shrunk
    return canvas


def by_pillow(view_B3VV: Tensor, edit: PillowEdit, generator: torch.Generator) -> Tensor:
    """Run `edit(image, numpy_generator)` on each image as 8-bit RGB."""
    chance = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    pixels = (view_B3VV.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    edited = np.stack([np.asarray(edit(Image.fromarray(one), chance)) for one in pixels])
    return torch.from_numpy(edited).permute(0, 3, 1, 2).float() / 255


def recompress(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Through JPEG at quality 5 to 60."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(chance.integers(5, 61)))
    return Image.open(file).convert("RGB")


def draw_overlay(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """One to three texts, boxes, discs or lines of random colour and opacity over the picture."""
    side = image.width
    layer = Image.new("RGBA", image.size)
    pen = ImageDraw.Draw(layer)
    for _ in range(chance.integers(1, 4)):
        ink = (*chance.choice([0, 255, 128, 200, 60], 3).tolist(), int(chance.integers(130, 256)))
        x, y = (chance.uniform(0, 0.75, 2) * side).tolist()
        w, h = (chance.uniform(0.1, 0.5, 2) * side).tolist()
        kind = chance.integers(5)
        if kind < 2:
            text = "".join(chance.choice(LETTERS, chance.integers(3, 16)))
            pen.text((x * 0.6, y), text, fill=ink, font=_font(int(side * chance.uniform(0.08, 0.3))))
        elif kind == 2:
            pen.rectangle((x, y, x + w, y + h), fill=ink)
        elif kind == 3:
            pen.ellipse((x, y, x + w, y + w), fill=ink)
        else:
            pen.line((x, y, x + w, y + h), fill=ink, width=max(1, side // 24))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


_FONTS: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if size not in _FONTS:
        _FONTS[size] = ImageFont.load_default(size)
    return _FONTS[size]
