"""SSCD's networks written once more, under the names of the two libraries it was released for: what `sscd.py` is held to.

Plain torch from the published architecture: torchvision's ResNet with its average pool replaced, and Classy Vision's
ResNeXt with GeM and a linear layer behind it. `randomise` gives every tensor a value that matters.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class Gem(nn.Module):
    """Generalised mean, p = 3."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, c, h * w).clamp(min=1e-6).pow(3).mean(dim=2).pow(1 / 3)


class Unit(nn.Module):
    """Rows to unit length."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)


class TorchvisionBlock(nn.Module):
    """torchvision's Bottleneck: the 3x3 convolution carries the stride."""

    def __init__(self, inside: int, middle: int, outside: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, middle, 1, bias=False), nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3, self.bn3 = nn.Conv2d(middle, outside, 1, bias=False), nn.BatchNorm2d(outside)
        self.relu = nn.ReLU()
        if stride > 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.downsample(x) + self.bn3(self.conv3(y)))


class TorchvisionResNet(nn.Sequential):
    """torchvision's ResNet, its average pool GeM, its `fc` the projection."""

    def __init__(self, blocks: tuple[int, ...], groups: int, width: int, dim: int) -> None:
        parts: list[tuple[str, nn.Module]] = [
            ("conv1", nn.Conv2d(3, 64, 7, 2, 3, bias=False)),
            ("bn1", nn.BatchNorm2d(64)),
            ("relu", nn.ReLU()),
            ("maxpool", nn.MaxPool2d(3, 2, 1)),
        ]
        inside = 64
        for stage, count in enumerate(blocks):
            middle, outside, layer = groups * width << stage, 256 << stage, []
            for number in range(count):
                layer.append(TorchvisionBlock(inside, middle, outside, 2 if stage and not number else 1, groups))
                inside = outside
            parts.append((f"layer{stage + 1}", nn.Sequential(*layer)))
        super().__init__(OrderedDict([*parts, ("avgpool", Gem()), ("fc", nn.Linear(inside, dim))]))


class ClassyBlock(nn.Module):
    """Classy Vision's BottleneckLayer."""

    def __init__(self, inside: int, middle: int, outside: int, stride: int, groups: int) -> None:
        super().__init__()
        self.convolutional_block = nn.Sequential(
            nn.Conv2d(inside, middle, 1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, middle, 3, stride, 1, groups=groups, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, outside, 1, bias=False),
        )
        self.bn, self.relu = nn.BatchNorm2d(outside), nn.ReLU()
        if stride > 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.convolutional_block(x)) + self.downsample(x))


class ClassyStem(nn.Module):
    """Classy Vision's InitialBlock."""

    def __init__(self) -> None:
        super().__init__()
        self._module = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self._module(x)


class ClassyResNeXt(nn.Module):
    """Classy Vision's trunk, without a head."""

    def __init__(self, blocks: tuple[int, ...], groups: int, width: int) -> None:
        super().__init__()
        self.initial_block = ClassyStem()
        stages, inside = [], 64
        for stage, count in enumerate(blocks):
            middle, outside, layer = groups * width << stage, 256 << stage, OrderedDict[str, nn.Module]()
            for number in range(count):
                stride = 2 if stage and not number else 1
                layer[f"block{stage}-{number}"] = ClassyBlock(inside, middle, outside, stride, groups)
                inside = outside
            stages.append(nn.Sequential(layer))
        self.blocks = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.initial_block(x))


class Model(nn.Module):
    """What the released state dicts are of: `backbone`, then `embeddings`."""

    def __init__(self, backbone: nn.Module, embeddings: nn.Module) -> None:
        super().__init__()
        self.backbone, self.embeddings = backbone, embeddings

    def forward(self, x: Tensor) -> Tensor:
        return self.embeddings(self.backbone(x))


SHAPES = {"resnet50": ((3, 4, 6, 3), 1, 64, 512), "resnext101": ((3, 4, 23, 3), 32, 4, 1024)}


def torchvision_form(variant: str, seed: int = 0) -> Model:
    """The network as in *.torchvision.pt, with random tensors, in evaluation mode."""
    return randomise(Model(TorchvisionResNet(*SHAPES[variant]), Unit()), seed)


def classy_form(variant: str, seed: int = 0) -> Model:
    """The network as in *.classy.pt, with random tensors, in evaluation mode."""
    *trunk, dim = SHAPES[variant]
    return randomise(Model(ClassyResNeXt(*trunk), nn.Sequential(Gem(), nn.Linear(2048, dim), Unit())), seed)


@torch.no_grad()
def randomise(model: Model, seed: int) -> Model:
    """Weights by fan-in; norms with gains, offsets, means and spreads of their own."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point():
            value.normal_(0.5 if name.endswith("weight") else 0, 0.1, generator=generator)
    return model.eval()
