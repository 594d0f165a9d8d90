"""SSCD's official files as a copy network: what the three layouts call each tensor, and which network they hold.

    sscd_disc_mixup.torchvision.pt     state dict under torchvision's names, all below `backbone.`
    sscd_disc_mixup.classy.pt          state dict under Classy Vision's names (`backbone.blocks.0.block0-0....`)
    sscd_disc_mixup.torchscript.pt     a TorchScript archive; its tensors bear one of the two

State dicts are read with `weights_only=True`: no code of a file is run. A TorchScript archive has to be opened by
`torch.jit.load`, which runs no Python either; only its named tensors are taken from it, and its code is dropped.
`sscd_disc_large` (ResNeXt-101 32x4d) was released in the last two layouts only.

Source: facebookresearch/sscd-copy-detection, sscd/models/model.py; ClassyVision, classy_vision/models/resnext.py (both MIT).
"""

import json
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embedder.copynet import VARIANTS, CopyNet

SUFFIXES = (".pt", ".pth")  # of the files that this module reads
SIDE, FIT = 288, "short"  # the README's first choice ...
SIZES = ("288", "320x320")  # ... and both that it recommends
# What is published belongs to sscd_disc_mixup, which the README recommends: DINOv2 (arXiv 2304.07193, appendix A.3) says
# "SSCD" and no more, with 0.60 within the pool and 0.45 against evaluation sets; the README reads 0.75 as 90% precision on
# DISC's pairs. Other files bring a sidecar, or the recipe names both values.
THRESHOLDS: dict[str, dict[str, float]] = {"sscd_disc_mixup": {"self_similarity": 0.60, "reference_similarity": 0.45}}

_BLOCK = r"blocks\.(\d)\.block\1-(\d+)\."
_CLASSY = (
    (r"backbone\.initial_block\._module\.0\.", "conv1."),
    (r"backbone\.initial_block\._module\.1\.", "bn1."),
    (rf"backbone\.{_BLOCK}convolutional_block\.0\.", r"layer\1.\2.conv1."),
    (rf"backbone\.{_BLOCK}convolutional_block\.1\.", r"layer\1.\2.bn1."),
    (rf"backbone\.{_BLOCK}convolutional_block\.3\.", r"layer\1.\2.conv2."),
    (rf"backbone\.{_BLOCK}convolutional_block\.4\.", r"layer\1.\2.bn2."),
    (rf"backbone\.{_BLOCK}convolutional_block\.6\.", r"layer\1.\2.conv3."),
    (rf"backbone\.{_BLOCK}bn\.", r"layer\1.\2.bn3."),
    (rf"backbone\.{_BLOCK}downsample\.", r"layer\1.\2.downsample."),
    (r"embeddings\.1\.", "fc."),
)


def read_network(path: Path) -> CopyNet:
    """The network of an official file, its tensors loaded strictly. Raises ValueError if it is not one, or damaged."""
    tensors = {own_name(name): value.float() for name, value in _read(path).items() if _counts(name)}
    with torch.device("meta"):  # a table of names and shapes: every tensor comes from the file
        network = CopyNet(tell_variant(tensors))
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    _same_names({name for name in shapes if _counts(name)}, set(tensors))
    for name, value in tensors.items():
        if value.shape != shapes[name]:
            raise ValueError(f"{name} is {tuple(value.shape)}, not {tuple(shapes[name])}")
        if not value.isfinite().all():
            raise ValueError(f"{name} holds values that are no numbers")
    unused = {name: torch.zeros(shape, dtype=torch.long) for name, shape in shapes.items() if not _counts(name)}
    network.load_state_dict(tensors | unused, assign=True)
    return network


def own_name(name: str) -> str:
    """The name that a tensor of any of the layouts has in CopyNet; unknown names as they are, without `backbone.`."""
    for pattern, ours in _CLASSY:
        found = re.match(pattern, name)
        if found:
            stage = found.expand(ours) + name[found.end() :]
            return re.sub(r"^layer(\d)", lambda digit: f"layer{int(digit[1]) + 1}", stage)
    return name.removeprefix("backbone.")


def tell_variant(tensors: Mapping[str, Tensor]) -> str:
    """The variant whose blocks and widths the tensors have. Raises ValueError if it is none of SSCD's."""
    stages = Counter(name.split(".")[0] for name in tensors if re.fullmatch(r"layer\d\.\d+\.conv1\.weight", name))
    blocks = tuple(stages[name] for name in sorted(stages))
    inner, fc = tensors.get("layer1.0.conv2.weight"), tensors.get("fc.weight")
    for name, shape in VARIANTS.items():
        if not shape.bottleneck or shape.blocks != blocks or inner is None or fc is None:
            continue
        width = shape.widths[0] * shape.inner
        if inner.shape == (width, width // shape.groups, 3, 3) and len(fc) == shape.dim:
            return name
    told = f"stages of {blocks} blocks" if blocks else "no stages of a ResNet"
    raise ValueError(f"{told}, descriptors of {0 if fc is None else len(fc)}: not SSCD's ResNet-50 or ResNeXt-101")


def _counts(name: str) -> bool:
    """Whether a tensor decides the output: batch norm's count of batches does not, and old files lack it."""
    return not name.endswith("num_batches_tracked")


def _same_names(wanted: set[str], found: set[str]) -> None:
    missing, foreign = sorted(wanted - found), sorted(found - wanted)
    if missing or foreign:
        told = [f"lacks {', '.join(missing[:3])}"] if missing else []
        told += [f"has no place for {', '.join(foreign[:3])}"] if foreign else []
        raise ValueError(f"{len(missing)} tensors missing, {len(foreign)} foreign: {' and '.join(told)}")


def _read(path: Path) -> dict[str, Tensor]:
    """All named tensors of a file."""
    try:
        found: Any = _read_script(path) if _is_script(path) else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for one damaged file
        raise ValueError(f"cannot be read: {_first_line(error)}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"holds a {type(found).__name__}, not a table of tensors")
    odd = [str(name) for name, value in found.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if odd or not found:
        raise ValueError(f"holds more than tensors: {', '.join(odd[:3])}" if odd else "holds no tensors by name (frozen?)")
    return dict(found)


def _is_script(path: Path) -> bool:
    """Whether a zip archive holds TorchScript code beside tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(re.match(r"[^/]+/code/", name) for name in archive.namelist())


def _read_script(path: Path) -> dict[str, Tensor]:
    return dict(torch.jit.load(str(path), map_location="cpu").state_dict())


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).partition(". ")[0][:200]


def thresholds(path: Path) -> dict[str, float]:
    """The copy thresholds that belong to a file: those of its sidecar `<file>.json`, else what is published for its name.

    The sidecar is one JSON object with any of self_similarity, reference_similarity and confirm. Raises ValueError.
    """
    sidecar = path.with_name(f"{path.name}.json")
    if not sidecar.is_file():
        return dict(THRESHOLDS.get(path.name.split(".")[0], {}))
    try:
        values = json.loads(sidecar.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"its sidecar {sidecar.name} is not JSON: {error}") from error
    known = {"self_similarity", "reference_similarity", "confirm"}
    if not isinstance(values, dict) or not set(values) <= known or not all(_number(v) for v in values.values()):
        raise ValueError(f"its sidecar {sidecar.name} must be an object of numbers: {', '.join(sorted(known))}")
    return {name: float(value) for name, value in values.items()}


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
