"""SSCD's views: strong blur, text and emoji-like drawings, turns, crops, JPEG; then mixup and CutMix between views.

Views are made in chunks of images, each from a generator seeded by (seed, step, chunk): the same views for any number of
processes, threads and resumes. Differs from the paper: emoji are drawn (discs with faces), images are squashed to a
square before they are cropped, and the chunk is the batch that mixing draws partners from.
Source: arXiv 2202.10261 section 4.3; shares and ranges from facebookresearch/sscd-copy-detection, transforms/settings.py.

Letters: B images of a chunk, N = 2 B views, S V pixels of an image and of a view.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from embedder.augment import GREY, LETTERS, AugmentConfig, blur, by_pillow, colour, cut, on_share, uniform
from embedder.edits import jpeg


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """Shares of views that something happens to, and its range. The defaults are SSCD's "advanced" set with mixing."""

    side: int = 224  # pixels
    area: tuple[float, float] = (0.08, 1.0)  # share of the image that a crop covers
    flip: float = 0.5
    quarter_turns: float = 0.05
    rotate: float = 0.05  # by any angle
    colour: float = 0.8
    strength: float = 0.8  # of brightness, contrast and saturation; the tint's is 0.4 of it
    grey: float = 0.2
    blur: float = 0.5
    sigma: tuple[float, float] = (1.0, 5.0)  # pixels at a side of 224, in proportion at others
    text: float = 0.1  # of 0.1 to 0.3 of the side, opacity 0.1 to 1
    emoji: float = 0.2  # of 0.1 to 0.5 of the side, opacity 0.7 to 1
    jpeg: float = 0.2
    quality: tuple[int, int] = (0, 100)
    mix: float = 0.05  # half of them mixup, half CutMix
    alpha: float = 2.0  # of the Beta distribution that the share of either picture is drawn from

    @property
    def cuts(self) -> AugmentConfig:
        """What `augment.cut` and `augment.colour` do."""
        return AugmentConfig(
            side=self.side, area=self.area, flip=self.flip, quarter_turns=self.quarter_turns, rotate=self.rotate, angle=180.0,
            colour=self.colour, strength=self.strength,
        )  # fmt: skip


def make_views(image_B3SS: Tensor, number_B: Tensor, cfg: ViewConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns two views of every image and whose they are: (N, 3, V, V) float32 in [0, 1] and (N, 2) image numbers.

    image_B3SS: uint8. number_B: int64, what to call each image. Rows b and B + b show image b.
    """
    views = torch.cat([one_view(image_B3SS.float() / 255, cfg, generator) for _ in range(2)])
    return mix(views, number_B.repeat(2), cfg, generator)


def one_view(image_B3SS: Tensor, cfg: ViewConfig, generator: torch.Generator) -> Tensor:
    """Returns (B, 3, V, V): drawn on, cut, recoloured, blurred, compressed, in the paper's order. image_B3SS: [0, 1]."""
    view = on_share(image_B3SS, cfg.text, lambda x: by_pillow(x, draw_text, generator), generator)
    view = on_share(view, cfg.emoji, lambda x: by_pillow(x, draw_emoji, generator), generator)
    view = colour(cut(view, cfg.cuts, generator), cfg.cuts, generator)
    view = on_share(view, cfg.grey, lambda x: (x * GREY).sum(1, keepdim=True).expand(-1, 3, -1, -1), generator)
    view = on_share(view, cfg.blur, lambda x: _blur_each(x, cfg, generator), generator)
    view = on_share(view, cfg.jpeg, lambda x: by_pillow(x, jpeg(*cfg.quality), generator), generator)
    return view.clamp(0, 1)


def _blur_each(view_B3VV: Tensor, cfg: ViewConfig, generator: torch.Generator) -> Tensor:
    """A sigma for each; below half a pixel nothing is left to do."""
    sigmas = [uniform(generator, *cfg.sigma) * cfg.side / 224 for _ in range(len(view_B3VV))]
    return torch.cat([blur(one, s) if s > 0.1 else one for one, s in zip(view_B3VV.split(1), sigmas, strict=True)])


def draw_text(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """One line of text somewhere."""
    layer = Image.new("RGBA", image.size)
    ink = (*chance.integers(0, 256, 3).tolist(), int(255 * chance.uniform(0.1, 1)))
    letters = "".join(chance.choice(LETTERS, chance.integers(3, 16)))
    size = max(4, int(image.width * chance.uniform(0.1, 0.3)))
    x, y = (chance.uniform(0, 0.9, 2) * image.width).tolist()
    ImageDraw.Draw(layer).text((x * 0.6, y), letters, fill=ink, font=ImageFont.load_default(size))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def draw_emoji(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """A disc, box or drop with eyes and a mouth, somewhere: what an emoji hides, without its artwork."""
    layer = Image.new("RGBA", image.size)
    pen = ImageDraw.Draw(layer)
    opacity, size = int(255 * chance.uniform(0.7, 1)), image.width * chance.uniform(0.1, 0.5)
    x, y = (chance.uniform(0, 1, 2) * (image.width - size)).tolist()
    skin, ink = ((*chance.integers(0, 256, 3).tolist(), opacity) for _ in range(2))
    kind = chance.integers(3)
    shape = pen.ellipse if kind == 0 else pen.rectangle
    if kind == 2:
        pen.regular_polygon((x + size / 2, y + size / 2, size / 2), int(chance.integers(3, 8)), fill=skin)
    else:
        shape((x, y, x + size, y + size), fill=skin)
    for eye in (0.3, 0.6):
        pen.ellipse((x + eye * size, y + 0.3 * size, x + (eye + 0.12) * size, y + 0.45 * size), fill=ink)
    start = 180 * int(chance.integers(2))
    pen.arc(
        (x + 0.25 * size, y + 0.45 * size, x + 0.75 * size, y + 0.8 * size), start, start + 180, ink, max(1, int(size / 16))
    )
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def mix(view_N3VV: Tensor, number_N: Tensor, cfg: ViewConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend a share of the views with the view at the same place from the end, or put a box of it in. Elementwise.

    Returns views and (N, 2) image numbers, the second that of the partner where there is one.
    """
    mixed, sources_N2 = view_N3VV.clone(), number_N[:, None].repeat(1, 2)
    chance = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    for row in np.flatnonzero(chance.random(len(view_N3VV)) < cfg.mix).tolist():
        partner, kept = len(view_N3VV) - 1 - row, chance.beta(cfg.alpha, cfg.alpha)
        if chance.random() < 0.5:
            mixed[row] = kept * view_N3VV[row] + (1 - kept) * view_N3VV[partner]
        else:
            top, left, bottom, right = _box(view_N3VV.shape[-1], kept, chance)
            mixed[row, :, top:bottom, left:right] = view_N3VV[partner, :, top:bottom, left:right]
        sources_N2[row, 1] = number_N[partner]
    return mixed, sources_N2


def _box(V: int, kept: float, chance: np.random.Generator) -> tuple[int, int, int, int]:
    """A square of 1 - kept of the area around any point, cut at the edges (CutMix, arXiv 1905.04899)."""
    reach = int(V * (1 - kept) ** 0.5) // 2
    y, x = chance.integers(0, V, 2).tolist()
    return max(0, y - reach), max(0, x - reach), min(V, y + reach), min(V, x + reach)
