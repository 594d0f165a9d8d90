"""How good is the shipped copy network: recall of (original, copy) pairs at precision 0.99, beside a perceptual hash,
and its rate.

    python -m tests.bench.bench_copies --images DIR --truth FILE --json
    python -m tests.bench.bench_copies --images DIR --truth FILE --network sscd --weights sscd_disc_mixup.torchvision.pt

DIR holds tars of KEY.jpg; FILE is Parquet with columns key, original, transform (an original names itself or nothing).
Every pair of images is ranked; a pair is true if both come from the same original. The threshold is the lowest at which
the share of true pairs among all pairs at or above it is still 0.99; recall counts the pairs of an original and its copy.
recall_at_p99: ranked as a run judges, in two steps: by cosine, and for each image's 16 nearest also by the keypoints the
two share (s / (s + 6) on top of the cosine). descriptor_recall_at_p99: by the cosine alone.
With --background the recall is told once more for normalised scores (SSCD, equation 8, made symmetric): a pair's cosine
less the mean of what both are like in the background.
images_per_s: all of it, from files to ranked pairs, in two processes of one thread each; descriptor_images_per_s: reading,
decoding and the network alone.
The last line printed is one JSON object.
"""

import argparse
import io
import json
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from scipy.fft import dctn

from curation.decode import decode
from curation.encode import by_size
from curation.keypoints import Keypoints, look
from curation.matching import shared_points
from curation.whitening import background_level
from embedder.encoder import Encoder, load_encoder
from embedder.pictures import read_tars

PRECISION, NEAREST, BATCH, PROCESSES = 0.99, 16, 32, 2


def perceptual_hash(data: bytes) -> np.ndarray:
    """Returns 64 values of +-1: the lowest 8 x 8 DCT terms of the 32-pixel grey image, against their median (pHash)."""
    grey = Image.open(io.BytesIO(data)).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(grey, dtype=np.float64), norm="ortho")[:8, :8].ravel()
    return np.where(low > np.median(low[1:]), 1.0, -1.0).astype(np.float32)


def recall_at_precision(
    similarity_NN: np.ndarray, keys: list[str], truth: dict[str, tuple[str, str]]
) -> tuple[float, dict[str, float], float]:
    """Returns recall of (original, copy) pairs, the same for each transform, and the threshold.

    truth: key to (original, transform). Equal similarities count as one step, so a hash's ties are not split.
    """
    original = np.array([truth[key][0] for key in keys])
    is_original = original == np.array(keys)
    first, second = np.triu_indices(len(keys), 1)
    similarity = similarity_NN[first, second]
    true = original[first] == original[second]
    threshold = _threshold(similarity, true)
    pairs = np.nonzero(true & (is_original[first] ^ is_original[second]))[0]
    found: dict[str, list[bool]] = defaultdict(list)
    for pair in pairs:
        copy = second[pair] if is_original[first[pair]] else first[pair]
        found[truth[keys[copy]][1]].append(bool(similarity[pair] >= threshold))
    per_transform = {name: round(float(np.mean(hits)), 4) for name, hits in sorted(found.items())}
    return float((similarity[pairs] >= threshold).mean()), per_transform, threshold


def _threshold(similarity: np.ndarray, true: np.ndarray) -> float:
    order = np.argsort(-similarity, kind="stable")
    ranked = similarity[order]
    precision = np.cumsum(true[order]) / np.arange(1, len(order) + 1)
    last_of_tie = np.append(ranked[1:] < ranked[:-1], True)
    good = np.nonzero((precision >= PRECISION) & last_of_tie)[0]
    return float(ranked[good[-1]]) if len(good) else float("inf")


_ENCODER: Encoder | None = None


def _start(name: str, size: str) -> None:
    global _ENCODER
    torch.set_num_threads(1)
    _ENCODER = load_encoder(name, size=size)
    # The first call plans the convolutions.
    _ENCODER(torch.zeros(BATCH, 3, _ENCODER.side, _ENCODER.side, dtype=torch.uint8))


def _describe(batch: list[bytes]) -> np.ndarray:
    assert _ENCODER is not None
    pictures = dict(enumerate(decode(data, _ENCODER.side, _ENCODER.fit) for data in batch))
    descriptors = np.empty((len(batch), _ENCODER.dim), np.float32)
    for rows in by_size(pictures):
        descriptors[rows] = _ENCODER(torch.stack([pictures[row] for row in rows]))
    return descriptors


def _find(batch: list[bytes]) -> Keypoints:
    return look(batch)


def _share(pairs: tuple[Keypoints, Keypoints]) -> np.ndarray:
    return shared_points(*pairs).numpy()


