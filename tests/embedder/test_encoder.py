"""Weights files: what is shipped loads and keeps its promises, its card agrees with it, and a bad file is one clear
error.
"""

import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from embedder.copynet import CopyNet
from embedder.encoder import KEY, load_encoder, normalise, save_weights
from embedder.vit import VisionTransformer, VitConfig

SHIPPED = ("vitti16-small", "copy-small")
WEIGHTS = Path(str(resources.files("embedder").joinpath("weights")))


def pixels(count: int, side: int) -> torch.Tensor:
    """Random uint8 images."""
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_encoders_give_the_same_unit_rows_every_time(name: str) -> None:
    encoder = load_encoder(name)
    image = pixels(5, encoder.side)
    out = encoder(image)
    assert out.shape == (5, encoder.dim)
    assert out.dtype == torch.float32
    assert torch.allclose(out.norm(dim=1), torch.ones(5), atol=1e-5)
    assert out.numpy().tobytes() == load_encoder(name)(image).numpy().tobytes()
    assert out.std(0).max() > 0.01  # different images, different rows


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_small_and_described(name: str) -> None:
    path, encoder = WEIGHTS / f"{name}.safetensors", load_encoder(name)
    assert path.stat().st_size <= 16e6
    assert encoder.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (encoder.name, encoder.fit) == (name, "squash")


@pytest.mark.parametrize("name", SHIPPED)
def test_model_card_agrees_with_the_metadata(name: str) -> None:
    encoder, card = load_encoder(name), (WEIGHTS / f"{name}.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", card, flags=re.MULTILINE))
    assert told["digest"] == encoder.digest
    assert (told["name"], told["fit"]) == (encoder.name, encoder.fit)
    assert (int(told["side"]), int(told["dim"])) == (encoder.side, encoder.dim)
    for key in ("self_similarity", "reference_similarity", "confirm"):
        assert getattr(encoder, key) == (float(told[key]) if key in told else None)


def test_copy_encoder_has_ordered_thresholds_and_prefers_copies() -> None:
    encoder = load_encoder("copy-small")
    assert encoder.self_similarity is not None
    assert encoder.reference_similarity is not None
    assert -1 < encoder.reference_similarity <= encoder.self_similarity < 1
    ramp = torch.linspace(0, 255, encoder.side).byte().expand(3, encoder.side, -1)
    darker, board = (
        (ramp * 0.9).byte(),
        ((torch.arange(encoder.side)[:, None] // 8 + torch.arange(encoder.side) // 8) % 2 * 255).byte(),
    )
    one, copy, other = encoder(torch.stack([ramp, darker, board.expand(3, -1, -1)]))
    assert one @ copy > encoder.self_similarity > one @ other


def test_rows_do_not_depend_on_their_neighbours() -> None:
    encoder = load_encoder("copy-small")
    image = pixels(4, encoder.side)
    assert torch.allclose(encoder(image)[2:3], encoder(image[2:3]), atol=1e-5)


def test_copy_networks_never_compute_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedder.encoder.native_bfloat16", lambda _: True)
    assert not load_encoder("copy-small").half
    assert load_encoder("vitti16-small").half


def test_a_saved_network_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = VisionTransformer(VitConfig(side=32, depth=1, project=8)).eval()
    save_weights(tmp_path / "tiny.safetensors", network, 32)
    encoder = load_encoder(str(tmp_path / "tiny.safetensors"))
    expected = torch.nn.functional.normalize(network(normalise(pixels(2, 32) / 255)), dim=1)
    assert torch.allclose(encoder(pixels(2, 32)), expected, atol=0.01)  # stored in float16
    assert (encoder.name, encoder.side, encoder.dim, encoder.self_similarity) == ("tiny", 32, 8, None)


def test_wrong_input_is_refused() -> None:
    encoder = load_encoder("copy-small")
    for wrong in (pixels(1, encoder.side + 1), pixels(1, encoder.side).float()):
        with pytest.raises(ValueError, match="takes uint8"):
            encoder(wrong)


def test_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(ValueError, match=r"no encoder 'nothing'.*copy-small"):
        load_encoder("nothing")


def damaged(kind: str, path: Path) -> None:
    """Write a file that is wrong in one way."""
    good, card = (
        CopyNet("small").state_dict(),
        {"name": "x", "network": "copy", "variant": "small", "windows": [1.0], "side": 96, "fit": "squash"},
    )
    if kind == "noise":
        path.write_bytes(b"\x00" * 100)
    elif kind == "cut":
        save_file(good, path, metadata={KEY: json.dumps(card)})
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "no description":
        save_file(good, path)
    elif kind == "not json":
        save_file(good, path, metadata={KEY: "{"})
    elif kind == "missing tensor":
        save_file({k: v for k, v in good.items() if k != "fc.bias"}, path, metadata={KEY: json.dumps(card)})
    elif kind == "other network":
        save_file(good, path, metadata={KEY: json.dumps({**card, "network": "mlp"})})
    elif kind == "no side":
        save_file(good, path, metadata={KEY: json.dumps({k: v for k, v in card.items() if k != "side"})})


@pytest.mark.parametrize("kind", ["noise", "cut", "no description", "not json", "missing tensor", "other network", "no side"])
def test_a_bad_file_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    damaged(kind, path)
    with pytest.raises(ValueError, match=r"bad\.safetensors is not a usable weights file: .+"):
        load_encoder(str(path))


def test_metadata_is_text_only() -> None:
    with safe_open(WEIGHTS / "copy-small.safetensors", "pt") as file:
        assert json.loads(file.metadata()[KEY])["network"] == "copy"


def test_a_cpu_takes_decoded_pictures_and_any_number_of_them():
    encoder = load_encoder("vitti16-small", compiled=True)
    assert (encoder.feed, encoder.batch_rows, encoder.forward.piece(64, 64)) == (None, 0, 0)
