"""SSCD's official layouts: every file gives the reference form's descriptors; what is no such file is one clear error."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from embedder.copynet import CopyNet
from embedder.encoder import load_encoder, normalise, resized
from embedder.sscd import own_name, read_network, tell_variant, thresholds
from tests.embedder.reference_sscd import Model, classy_form, torchvision_form

FORMS = {"torchvision": torchvision_form, "classy": classy_form}


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Two pictures with a short edge of 64: noise, and a ramp."""
    noise = torch.randint(256, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return torch.stack([noise, torch.linspace(0, 255, 96).byte().expand(3, 64, -1)])


@pytest.fixture(scope="module")
def forms() -> dict[str, Model]:
    return {name: form("resnet50") for name, form in FORMS.items()}


def write(model: Model, layout: str, path: Path) -> None:
    """A state dict, or a trace on one picture, as the authors write theirs."""
    if "torchscript" in layout:
        torch.jit.save(torch.jit.trace(model, torch.zeros(1, 3, 32, 32), check_trace=False), path)
    else:
        torch.save(model.state_dict(), path)


@pytest.mark.parametrize("layout", ["torchvision", "classy torchscript"])
def test_every_layout_gives_the_reference_descriptors(
    layout: str, forms: dict[str, Model], pictures: Tensor, tmp_path: Path
) -> None:
    model, path = forms[layout.split()[0]], tmp_path / "sscd_disc_mixup.pt"
    write(model, layout, path)
    encoder = load_encoder(str(path), size="64")
    with torch.inference_mode():
        expected = model(normalise(pictures / 255))
    assert (encoder(pictures) - expected).abs().max() < 1e-5
    assert (expected[0] - expected[1]).abs().max() > 0.01
    assert (encoder.name, encoder.dim, encoder.side, encoder.fit) == ("sscd_disc_mixup", 512, 64, "short")


def test_the_large_network_gives_the_reference_descriptors(pictures: Tensor, tmp_path: Path) -> None:
    model, path = classy_form("resnext101"), tmp_path / "sscd_disc_large.classy.pt"
    write(model, "classy", path)
    network = read_network(path).eval()
    assert (network.variant, network.dim) == ("resnext101", 1024)
    with torch.inference_mode():
        images = normalise(pictures[1:] / 255)
        assert (network(images) - model(images)).abs().max() < 1e-5


@pytest.mark.parametrize("variant", ["resnet50", "resnext101"])
def test_both_layouts_name_the_same_tensors(variant: str) -> None:
    with torch.device("meta"):
        ours = CopyNet(variant).state_dict()
        forms = [form(variant).state_dict() for form in FORMS.values()]
    for form in forms:
        assert {own_name(name): value.shape for name, value in form.items()} == {n: v.shape for n, v in ours.items()}
        assert tell_variant({own_name(name): value for name, value in form.items()}) == variant


def test_resnext101_has_the_published_size() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in CopyNet("resnext101").parameters())
    # ResNeXt-101 32x4d with 1000 classes has 44.18 million parameters (arXiv 1611.05431, table 1: 44.2M).
    assert round((count - 2049 * 1024 + 2049 * 1000) / 1e6, 1) == 44.2


