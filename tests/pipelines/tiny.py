"""A small dirty pool, drawn in a second, and `curate` run on it as a user would: in a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 96
UNCHECKED = ("--set", 'sanitized.nsfw=["none"]', "--set", 'sanitized.faces="none"')  # patches of colour: nobody in them


def picture(seed: int, side: int = SIDE) -> Image.Image:
    """A picture like no other: coloured patches at three scales."""
    rng = np.random.default_rng(seed)
    scales = ((3, Image.Resampling.BICUBIC), (8, Image.Resampling.NEAREST), (24, Image.Resampling.BILINEAR))
    layers = [Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)).resize((side, side), how) for n, how in scales]
    return Image.blend(Image.blend(layers[0], layers[1], 0.4), layers[2], 0.25)


def encoded(image: Image.Image, kind: str = "JPEG", **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def photo(seed: int) -> bytes:
    return encoded(picture(seed), quality=92)


def make_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def make_pool(root: Path, images: int = 120) -> Path:
    """`images` distinct pictures over a folder, a tar and a Parquet file; 5 exact and 5 edited copies, 2 broken files."""
    root.mkdir(parents=True)
    third = images // 3
    for n in range(third):
        (root / f"{n:04d}.jpg").write_bytes(photo(n))
    in_tar = {f"{n:04d}.jpg": photo(n) for n in range(third, 2 * third)}
    sidecars = {f"{n:04d}.txt": f"picture {n}".encode() for n in range(third, third + 5)}
    make_tar(root / "more.tar", dict(sorted((in_tar | sidecars).items())))
    rest = [{"key": f"{n:04d}", "jpg": photo(n), "url": f"http://a.example/{n}.jpg"} for n in range(2 * third, images)]
    pq.write_table(pa.Table.from_pylist(rest), root / "listing.parquet", row_group_size=16)
    for n in range(5):
        (root / f"again-{n}.jpg").write_bytes(photo(n))
        (root / f"edited-{n}.jpg").write_bytes(encoded(picture(n + 10).resize((80, 80)), quality=55))
    (root / "empty.jpg").write_bytes(b"")
    (root / "page.jpg").write_bytes(b"<!doctype html><p>not here</p>")
    return root


def make_seeds(root: Path, first: int, count: int) -> Path:
    root.mkdir(parents=True)
    for n in range(first, first + count):
        (root / f"seed-{n}.jpg").write_bytes(encoded(picture(n), quality=80))
    return root


def curate(*arguments: object, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`curate` with these arguments, to its end."""
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(home), timeout=240)


def environment(home: Path | None) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200"} | ({"CURATE_HOME": str(home)} if home else {})
