"""An embedder for small pictures by the DINOv2 trainer: train on tars, watch k-NN along the way, reduce to its axes, write.

    python -m embedder.ship --data pool/ --labels labels.parquet --val val/ --work work/ --out NAME.safetensors

For a GPU and minutes; what ships was made on a CPU, from a teacher without gradients (contrastive.py). The labels are looked at
by k-NN alone. What is written is the teacher of the last step with the side, pooling and
projection that the options name; curve.json in the work folder has the k-NN of every checkpoint.

Letters: N images, S pixels, D pooled width.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tarfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from curation.decode import decode
from embedder.calibrate import whitening
from embedder.encoder import native_bfloat16, normalise, save_weights
from embedder.evaluation.knn import accuracy
from embedder.pictures import read_tars
from embedder.training import checkpoint
from embedder.training.config import TrainConfig, from_table
from embedder.training.distillation import teacher_of
from embedder.training.train import Ahead, begun, step, train
from embedder.vit import VisionTransformer, with_projection

NEIGHBOURS, CELLS = 20, 2
WARM, TIMED = 15, 30  # steps
POOLS = ("cls", "mean", "grid")


@dataclass(frozen=True)
class Labelled:
    """Pictures in memory, uint8 (N, 3, S, S), and their classes."""

    image_N3SS: Tensor
    label_N: Tensor


def write_manifest(folder: Path, path: Path) -> int:
    """The .jpg members of a folder's tars as a manifest that the trainer reads; how many."""
    rows = []
    for tar_path in sorted(folder.glob("*.tar")):
        with tarfile.open(tar_path) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    data = tar.extractfile(member).read()  # pyright: ignore[reportOptionalMemberAccess]
                    rows.append((hashlib.sha256(data).hexdigest()[:32], str(tar_path), member.offset_data, member.size))
    kinds = {"image_id": pa.string(), "uri": pa.string(), "offset": pa.int64(), "length": pa.int64()}
    columns = zip(*rows, strict=True) if rows else [[] for _ in kinds]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds.values(), strict=True)]
    pq.write_table(pa.table(arrays, names=list(kinds)), path)
    return len(rows)


def read_labelled(folder: Path, side: int, number: dict[str, int], classes: dict[str, str] | None = None) -> Labelled:
    """Every picture with a known class, squashed to `side`. classes: by key; None reads the tars' .cls members."""
    known = classes or {key: data.decode().strip() for key, data in read_tars(folder, ".cls")}
    for name in sorted(set(known.values())):
        number.setdefault(name, len(number))
    found = [(data, number[known[key]]) for key, data in read_tars(folder) if key in known]
    with ThreadPoolExecutor() as threads:
        pictures = list(threads.map(lambda one: decode(one[0], side, "squash"), found))
    return Labelled(torch.stack(pictures), torch.tensor([label for _, label in found]))


def at_side(network: VisionTransformer, side: int, pool: str) -> VisionTransformer:
    """A copy whose stored positions are those of pictures of `side` pixels, and that pools as asked."""
    config = replace(network.config, side=side, pool=pool, cells=CELLS)  # pyright: ignore[reportArgumentType]
    tensors = network.state_dict()
    if "pos_embed" in tensors:
        tensors["pos_embed"] = network.positions(config.grid, config.grid).detach()
    other = VisionTransformer(config)
    other.load_state_dict(tensors)
    return other.eval()


@torch.inference_mode()
def pooled(network: VisionTransformer, image_N3SS: Tensor, device: str) -> Tensor:
    """(N, D) float32 on the CPU."""
    network, half, out = network.to(device), native_bfloat16(device), []
    for part in image_N3SS.split(1024 if device != "cpu" else 64):
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            out.append(network.pooled(normalise(part.to(device).float() / 255)).float().cpu())
    return torch.cat(out)


