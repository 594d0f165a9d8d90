"""The making of an embedder for small pictures, on drawn stripes of two directions."""

import io
import json
import tarfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomli_w
import torch
from PIL import Image

from embedder import ship
from embedder.encoder import load_encoder
from embedder.training.config import from_table
from embedder.vit import VisionTransformer, VitConfig
from tests.embedder.training.drawn import TINY


def stripes(folder: Path, count: int, seed: int) -> dict[str, str]:
    """A tar of 32-pixel pictures, KEY.jpg and KEY.cls; classes by key."""
    rng, at, classes = np.random.default_rng(seed), np.mgrid[:32, :32], {}
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as tar:
        for number in range(count):
            key, kind = f"{number:04d}", number % 2
            wave = np.sin(at[kind] * rng.uniform(0.5, 0.9) + rng.uniform(0, 6))[:, :, None]
            pixels = np.clip(120 + 80 * wave + rng.normal(0, 12, (32, 32, 3)), 0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG")
            classes[key] = ("rows", "columns")[kind]
            for name, data in ((f"{key}.jpg", buffer.getvalue()), (f"{key}.cls", classes[key].encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return classes


def test_tars_become_an_encoder_whose_knn_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    classes = stripes(tmp_path / "pool", 24, 0)
    stripes(tmp_path / "val", 12, 1)
    pq.write_table(pa.table({"key": list(classes), "wnid": list(classes.values())}), tmp_path / "labels.parquet")
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(asdict(TINY)))
    out = tmp_path / "made.safetensors"
    places = {"data": tmp_path / "pool", "val": tmp_path / "val", "labels": tmp_path / "labels.parquet", "out": out,
              "config": tmp_path / "tiny.toml", "work": tmp_path / "work", "side": 48, "width": 8, "device": "cpu"}  # fmt: skip
    words = [word for name, value in places.items() for word in (f"--{name}", str(value))]
    words += ["--set", "schedule.steps=4", "--set", "loop.checkpoint_every=2"]
    monkeypatch.setattr("sys.argv", ["ship", *words])
    ship.main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["images"] == 24
    assert [row["step"] for row in told["curve"]] == [2, 4]
    assert 0.5 < told["knn"] <= 1  # two directions of stripes: no training is needed to beat chance
    encoder = load_encoder(str(out))
    assert (encoder.side, encoder.dim) == (48, 8)
    assert encoder(torch.zeros(1, 3, 48, 48, dtype=torch.uint8)).norm() == pytest.approx(1, abs=1e-5)


def test_another_side_gives_the_same_tokens_as_resizing_on_the_way() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(VitConfig(side=32, patch=8, depth=2)).eval()
    pixels = torch.randn(2, 3, 48, 48)
    other = ship.at_side(network, 48, "mean")
    assert other.config.grid == 6
    assert torch.allclose(other.tokens(pixels), network.tokens(pixels), atol=1e-5)


@pytest.mark.parametrize(("table", "named"), [({"modle": {}}, "modle"), ({"schedule": {"step": 1}}, "step")])
def test_an_unknown_key_of_a_config_is_named(table: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        from_table(table)