def test_names_may_lack_their_prefix_and_the_count_of_batches(state: dict[str, Tensor], tmp_path: Path) -> None:
    bare = {k.removeprefix("backbone."): v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(bare, tmp_path / "bare.pt")
    assert torch.equal(read_network(tmp_path / "bare.pt").fc.weight, state["backbone.fc.weight"])


def test_an_encoder_knows_its_file(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "sscd_disc_mixup.torchvision.pt"
    torch.save(state, path)
    encoder = load_encoder(str(path))
    assert (encoder.name, encoder.side, encoder.fit) == ("sscd_disc_mixup", 288, "short")
    assert (encoder.self_similarity, encoder.reference_similarity, encoder.confirm) == (0.60, 0.45, None)
    assert encoder.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    square = resized(encoder, "320x320")
    assert (square.side, square.fit, square.self_similarity) == (320, "skew", 0.60)
    assert resized(encoder, "224x224").self_similarity is None


def test_thresholds_follow_the_name_or_a_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "sscd_imagenet_blur.torchvision.pt"
    assert thresholds(tmp_path / "sscd_disc_mixup.torchscript.pt") == {"self_similarity": 0.60, "reference_similarity": 0.45}
    assert thresholds(path) == {}
    sidecar = tmp_path / "sscd_imagenet_blur.torchvision.pt.json"
    sidecar.write_text(json.dumps({"self_similarity": 0.7, "reference_similarity": 0.5}))
    assert thresholds(path) == {"self_similarity": 0.7, "reference_similarity": 0.5}
    for wrong in ("[", "[1]", '{"self_similarity": "high"}', '{"threshold": 0.5}'):
        sidecar.write_text(wrong)
        with pytest.raises(ValueError, match="its sidecar sscd_imagenet_blur"):
            thresholds(path)


def foreign(kind: str, state: dict[str, Tensor]) -> bytes:
    """A file that is wrong in one way."""
    file = io.BytesIO()
    things: dict[str, Any] = {
        "list": [1, 2],
        "empty": {},
        "number": {"backbone.fc.weight": 3},
        "missing": {k: v for k, v in state.items() if k != "backbone.layer2.0.bn1.bias"},
        "foreign": state | {"backbone.layer5.0.conv1.bias": torch.zeros(3)},
        "shape": state | {"backbone.bn1.bias": torch.zeros(3)},
        "width": state | {"backbone.fc.weight": torch.zeros(100, 2048)},
        "not finite": state | {"backbone.bn1.bias": torch.full((64,), torch.nan)},
        "pickle": Path("a"),
    }
    if kind in things:
        torch.save(things[kind], file)
    elif kind == "frozen":
        torch.jit.save(torch.jit.freeze(torch.jit.trace(torch.nn.Linear(2, 2).eval(), torch.zeros(1, 2))), file)
    elif kind == "opcode":
        return b"."  # the end of a pickle with nothing in it
    elif kind == "cut":
        torch.save(state, file)
        return file.getvalue()[:-1000]
    return file.getvalue() or b"\x80\x02\x00 no weights"


MESSAGES = {
    "list": "holds a list",
    "empty": "no tensors by name",
    "number": "more than tensors: backbone.fc.weight",
    "missing": "1 tensors missing, 0 foreign: lacks layer2.0.bn1.bias",
    "foreign": "0 tensors missing, 1 foreign: has no place for layer5.0.conv1.bias",
    "shape": r"bn1.bias is \(3,\), not \(64,\)",
    "width": "descriptors of 100: not SSCD's",
    "not finite": "bn1.bias holds values that are no numbers",
    "pickle": "cannot be read",
    "frozen": "no tensors by name",
    "cut": "cannot be read",
    "noise": "cannot be read",
    "opcode": "cannot be read: pop from empty list",
}


@pytest.fixture(scope="module")
def state(forms: dict[str, Model]) -> dict[str, Tensor]:
    return forms["torchvision"].state_dict()


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_foreign_or_damaged_file_is_one_clear_error(kind: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "bad.torchvision.pt"
    path.write_bytes(foreign(kind, state))
    with pytest.raises(ValueError, match=rf"bad\.torchvision\.pt is not a usable SSCD file: .*{MESSAGES[kind]}") as error:
        load_encoder(str(path))
    assert "\n" not in str(error.value)


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"backbone.fc.weight": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        load_encoder(str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()


def test_sizes(pictures: Tensor) -> None:
    squash = load_encoder("copy-small", size="96x96")
    assert (squash.side, squash.fit, squash.confirm) == (96, "squash", None)
    assert load_encoder("copy-small", size="64x64").confirm is not None
    short = load_encoder("copy-small", size=64)
    assert (short.side, short.fit, short(pictures).shape) == (64, "short", (2, 256))
    with pytest.raises(ValueError, match="short edge 64"):
        short(pictures[..., :40])
    for wrong in ("20", "2000", "96x95", "big", "-96", "96x"):
        with pytest.raises(ValueError, match='size is "N"'):
            load_encoder("copy-small", size=wrong)
    with pytest.raises(ValueError, match="multiples of 16"):
        load_encoder("vitti16-small", size="90")