def projected(train_ND: Tensor, width: int, power: float) -> nn.Linear:
    """The linear layer that brings features to their first principal axes, each divided by its spread to `power`."""
    width = min(width, train_ND.shape[1])
    weight, bias = whitening(train_ND[:: max(1, len(train_ND) // 20_000)], width, power)
    layer = nn.Linear(train_ND.shape[1], width)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def knn(train_NE: Tensor, known: Labelled, val_ME: Tensor, asked: Labelled) -> float:
    """Top-1 of DINOv2's weighted vote."""
    there = "cuda" if torch.cuda.is_available() else "cpu"
    tensors = (one.to(there) for one in (train_NE, known.label_N, val_ME, asked.label_N))
    found = accuracy(*tensors, (NEIGHBOURS,))
    return round(found[NEIGHBOURS], 4)


@torch.no_grad()
def tables(network: VisionTransformer, known: Labelled, asked: Labelled, args: argparse.Namespace) -> dict[str, float]:
    """k-NN of every pooling and power: what --pool and --power are chosen from."""
    out = {}
    for pool in POOLS:
        wide = at_side(network, args.side, pool)
        train_ND, val_MD = pooled(wide, known.image_N3SS, args.device), pooled(wide, asked.image_N3SS, args.device)
        for power in (0.0, 0.25, 0.5):
            layer = projected(train_ND, args.width, power)
            out[f"{pool} {power}"] = knn(layer(train_ND), known, layer(val_MD), asked)
    return out


@torch.no_grad()
def finished(network: VisionTransformer, known: Labelled, args: argparse.Namespace) -> VisionTransformer:
    """The network as it ships: at its side, pooled, projected."""
    wide = at_side(network, args.side, args.pool)
    layer = projected(pooled(wide, known.image_N3SS, args.device), args.width, args.power)
    return with_projection(wide.cpu(), layer).eval()


def curve(folder: Path, known: Labelled, asked: Labelled, args: argparse.Namespace) -> list[dict[str, Any]]:
    """k-NN of the averaged backbone at every checkpoint that stayed."""
    rows = []
    for path in checkpoint.found(folder):
        network = at_side(teacher_of(folder, path)["backbone"], args.side, args.pool)
        top1 = knn(*_both(network, known, asked, args))
        rows.append({"step": int(path.name.removeprefix("step-")), "knn": top1})
    return rows


def _both(network: VisionTransformer, known: Labelled, asked: Labelled, args: argparse.Namespace) -> tuple[Any, ...]:
    return pooled(network, known.image_N3SS, args.device), known, pooled(network, asked.image_N3SS, args.device), asked


def read_config(name_or_path: str, changes: Sequence[str]) -> TrainConfig:
    """A shipped config or a TOML file, with `section.key=value` changes."""
    shipped = Path(str(resources.files("embedder").joinpath("training", "configs", f"{name_or_path}.toml")))
    table = tomllib.loads((shipped if shipped.is_file() else Path(name_or_path)).read_text())
    for change in changes:
        path, _, value = change.partition("=")
        section, _, key = path.partition(".")
        table.setdefault(section, {})[key] = tomllib.loads(f"value = {value}")["value"]
    return from_table(table)


def fitted(cfg: TrainConfig, manifest: Path, seconds: float, device: str) -> TrainConfig:
    """The config with as many steps as fit into `seconds` here; warm-ups keep their share of them."""
    state = begun(cfg, str(manifest), Path(), device)
    images, began = Ahead(iter(state.batches)), 0.0
    for number in range(WARM + TIMED):
        began = time.monotonic() if number == WARM else began
        step(state, images)  # waits for the device once
    told = cfg.schedule
    steps = max(1, int(seconds * TIMED / (time.monotonic() - began)))
    parts = {name: round(getattr(told, name) * steps / told.steps) for name in ("warmup", "teacher_warmup")}
    return replace(cfg, schedule=replace(told, steps=steps, **parts))


def main() -> None:
    """Train, measure, reduce, write; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="tars of KEY.jpg")
    parser.add_argument("--labels", type=Path, required=True, help="Parquet with key, wnid: classes of --data, for k-NN")
    parser.add_argument("--val", type=Path, required=True, help="tars of KEY.jpg and KEY.cls, for k-NN")
    parser.add_argument("--config", default="shipped")
    parser.add_argument("--set", action="append", default=[], dest="changes", help="section.key=value, in TOML")
    parser.add_argument("--seconds", type=float, default=0.0, help="of the training: as many steps as fit; 0: the config's")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints and the log; gone on with if there are any")
    parser.add_argument("--side", type=int, default=64, help="pixels that the encoder is asked at")
    parser.add_argument("--pool", choices=POOLS, default="mean")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--power", type=float, default=0.25, help="0 only rotates, 1 whitens fully")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tables", action="store_true", help="k-NN of every pooling and power")
    parser.add_argument("--out", type=Path, help="the encoder")
    parser.add_argument("--backbone", type=Path, help="the teacher as it was trained, to be reduced in another way")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    cfg, manifest = read_config(args.config, args.changes), args.work / "manifest.parquet"
    count, began = write_manifest(args.data, manifest), time.monotonic()
    cfg = fitted(cfg, manifest, args.seconds, args.device) if args.seconds else cfg
    train(cfg, str(manifest), args.work / "train", args.device)
    seconds, number = time.monotonic() - began, dict[str, int]()
    classes = dict(zip(*pq.read_table(args.labels, columns=["key", "wnid"]).to_pydict().values(), strict=True))
    known, asked = read_labelled(args.data, args.side, number, classes), read_labelled(args.val, args.side, number)
    network = teacher_of(args.work / "train")["backbone"]
    final = finished(network, known, args)
    if args.out:
        save_weights(args.out, final, args.side)
    if args.backbone:
        save_weights(args.backbone, network, network.config.side)
    result: dict[str, Any] = {"images": count, "steps": cfg.schedule.steps, "train_s": round(seconds, 1)}
    result["knn"] = knn(*_both_projected(final, known, asked, args))
    print(json.dumps(result), flush=True)
    if args.tables:
        result["tables"] = tables(network, known, asked, args)
        print(json.dumps(result), flush=True)
    result["curve"] = curve(args.work / "train", known, asked, args)
    (args.work / "curve.json").write_text(json.dumps(result["curve"]))
    print(json.dumps(result))


@torch.inference_mode()
def _both_projected(network: VisionTransformer, known: Labelled, asked: Labelled, args: argparse.Namespace) -> tuple[Any, ...]:
    layer = network.project.to(args.device)
    train_ND, _, val_MD, _ = _both(network, known, asked, args)
    return layer(train_ND.to(args.device)).cpu(), known, layer(val_MD.to(args.device)).cpu(), asked


if __name__ == "__main__":
    main()
