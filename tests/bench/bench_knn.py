"""How good is the shipped embedder: k-NN top-1 on labelled photographs, beside raw pixels.

    python -m tests.bench.bench_knn --train DIR --labels FILE --val DIR --json

DIR holds tars of KEY.jpg (and, in --val, KEY.cls); FILE is Parquet with columns key, wnid.
Protocol: DINOv2's (k = 20, cosine, votes weighted by softmax at 0.07 of the 200 nearest). Raw pixels: 32 x 32, first 256
principal axes, same vote. Random weights: the same network as it is before training. --teacher: the hand-made descriptors that
the shipped network learned from, fitted on --train as in its training, too.
The last line printed is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from curation.decode import decode
from embedder.contrastive import pairs
from embedder.contrastive_config import DEFAULTS
from embedder.encoder import Encoder, frozen, load_encoder
from embedder.evaluation.knn import classify
from embedder.pictures import Pictures, read_tars
from embedder.teacher import fit_teacher
from embedder.vit import VisionTransformer

NEIGHBOURS, AXES = 20, 256


def vote(train_ND: Tensor, label_N: Tensor, query_MD: Tensor, classes: int) -> Tensor:
    """Returns (M,) int64: the class with the heaviest vote among the nearest rows. Rows need not be unit length."""
    return classify(train_ND, label_N, query_MD, classes, (NEIGHBOURS,))[NEIGHBOURS]


def principal_axes(train_ND: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Returns the mean (D,) and the first `count` principal axes (D, count)."""
    mean_D = train_ND.mean(0)
    axes = torch.linalg.eigh((train_ND - mean_D).T @ (train_ND - mean_D)).eigenvectors
    return mean_D, axes.flip(1)[:, :count]


@dataclass(frozen=True)
class Read:
    """A folder of N pictures: keys, those of the encoder's size (N, 3, S, S) and those of 32 pixels as rows, both uint8."""

    keys: list[str]
    picture_N3SS: Tensor
    pixel_ND: Tensor

    @property
    def pixels(self) -> Tensor:
        """The rows in [0, 1]."""
        return self.pixel_ND.float() / 255


def read(folder: Path, encoder: Encoder) -> Read:
    """Decode every picture twice."""
    keys, pictures, pixels = list[str](), list[Tensor](), list[Tensor]()
    for key, data in read_tars(folder):
        keys.append(key)
        pictures.append(decode(data, encoder.side, encoder.fit))
        pixels.append(decode(data, 32, "squash").flatten())
    return Read(keys, torch.stack(pictures), torch.stack(pixels))


def embedded(picture_N3SS: Tensor, network: Callable[[Tensor], Any]) -> Tensor:
    """(N, E), 256 pictures at a time."""
    return torch.cat([torch.as_tensor(network(part)) for part in picture_N3SS.split(256)])


def untrained(encoder: Encoder) -> Encoder:
    """The same network with the weights that a training would begin with."""
    assert isinstance(encoder.network, VisionTransformer)
    torch.manual_seed(0)
    return frozen(VisionTransformer(encoder.network.config), encoder.device, name="random", side=encoder.side, fit=encoder.fit)


def taught(train: Read) -> Callable[[Tensor], Tensor]:
    """The teacher of embedder/contrastive.py, fitted on these pictures."""
    cfg, pictures = DEFAULTS["vit"], Pictures((train.picture_N3SS,))
    teacher = fit_teacher(pictures.sample(10_000, seed=cfg.seed).float() / 255, pairs(pictures, cfg))
    return lambda picture_B3SS: teacher(picture_B3SS.float() / 255)


def main() -> None:
    """Embed, vote, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--encoder", default="vitti16-small")
    parser.add_argument("--teacher", action="store_true", help="the hand-made descriptors, too")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    args = parser.parse_args()
    encoder, began = load_encoder(args.encoder), time.monotonic()
    train, val = read(args.train, encoder), read(args.val, encoder)
    features = embedded(train.picture_N3SS, encoder), embedded(val.picture_N3SS, encoder)
    seconds = time.monotonic() - began
    wnids = {row["key"]: row["wnid"] for row in pq.read_table(args.labels).to_pylist()}
    val_wnids = {key: data.decode().strip() for key, data in read_tars(args.val, ".cls")}
    number = {wnid: n for n, wnid in enumerate(sorted({*wnids.values(), *val_wnids.values()}))}
    label_N = torch.tensor([number[wnids[key]] for key in train.keys])
    truth_M = torch.tensor([number[val_wnids[key]] for key in val.keys])

    def top1(train_ND: Tensor, val_MD: Tensor) -> float:
        return (vote(train_ND, label_N, val_MD, len(number)) == truth_M).double().mean().item()

    own, (mean, axes) = top1(*features), principal_axes(train.pixels, AXES)
    raw = top1((train.pixels - mean) @ axes, (val.pixels - mean) @ axes)
    others: dict[str, Callable[[Tensor], Any]] = {"random_weights": untrained(encoder)}
    others |= {"teacher": taught(train)} if args.teacher else {}
    result: dict[str, Any] = {
        "top1": round(own, 4),
        "top1_raw_pixels": round(raw, 4),
        "top1_vs_raw_pixels": round(own / raw, 3),
    }
    for name, network in others.items():
        result[f"top1_{name}"] = round(top1(embedded(train.picture_N3SS, network), embedded(val.picture_N3SS, network)), 4)
    result |= {
        "encoder": args.encoder,
        "train_images": len(train.keys),
        "val_images": len(val.keys),
        "classes": len(number),
    }
    result |= {"read_and_embed_images_per_s": round((len(train.keys) + len(val.keys)) / seconds, 1)}
    if not args.json:
        print(f"k-NN top-1 {own:.4f}; raw pixels {raw:.4f}; {own / raw:.2f} times raw pixels")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
