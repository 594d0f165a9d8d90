"""Draw a set of hard copies for bench_copies: eight edits of every original of a set of copies.

    python -m tests.bench.hard_copies --images copies/ --truth copies.parquet --out hard/
    python -m tests.bench.bench_copies --images hard/ --truth hard/truth.parquet --json

Six of the eight are one edit each of `HARD` (embedder/edits.py), in turn; two are a hard one and an everyday one together.
"""

import argparse
import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from embedder.edits import EVERYDAY, HARD, Edit, make_edits
from embedder.pictures import read_tars

SINGLE, COMBINED, QUALITY = 6, 2, 85


def chosen(image: int, copy: int, chance: np.random.Generator) -> tuple[Edit, ...]:
    """The edits of one copy of one image."""
    if copy < SINGLE:
        return (HARD[(image * SINGLE + copy) % len(HARD)],)
    return HARD[chance.integers(len(HARD))], EVERYDAY[chance.integers(len(EVERYDAY))]


def draw(originals: dict[str, bytes], out: Path, seed: int) -> None:
    """Write OUT/00000.tar and OUT/truth.parquet (key, original, transform)."""
    out.mkdir(parents=True, exist_ok=True)
    chance, rows = np.random.default_rng(seed), list[dict[str, str]]()
    with tarfile.open(out / "00000.tar", "w") as tar:
        for number, (key, data) in enumerate(sorted(originals.items())):
            image = Image.open(io.BytesIO(data)).convert("RGB")
            rows.append(_add(tar, key, data, key, "original"))
            for copy in range(SINGLE + COMBINED):
                edits, file = chosen(number, copy, chance), io.BytesIO()
                make_edits(edits, image, chance).save(file, "JPEG", quality=QUALITY)
                rows.append(_add(tar, f"{key}_{copy}", file.getvalue(), key, edits[0].name if len(edits) == 1 else "combined"))
    pq.write_table(pa.Table.from_pylist(rows), out / "truth.parquet")


def _add(tar: tarfile.TarFile, key: str, data: bytes, original: str, transform: str) -> dict[str, str]:
    member = tarfile.TarInfo(f"{key}.jpg")
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
    return {"key": key, "original": original, "transform": transform}


def main() -> None:
    """Read the originals, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="tars of KEY.jpg")
    parser.add_argument("--truth", type=Path, required=True, help="Parquet: key, original")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    wanted = {row["original"] or row["key"] for row in pq.read_table(args.truth).to_pylist()}
    draw({key: data for key, data in read_tars(args.images) if key in wanted}, args.out, args.seed)


if __name__ == "__main__":
    main()
