"""How good is the shipped embedder: k-NN top-1 on labelled photographs, beside raw pixels.

    python -m tests.bench.bench_knn --train DIR --labels FILE --val DIR --json

DIR holds tars of KEY.jpg (and, in --val, KEY.cls); FILE is Parquet with columns key, wnid.
Protocol: DINOv2's (k = 20, cosine, votes weighted by softmax at 0.07 of the 200 nearest). Raw pixels: 32 x 32, first 256
principal axes, same vote.
The last line printed is one JSON object.
"""

import argparse
import json
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor

from curation.decode import decode
from embedder.encoder import load_encoder
from embedder.evaluation.knn import classify
from embedder.pictures import read_tars

NEIGHBOURS, AXES = 20, 256


def vote(train_ND: Tensor, label_N: Tensor, query_MD: Tensor, classes: int) -> Tensor:
    """Returns (M,) int64: the class with the heaviest vote among the nearest rows. Rows need not be unit length."""
    return classify(train_ND, label_N, query_MD, classes, (NEIGHBOURS,))[NEIGHBOURS]


def principal_axes(train_ND: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Returns the mean (D,) and the first `count` principal axes (D, count)."""
    mean_D = train_ND.mean(0)
    axes = torch.linalg.eigh((train_ND - mean_D).T @ (train_ND - mean_D)).eigenvectors
    return mean_D, axes.flip(1)[:, :count]


def read(folder: Path, name: str) -> tuple[list[str], Tensor, Tensor]:
    """Returns keys, embeddings (N, E) and 32-pixel images as rows (N, 3072) in [0, 1]."""
    encoder, keys, features, pixels, waiting = load_encoder(name), [], [], [], []
    for key, data in read_tars(folder):
        keys.append(key)
        waiting.append(decode(data, encoder.side, encoder.fit))
        pixels.append(decode(data, 32, "squash").flatten())
        if len(waiting) == 256:
            features.append(torch.as_tensor(encoder(torch.stack(waiting))))
            waiting.clear()
    if waiting:
        features.append(torch.as_tensor(encoder(torch.stack(waiting))))
    return keys, torch.cat(features), torch.stack(pixels).float() / 255


def main() -> None:
    """Embed, vote, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--encoder", default="vitti16-small")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    args = parser.parse_args()
    began = time.monotonic()
    train_keys, train_ND, train_pixels = read(args.train, args.encoder)
    val_keys, val_ND, val_pixels = read(args.val, args.encoder)
    seconds = time.monotonic() - began
    wnids = {row["key"]: row["wnid"] for row in pq.read_table(args.labels).to_pylist()}
    val_wnids = {key: data.decode().strip() for key, data in read_tars(args.val, ".cls")}
    number = {wnid: n for n, wnid in enumerate(sorted({*wnids.values(), *val_wnids.values()}))}
    label_N = torch.tensor([number[wnids[key]] for key in train_keys])
    truth_M = torch.tensor([number[val_wnids[key]] for key in val_keys])
    mean, axes = principal_axes(train_pixels, AXES)
    top1 = (vote(train_ND, label_N, val_ND, len(number)) == truth_M).double().mean().item()
    raw_guess_M = vote((train_pixels - mean) @ axes, label_N, (val_pixels - mean) @ axes, len(number))
    raw = (raw_guess_M == truth_M).double().mean().item()
    result = {"top1": round(top1, 4), "top1_raw_pixels": round(raw, 4), "top1_vs_raw_pixels": round(top1 / raw, 3)}
    result |= {
        "encoder": args.encoder,
        "train_images": len(train_keys),
        "val_images": len(val_keys),
        "classes": len(number),
    }
    result |= {"read_and_embed_images_per_s": round((len(train_keys) + len(val_keys)) / seconds, 1)}
    if not args.json:
        print(f"k-NN top-1 {top1:.4f}; raw pixels {raw:.4f}; {top1 / raw:.2f} times raw pixels")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