@dataclass(frozen=True)
class Described:
    """keys (N,), descriptors (N, D), keypoints in common (N, N), 0 where not looked at, and rates in images a second."""

    keys: list[str]
    descriptors: np.ndarray
    shared: np.ndarray
    descriptor_rate: float
    rate: float


def describe(folder: Path, name: str, size: str = "", *, points: bool = True) -> Described:
    """The images of a folder of tars, with the workers already started."""
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn"), initializer=_start, initargs=(name, size)) as pool:
        list(pool.map(time.sleep, [0.5] * PROCESSES))  # both workers are up
        began = time.monotonic()
        images = list(read_tars(folder))
        batches = [[data for _, data in images[i : i + BATCH]] for i in range(0, len(images), BATCH)]
        descriptors = np.concatenate(list(pool.map(_describe, batches)))
        middle = time.monotonic()
        shared = _shared(pool, batches, descriptors) if points else np.zeros((len(images), len(images)), np.int64)
        rates = (len(images) / (at - began) for at in (middle, time.monotonic()))
        return Described([key for key, _ in images], descriptors, shared, *rates)


def _shared(pool: ProcessPoolExecutor, batches: list[list[bytes]], descriptors: np.ndarray) -> np.ndarray:
    """(N, N) keypoints in common of each image and its NEAREST."""
    points = Keypoints.join(list(pool.map(_find, batches)))
    similarity = descriptors @ descriptors.T
    np.fill_diagonal(similarity, -2)
    nearest = np.argpartition(-similarity, NEAREST, axis=1)[:, :NEAREST]
    pairs = np.unique(np.sort(np.stack([np.repeat(np.arange(len(nearest)), NEAREST), nearest.ravel()]), axis=0), axis=1)
    runs = [torch.from_numpy(pairs[:, at : at + 256]) for at in range(0, pairs.shape[1], 256)]
    found = np.concatenate(list(pool.map(_share, ((points.take(a), points.take(b)) for a, b in runs))))
    shared = np.zeros(similarity.shape, found.dtype)
    shared[pairs[0], pairs[1]] = shared[pairs[1], pairs[0]] = found
    return shared


def main() -> None:
    """Describe, rank, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--encoder", default="copy-small")
    parser.add_argument("--network", choices=["sscd"], help="an official network in place of --encoder, from --weights")
    parser.add_argument("--weights", default="", help="its file: .torchvision.pt, .classy.pt or .torchscript.pt")
    parser.add_argument("--size", default="", help='"288" for the short edge, "320x320" for a square; else the network\'s own')
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    parser.add_argument("--background", type=Path, help="tars of unrelated pictures: score normalisation by the 3 most alike")
    args = parser.parse_args()
    if args.network:
        if not args.weights:
            parser.error("--network sscd needs --weights FILE")
        args.encoder = args.weights
    rows = pq.read_table(args.truth).to_pylist()
    truth = {row["key"]: (row["original"] or row["key"], row["transform"] or "original") for row in rows}
    seen = describe(args.images, args.encoder, args.size)
    keys, cosine = seen.keys, seen.descriptors @ seen.descriptors.T
    recall, per_transform, threshold = recall_at_precision(cosine + seen.shared / (seen.shared + 6), keys, truth)
    alone, alone_per_transform, alone_threshold = recall_at_precision(cosine, keys, truth)
    hashes = np.stack([perceptual_hash(data) for _, data in read_tars(args.images)]) / 8
    phash_recall, phash_per_transform, _ = recall_at_precision(hashes @ hashes.T, keys, truth)
    result: dict[str, Any] = {"recall_at_p99": round(recall, 4), "images_per_s": round(seen.rate, 1)}
    result |= {"descriptor_recall_at_p99": round(alone, 4), "descriptor_images_per_s": round(seen.descriptor_rate, 1)}
    result |= {"phash_recall_at_p99": round(phash_recall, 4), "per_transform": per_transform}
    result |= {"descriptor_per_transform": alone_per_transform, "phash_per_transform": phash_per_transform}
    result |= {"threshold_at_p99": round(threshold, 4), "descriptor_threshold_at_p99": round(alone_threshold, 4)}
    result |= {"encoder": args.encoder, "images": len(keys)}
    if args.background:
        level_N = background_level(
            seen.descriptors, describe(args.background, args.encoder, args.size, points=False).descriptors
        )
        normalised, _, limit = recall_at_precision(cosine - (level_N + level_N[:, None]) / 2, keys, truth)
        result |= {"recall_at_p99_normalised": round(normalised, 4), "normalised_threshold_at_p99": round(limit, 4)}
    if not args.json:
        print(f"recall at precision {PRECISION}: {recall:.4f}; pHash {phash_recall:.4f}; {seen.rate:.0f} images/s")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
