"""How fast the networks are: the shipped ones from pixels, and on a GPU a ViT-H/16 at 224 pixels from tars on.

    python -m tests.bench.bench_encoders --json [--gpu] [--variant h] [--images 10240]

Without --gpu: images/s of the shipped networks by batch size, pixels already decoded. With it, random weights in the
project's own file and drawn JPEGs of 500 x 375 in tars in memory (no data is needed): images/s end to end (`end_to_end`: read,
decoded, encoded as the `embeddings` stage does), of the network alone on pixels that lie on the device, by what is done for
speed (`network`), of the decoders by their number (`decode`), the measured bf16 matmul rate, the share of it reached counting
the products of the architecture alone, and the cores from which decoding would not bind at 55% of it. Each figure that cannot
be taken is an error's text. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from curation.decode import decode
from embedder.encoder import Encoder, load_encoder, save_weights
from embedder.feed import Feed, cores
from embedder.forward import Forward, compile_blocks
from embedder.pictures import read_tars
from embedder.training.gauges import crop_flops, matmul_rate
from embedder.vit import VisionTransformer
from embedder.vit_config import VitConfig

NETWORKS = ("vitti16-small", "copy-small")
SECONDS = 3.0
SIDE, WANTED = 224, 0.55
DISTINCT = 256  # pictures that are drawn; tars repeat them
BATCHES = (128, 256, 512)
BATCHED = 5  # parts that the tars are read in
Found = dict[str, Any]


def rate(encoder: Encoder, batch: int) -> float:
    """Images per second over about SECONDS, after one batch that is not counted."""
    pixels = torch.randint(0, 256, (batch, 3, encoder.side, encoder.side), dtype=torch.uint8)
    encoder(pixels)
    done, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        encoder(pixels)
        done += batch
    return done / (time.monotonic() - began)


def drawn(number: int) -> bytes:
    """A JPEG of 500 x 375 with smooth colours, patches and a grain, some 60 KB: as costly to decode as a photograph."""
    rng = np.random.default_rng(number)
    smooth = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
    grain = np.asarray(smooth, np.float32) + rng.normal(0, 7, (375, 500, 1)).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_tars(folder: Path, images: int, threads: int) -> None:
    """Tars of 1,024 pictures."""
    with ThreadPoolExecutor(threads) as pool:
        some = list(pool.map(drawn, range(min(images, DISTINCT))))
    for start in range(0, images, 1024):
        with tarfile.open(folder / f"{start:08d}.tar", "w") as tar:
            for number in range(start, min(images, start + 1024)):
                member = tarfile.TarInfo(f"{number:08d}.jpg")
                member.size = len(some[number % len(some)])
                tar.addfile(member, io.BytesIO(some[number % len(some)]))


@contextmanager
def world(variant: str, images: int, device: str) -> Iterator[Path]:
    """A folder in memory with tars and a weights file."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as scratch:
        write_tars(Path(scratch), images, cores())
        torch.manual_seed(0)
        with torch.device(device):
            network = VisionTransformer(VitConfig(variant=variant, patch=16, side=SIDE))
        save_weights(Path(scratch) / "drawn.safetensors", network, SIDE, fit="crop")
        yield Path(scratch)


def tried(work: Callable[[], Any]) -> Any:
    """A result, or the error's text: one that cannot be taken must not lose the others."""
    try:
        return work()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0][:300]
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def alone(forward: Forward, batch: int, times: int) -> float:
    """Images/s of a network on pixels that lie on its device."""
    forward.pieces[SIDE] = batch
    image = torch.randint(0, 256, (batch, 3, SIDE, SIDE), dtype=torch.uint8, device=forward.device)
    for _ in range(2):
        forward(image)
    _wait(forward.device)
    began = time.perf_counter()
    for _ in range(times):
        forward(image)
    _wait(forward.device)
    return round(times * batch / (time.perf_counter() - began), 1)


