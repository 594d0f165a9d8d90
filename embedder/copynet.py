"""The copy-detection network, in SSCD's form: a ResNet trunk, GeM pooling, one linear layer, unit length.

What is special: GeM with a fixed p = 3 in place of the average pool (a learned p diverged for SSCD's authors), and `fc`
holds the descriptor's projection. Tensors bear torchvision's names; `sscd.py` reads the official files. The small
network adds up what it sees in the whole picture and in its centre, which makes up for the frames and turns it was
trained too briefly on.
Source: arXiv 2202.10261 section 4; RegionGeM and model code of facebookresearch/sscd-copy-detection (MIT).

Letters: B images, C channels, H W pixels, h w positions after the trunk, E descriptor width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The shape of one copy network."""

    bottleneck: bool
    blocks: tuple[int, ...]
    widths: tuple[int, ...]  # base width of each stage; a bottleneck puts out four times as much
    dim: int  # descriptor width
    groups: int = 1  # of a bottleneck's 3x3 convolution ...
    inner: int = 1  # ... and its width, in base widths

    @property
    def expansion(self) -> int:
        """Output channels over inner width of one block."""
        return 4 if self.bottleneck else 1


# resnet50: SSCD's released models, 512-d; resnext101: its large one, ResNeXt-101 32x4d (32 groups, 4 channels each in the
# first stage). small: trained here, see weights/copy-small.md. medium: the same, two blocks in the last stages.
VARIANTS = {
    "resnet50": Variant(bottleneck=True, blocks=(3, 4, 6, 3), widths=(64, 128, 256, 512), dim=512),
    "resnext101": Variant(bottleneck=True, blocks=(3, 4, 23, 3), widths=(64, 128, 256, 512), dim=1024, groups=32, inner=2),
    "small": Variant(bottleneck=False, blocks=(1, 1, 1, 1), widths=(32, 64, 128, 256), dim=256),
    "medium": Variant(bottleneck=False, blocks=(1, 1, 2, 2), widths=(32, 64, 128, 256), dim=256),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, shape: Variant, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(before, width * shape.expansion, stride)

    def forward(self, x_BChw: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x_BChw)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + (x_BChw if self.downsample is None else self.downsample(x_BChw)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride), 1x1 and a shortcut; the output is four times as wide as the inside."""

    def __init__(self, shape: Variant, before: int, width: int, stride: int) -> None:
        super().__init__()
        inner, after = width * shape.inner, width * shape.expansion
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=shape.groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = _shortcut(before, after, stride)

    def forward(self, x_BChw: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x_BChw)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x_BChw if self.downsample is None else self.downsample(x_BChw)))


def _shortcut(before: int, after: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and before == after:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


def gem(x_BChw: Tensor, p: float = 3.0) -> Tensor:
    """Generalised mean over positions: (B, C, h, w) to (B, C). Inputs are clamped to 1e-6; p = 1 is the plain mean."""
    return x_BChw.clamp(min=1e-6).pow(p).mean((2, 3)).pow(1 / p)


def centre(image_B3HW: Tensor, share: float) -> Tensor:
    """Returns the middle `share` of both edges, enlarged to H x W again; all of it for a share of 1."""
    H, W = image_B3HW.shape[2:]
    top, left = round(H * (1 - share) / 2), round(W * (1 - share) / 2)
    if not top and not left:
        return image_B3HW
    return functional.interpolate(image_B3HW[:, :, top : H - top, left : W - left], size=(H, W), mode="bilinear")


class CopyNet(nn.Module):
    """Images to unit descriptors whose cosine says how likely two images are edits of one another.

    windows: the shares of the edges that are looked at; descriptors of several are averaged before their length is taken.
    """

    def __init__(self, variant: str = "small", windows: tuple[float, ...] = (1.0,)) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"unknown copy network {variant!r}; known: {', '.join(VARIANTS)}")
        shape = VARIANTS[variant]
        self.variant, self.dim, self.windows = variant, shape.dim, windows
        stem = shape.widths[0]
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = stem
        for number, (width, count) in enumerate(zip(shape.widths, shape.blocks, strict=True), start=1):
            setattr(self, f"layer{number}", _stage(shape, before, width, count, stride=1 if number == 1 else 2))
            before = width * shape.expansion
        self.fc = nn.Linear(before, shape.dim)
        _initialise(self)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Returns (B, E), rows of unit length. image_B3HW: normalised pixels of any size from 32 up."""
        return functional.normalize(self.raw(image_B3HW), dim=1)

    def raw(self, image_B3HW: Tensor) -> Tensor:
        """Returns (B, E) before the division by length; training centres and scales these."""
        pooled = [gem(self.trunk(centre(image_B3HW, share))) for share in self.windows]
        return self.fc(torch.stack(pooled).mean(0))

    def trunk(self, image_B3HW: Tensor) -> Tensor:
        """Returns (B, C, H/32, W/32), non-negative."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(image_B3HW))))
        for stage in self.stages():
            x = stage(x)
        return x

    def stages(self) -> list[nn.Module]:
        """The stages, each at half the resolution of the one before."""
        return [module for name, module in self.named_children() if name.startswith("layer")]


def _stage(shape: Variant, before: int, width: int, count: int, stride: int) -> nn.Sequential:
    block = Bottleneck if shape.bottleneck else BasicBlock
    first = block(shape, before, width, stride)
    return nn.Sequential(first, *(block(shape, width * shape.expansion, width, 1) for _ in range(count - 1)))


def _initialise(model: CopyNet) -> None:
    """As SSCD trains: He normal convolutions, the last norm of every block at zero, `fc` Xavier uniform."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
    nn.init.xavier_uniform_(model.fc.weight)
    with torch.no_grad():
        model.fc.bias.zero_()
