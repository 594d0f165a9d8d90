"""Do copies of a protected set leave the pool, and who leaves with them?

    python -m tests.bench.bench_leaks --images DIR --truth FILE --others DIR --json

DIR of --images holds tars of originals and of edited copies; FILE is Parquet with columns key, original, transform (an
original names itself or nothing). The originals are protected; the pool is the copies and, as innocents, the pictures of
--others. A run decides (`curate run --protect`): at 0.45, the paper's cosine, alone, and with the network's own thresholds.
An innocent that leaves may be a copy after all. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from embedder.pictures import read_tars
from pipelines.compose import compose
from pipelines.progress import Progress
from pipelines.queries import query
from pipelines.run import execute

RULES = {"0.45": {"reference_similarity": 0.45, "confirm": 0.0}, "the network's own": {}}
KEYPOINTS = {"the network's own, and keypoints": {"shared": 12}}
LEFT = """
select i.uri, i.key, s.drop_reason
from images i join survivors s using (image_id)
where list_contains(i.sets, 'pool') and i.drop_reason is null
"""


def tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as file:
        for name, data in members:
            entry = tarfile.TarInfo(f"{name}.jpg")
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))


def lay_out(folder: Path, images: Path, truth: dict[str, tuple[str, str]], others: list[Path], most: int) -> int:
    """protected.tar, copies.tar, others.tar and seeds.tar under `folder`; how many innocents there are."""
    pictures = list(read_tars(images))
    tar(folder / "protected.tar", [(key, data) for key, data in pictures if truth[key][0] == key])
    tar(folder / "copies.tar", [(key, data) for key, data in pictures if truth[key][0] != key])
    innocent = [(f"{at}-{key}", data) for at, other in enumerate(others) for key, data in read_tars(other)][: most + 20]
    tar(folder / "others.tar", innocent[20:])
    tar(folder / "seeds.tar", innocent[:20])
    return len(innocent) - 20


def judged(folder: Path, truth: dict[str, tuple[str, str]], innocents: int, rule: dict[str, Any]) -> dict[str, Any]:
    """What a run with these values of [survivors] drops; the folder's earlier stages are used again."""
    changes = [f"survivors.{name}={value}" for name, value in rule.items()]
    off = ["sanitized.nsfw=['none']", "sanitized.faces='none'", "screened.min_sharpness=0.0", "screened.hash_bits=0"]
    pool = tuple(str(folder / name) for name in ("copies.tar", "others.tar"))
    sets = (str(folder / "seeds.tar"),), (str(folder / "protected.tar"),)
    execute(compose(None, pool, *sets, (*off, *changes)), str(folder / "run"), progress=Progress(quiet=True))
    rows = query(str(folder / "run"), LEFT).to_pylist()
    copies = [(truth[row["key"]][1], row["drop_reason"]) for row in rows if "copies.tar" in row["uri"]]
    known = Counter(transform for transform, _ in copies)
    gone = Counter(transform for transform, reason in copies if reason == "protected_copy")
    left_with = sum(row["drop_reason"] == "protected_copy" for row in rows if "others.tar" in row["uri"])
    return {
        "copies": len(copies),
        "gone": round(sum(gone.values()) / len(copies), 4),
        "per_transform": {name: round(gone[name] / known[name], 4) for name in sorted(known)},
        "innocents": innocents,
        "innocents_gone": left_with,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--others", type=Path, nargs="+", required=True)
    parser.add_argument("--innocents", type=int, default=5000)
    parser.add_argument("--keypoints", action="store_true", help="also with the second opinion by keypoints, which is slow")
    parser.add_argument("--json", action="store_true", help="accepted: the last line is JSON anyhow")
    args = parser.parse_args()
    rows = pq.read_table(args.truth).to_pylist()
    truth = {row["key"]: (row["original"] or row["key"], row["transform"]) for row in rows}
    folder, found = Path(tempfile.mkdtemp()), dict[str, Any]()
    innocents = lay_out(folder, args.images, truth, args.others, args.innocents)
    for name, rule in (RULES | KEYPOINTS if args.keypoints else RULES).items():
        found[name] = judged(folder, truth, innocents, rule)
        print(name, found[name], flush=True)
    shutil.rmtree(folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