def network(encoder: Encoder, batches: tuple[int, ...], modes: tuple[str, ...], images: int) -> Found:
    """Images/s by what is done: autocast per product, weights cast once, and blocks compiled in each mode."""
    place, found = encoder.device, dict[str, Any]()
    autocast = Forward(encoder.network, place, encoder.half)
    autocast._ready = encoder.network
    cast = Forward(encoder.network, place, encoder.half)
    for name, forward in (("autocast", autocast), ("bfloat16", cast)):
        rates = {n: tried(lambda forward=forward, n=n: alone(forward, n, max(1, images // n))) for n in batches}
        found[name] = rates
    for mode in modes:
        torch._dynamo.reset()
        compile_blocks(cast._network(), mode)
        began, batch = time.perf_counter(), batches[len(batches) // 2]
        found[f"compiled {mode}"] = {batch: tried(lambda batch=batch: alone(cast, batch, max(1, images // batch)))}
        found[f"compiled {mode}"]["took_s"] = round(time.perf_counter() - began, 1)
    return found


def decoding(folder: Path, counts: list[int]) -> Found:
    """Images/s of that many decoders, nothing else at work."""
    some = [data for _, data in zip(range(DISTINCT), (data for _, data in read_tars(folder)), strict=False)]
    return {count: tried(lambda count=count: _decoded(some, count)) for count in counts}


def _decoded(data: list[bytes], count: int) -> float:
    with ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(1)) as pool:
        began, some = time.perf_counter(), data * (1 if count < 4 else 4)
        list(pool.map(lambda one: decode(one, SIDE, "crop"), some))
        return round(len(some) / (time.perf_counter() - began), 1)


def end_to_end(encoder: Encoder, folder: Path, rows: int) -> Found:
    """Every picture of the tars to a feature, `rows` at a time as the stage does; the first `rows` are not counted."""
    feed, batch = encoder.feed or Feed(encoder.forward), list[bytes]()
    done, began = -rows, 0.0
    for _, data in read_tars(folder):
        batch.append(data)
        if len(batch) == rows:
            feed(batch, encoder.side, encoder.fit)
            batch.clear()
            done += rows
            began = began or time.perf_counter()
    per_s = round(done / (time.perf_counter() - began), 1)
    return {"images_per_s": per_s, "decoders": feed.decoders, "of": feed.most, "pieces": dict(encoder.forward.pieces)}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def whole(device: str, variant: str, images: int, modes: tuple[str, ...]) -> Found:
    """All figures of one network on one device."""
    peak, began = matmul_rate(torch.device(device)), time.perf_counter()
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    found: Found = {"device": name, "variant": variant, "cores": cores(), "matmul_tflops": round(peak / 1e12, 1)}
    with world(variant, images, device) as folder:
        found["drawing_s"] = round(time.perf_counter() - began, 1)
        encoder = load_encoder(str(folder / "drawn.safetensors"), device)
        found["decode"] = tried(lambda: decoding(folder, sorted({1, 4, cores()} & set(range(cores() + 1)))))
        found["end_to_end"] = tried(lambda: end_to_end(encoder, folder, images // BATCHED))
        batches = BATCHES if device == "cuda" else (2,)
        found["network"] = tried(lambda: network(encoder, batches, modes, 1024 if device == "cuda" else 4))
        if modes:
            forward = Forward(encoder.network, device, encoder.half, compiled=True)
            ready = replace(encoder, forward=forward, feeder=Feed(forward))
            found["end_to_end_compiled"] = tried(lambda: end_to_end(ready, folder, images // BATCHED))
        flops = crop_flops(encoder.network.config, SIDE)
    return found | shares(found, flops, peak) | {"took_s": round(time.perf_counter() - began, 1)}


def shares(found: Found, flops: float, peak: float) -> Found:
    """What part of the matmul rate is reached, and what would be needed for WANTED of it."""
    out: Found = {"gflop_per_image": round(flops / 1e9, 1), "share": None, "network_share": None, "cores_for_55": None}
    if not peak:
        return out
    ways = found["network"].values() if isinstance(found["network"], dict) else ()
    network = [value for way in ways for key, value in way.items() if isinstance(value, float) and key != "took_s"]
    ends = [found.get(key) for key in ("end_to_end", "end_to_end_compiled")]
    whole = [end["images_per_s"] for end in ends if isinstance(end, dict) and end["images_per_s"]]
    each = [value / count for count, value in found["decode"].items() if isinstance(value, float)]
    out["images_per_s_for_55"] = round(WANTED * peak / flops, 1)
    out["network_share"] = round(max(network) * flops / peak, 3) if network else None
    out["images_per_s"] = max(whole) if whole else None
    out["share"] = round(max(whole) * flops / peak, 3) if whole else None
    out["cores_for_55"] = round(WANTED * peak / flops / each[-1], 1) if each else None
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="ViT-H/16 from tars on, if there is a GPU")
    parser.add_argument("--on", default="cuda" if torch.cuda.is_available() else "", help="the device of --gpu; cpu tries it")
    parser.add_argument("--variant", default="h")
    parser.add_argument("--images", type=int, default=BATCHED * 2048)
    parser.add_argument("--modes", nargs="*", default=["default"], help="of torch.compile")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.gpu:
        result = whole(args.on, args.variant, args.images, tuple(args.modes)) if args.on else {"share": None, "why": "no GPU"}
        print(json.dumps(result))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoders = {name: load_encoder(name, device) for name in NETWORKS}
    rates = {name: {batch: round(rate(encoder, batch), 1) for batch in (64, 512)} for name, encoder in encoders.items()}
    print(json.dumps({"device": device, "images_per_s": rates}))


if __name__ == "__main__":
    main()
