"""Holds `embedder/sscd.py` to the authors' own modules, run from checkouts of theirs: nothing of them is kept here.

    python -m tests.embedder.compare_sscd --sscd DIR --classy DIR --vision DIR

DIRs are working trees of facebookresearch/sscd-copy-detection, facebookresearch/ClassyVision, and pytorch/vision (or any
folder with torchvision/models/resnet.py). Their networks get random tensors, are written as a state dict and as traced
TorchScript, and read by `load_encoder`. Prints the largest difference of a descriptor's values; fails above 1e-5.
What those files import beside torch is replaced by stand-ins: registries, downloads and logging.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import types
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from embedder.encoder import load_encoder, normalise
from tests.embedder.reference_sscd import randomise

CASES = (("TV_RESNET50", 512), ("CV_RESNET50", 512), ("CV_RESNEXT101", 1024))


def module(name: str, file: Path | None = None, **names: Any) -> types.ModuleType:
    """Make a module of `names`, and of a file's code if there is one."""
    made = sys.modules[name] = types.ModuleType(name)
    made.__dict__.update(names)
    made.__package__ = name if "__path__" in names else name.rpartition(".")[0]
    if file is not None:
        exec(compile(file.read_text(), str(file), "exec"), made.__dict__)
    return made


def anything(*_: Any, **__: Any) -> Any:
    """A decorator that decorates nothing, a log that logs nothing, a weight that weighs nothing."""
    return lambda it: it


class Weights:
    """torchvision's table of downloads, empty."""

    verify = classmethod(lambda cls, weights: weights)


class ClassyModel(nn.Module):
    """Classy Vision's base class, as far as a trunk needs it."""

    __jit_unused_properties__: ClassVar[list[str]] = []
    classy_model = property(lambda self: self)


def torchvision_parts(folder: Path) -> None:
    for name in ("torchvision", "torchvision.transforms", "torchvision.models"):
        module(name, __path__=[])
    module("torchvision.transforms._presets", ImageClassification=object)
    module("torchvision.utils", _log_api_usage_once=anything)
    module("torchvision.models._api", register_model=anything, Weights=anything, WeightsEnum=Weights)
    module("torchvision.models._meta", _IMAGENET_CATEGORIES=[])
    put = dict.__setitem__
    module("torchvision.models._utils", _ovewrite_named_param=put, handle_legacy_interface=anything)
    module("torchvision.models.resnet", folder / "torchvision/models/resnet.py")


def classy_parts(folder: Path) -> None:
    known: dict[str, Any] = {}

    def register(name: str) -> Any:
        return lambda cls: known.setdefault(name, cls)

    for name in ("classy_vision", "classy_vision.generic"):
        module(name, __path__=[])
    whole = {"is_pos_int": lambda x: isinstance(x, int) and x > 0, "is_pos_int_tuple": lambda x: isinstance(x, tuple)}
    module("classy_vision.generic.util", **whole)
    build = {"register_model": register, "build_model": lambda told: known[told["name"]]()}
    module("classy_vision.models", __path__=[], **build)
    module("classy_vision.models.classy_model", ClassyModel=ClassyModel)
    module("classy_vision.models.squeeze_and_excitation_layer", SqueezeAndExcitationLayer=object)
    module("classy_vision.models.resnext", folder / "classy_vision/models/resnext.py")


def main() -> None:
    """Compare, print, fail if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("sscd", "classy", "vision"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    torchvision_parts(args.vision)
    classy_parts(args.classy)
    for name in ("sscd", "sscd.models"):
        module(name, __path__=[])
    module("sscd.models.gem_pooling", args.sscd / "sscd/models/gem_pooling.py")
    theirs = module("sscd.models.model", args.sscd / "sscd/models/model.py")
    pictures = torch.randint(256, (2, 3, 96, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pictures[1] = torch.linspace(0, 255, 128).byte()
    for backbone, dim in CASES:
        compare(backbone, randomise(theirs.Model(backbone, dim, 3.0), seed=0), pictures)


@torch.inference_mode()
def compare(backbone: str, model: Any, pictures: torch.Tensor) -> None:
    """Both kinds of file of one network."""
    expected = model(normalise(pictures / 255))
    with tempfile.TemporaryDirectory() as folder:
        paths = {kind: Path(folder) / f"{kind}.pt" for kind in ("state dict", "torchscript")}
        torch.save(model.state_dict(), paths["state dict"])
        torch.jit.save(torch.jit.trace(model, torch.zeros(1, 3, 64, 64), check_trace=False), paths["torchscript"])
        for kind, path in paths.items():
            found = load_encoder(str(path), size=96)(pictures)
            print(f"{backbone:14} {kind:12} largest difference {(found - expected).abs().max().item():.1e}", flush=True)
            assert torch.allclose(found, expected, rtol=0, atol=1e-5)


if __name__ == "__main__":
    main()
