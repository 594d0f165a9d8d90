"""A small drawn manifest, and a config that trains on it in seconds."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from embedder.training.config import LoopConfig, TrainConfig
from embedder.training.loader import DataConfig
from embedder.training.optim import OptimConfig
from embedder.training.schedules import ScheduleConfig
from embedder.training.student_teacher import HeadConfig, LossConfig
from embedder.vit import VitConfig


def run_folder(root: Path, images: int = 40) -> Path:
    """RUN/manifest over PNG files of stripes, each with a direction, a width and a colour of its own."""
    rng, rows = np.random.default_rng(0), []
    (root / "manifest").mkdir(parents=True)
    (root / "images").mkdir()
    at = np.mgrid[:48, :48]
    for number in range(images):
        angle, width, colour = rng.uniform(0, np.pi), rng.uniform(3, 9), rng.uniform(40, 215, 3)
        wave = np.sin((at[0] * np.cos(angle) + at[1] * np.sin(angle)) / width)
        pixels = np.clip(colour + 60 * wave[:, :, None] + rng.normal(0, 8, (48, 48, 3)), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        path = root / "images" / f"{number:03d}.png"
        path.write_bytes(buffer.getvalue())
        name = hashlib.sha256(buffer.getvalue()).hexdigest()[:32]
        rows.append({"image_id": name, "uri": str(path), "member": None, "offset": 0, "length": len(buffer.getvalue()),
                     "weight": 1.0, "seed_set": "drawn", "cluster": number % 4})  # fmt: skip
    text, whole = pa.string(), pa.int64()
    kinds = {"image_id": text, "uri": text, "member": text, "offset": whole, "length": whole, "weight": pa.float32(),
             "seed_set": text, "cluster": whole}  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(kinds)), root / "manifest" / "part-00000.parquet")
    return root


def labelled_folder(root: Path, each: int = 12) -> tuple[str, str]:
    """root/train and root/val: stripes, coarse or fine ones, of any colour."""
    rng, at = np.random.default_rng(1), np.arange(48)[:, None, None]
    for part in ("train", "val"):
        for name, width in (("coarse", 6.0), ("fine", 1.5)):
            (root / part / name).mkdir(parents=True)
            for number in range(each):
                wave = 60 * np.sin(at / width + rng.uniform(0, 6)) + rng.normal(0, 30, (48, 48, 3))
                pixels = np.clip(rng.uniform(60, 190, 3) + wave, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return str(root / "train"), str(root / "val")


TINY = TrainConfig(
    schedule=ScheduleConfig(steps=12, warmup=2, base_lr=4e-3, momentum=(0.9, 1.0), teacher_warmup=4, freeze_prototypes=1),
    model=VitConfig(side=32, patch=8, depth=2, layerscale=0.1),
    heads=HeadConfig(prototypes=32, hidden=16, dino_bottleneck=8, ibot_bottleneck=8),
    loss=LossConfig(koleo_group=2),
    optim=OptimConfig(),
    data=DataConfig(global_side=32, local_side=16, locals_=2, workers=0),
    loop=LoopConfig(batch=8, precision="fp32", log_every=1, checkpoint_every=5),
)


def tiny(**changes: dict) -> TrainConfig:
    """TINY with values of its sections changed."""
    return replace(TINY, **{section: replace(getattr(TINY, section), **values) for section, values in changes.items()})
