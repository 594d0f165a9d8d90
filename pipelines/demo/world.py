"""The demo's world: a pool as a crawl would have left it, seed sets, a protected set, and the truth kept aside."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.demo.concepts import CONCEPTS, draw
from pipelines.demo.edits import EDITS, as_bytes, edit
from pipelines.demo.hostile import broken, unusual

SEED_SETS = {
    "nature": ("landscape", "sea", "forest", "flowers"),
    "patterns": ("brick", "leopard", "tartan"),
    "figures": ("bar_chart", "pie_chart", "document", "terminal", "circuit"),
}
"""Seed set -> its concepts; the other concepts are distractors that nobody asked for."""

SEEDS_EACH, PROTECTED_EACH = 8, 5  # seed images per concept; protected images per protected concept
PROTECTED = (
    "landscape",
    "sea",
    "flowers",
    "brick",
    "leopard",
    "tartan",
    "bar_chart",
    "circuit",
    "animal",
    "clock",
    "planets",
    "dice",
)
FORMATS = (("jpg", "JPEG"), ("jpg", "JPEG"), ("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("gif", "GIF"), ("bmp", "BMP"))


@dataclass(frozen=True)
class Item:
    """One file of the pool. family: the image it is a copy of, or itself; expected: the reason it must be dropped for."""

    name: str
    data: bytes
    concept: str | None
    kind: str  # original, exact_duplicate, edited_copy, protected_copy, odd, broken
    family: str
    transform: str | None = None
    expected: str | None = None


def build_world(out: Path, seed: int = 0, images: int = 2000) -> Path:
    """Write out/pool, out/seeds/NAME, out/protected and out/truth; returns `out`. Equal arguments, equal bytes."""
    with ProcessPoolExecutor() as painters:
        originals = list(painters.map(_original, *zip(*_plan(images, seed), strict=True), chunksize=50))
        copies = list(painters.map(_copy, *zip(*_copy_plan(images, seed), strict=True), chunksize=20))
    protected, leaks = _protected(seed)
    items = [*originals, *_again(originals, seed), *copies, *leaks, *_odd(seed)]
    order = np.random.default_rng([seed, 3]).permutation(len(items))
    truth = _write_pool(out / "pool", [items[i] for i in order], seed)
    _write_folder(out / "protected", protected)
    (out / "truth").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(truth), out / "truth" / "truth.parquet")
    pq.write_table(_write_seeds(out / "seeds", seed), out / "truth" / "seeds.parquet")
    return out


def _plan(images: int, seed: int) -> list[tuple[str, int, int]]:
    """(concept, number, seed) of every original; concepts have long-tailed sizes, seed concepts at least 40 images."""
    names = np.random.default_rng([seed, 1]).permutation(list(CONCEPTS)).tolist()
    asked = {c for concepts in SEED_SETS.values() for c in concepts}
    weights = np.array([max(1 / (rank + 4), 1 / 18 if name in asked else 0) for rank, name in enumerate(names)])
    sizes = np.floor(weights / weights.sum() * images).astype(int)
    sizes[: images - sizes.sum()] += 1
    return [(name, number, seed) for name, size in zip(names, sizes, strict=True) for number in range(size)]


def _original(concept: str, number: int, seed: int) -> Item:
    suffix, kind = FORMATS[(number * 7 + len(concept)) % len(FORMATS)]
    name = f"{concept}-{number:04d}"
    return Item(f"{name}.{suffix}", as_bytes(draw(concept, _number(seed, number)), kind), concept, "original", name)


def _number(seed: int, number: int) -> int:
    return seed * 1_000_000 + number


def _copy_plan(images: int, seed: int) -> list[tuple[str, int, int, str]]:
    """(concept, number, seed, edit): every 15th original has 1 to 3 edited copies."""
    rng, plan = np.random.default_rng([seed, 2]), _plan(images, seed)
    chosen = [plan[i] for i in rng.choice(len(plan), len(plan) // 15, replace=False)]
    return [(*one, str(name)) for one in chosen for name in rng.choice(list(EDITS), rng.integers(1, 4), replace=False)]


def _copy(concept: str, number: int, seed: int, name: str) -> Item:
    image = edit(draw(concept, _number(seed, number)), name, number)
    family = f"{concept}-{number:04d}"
    return Item(f"{family}-{name}.jpg", as_bytes(image, quality=85), concept, "edited_copy", family, name)


def _again(originals: list[Item], seed: int) -> list[Item]:
    """Byte-identical files under other names."""
    rng = np.random.default_rng([seed, 4])
    chosen = [originals[i] for i in rng.choice(len(originals), len(originals) // 20, replace=False)]
    twin = {"kind": "exact_duplicate", "expected": "exact_duplicate"}
    return [replace(item, name=f"IMG_{n:05d}.{item.name.split('.')[1].upper()}", **twin) for n, item in enumerate(chosen)]


def _protected(seed: int) -> tuple[dict[str, bytes], list[Item]]:
    """The protected set, and what of it the pool holds: every other image, as it is or edited."""
    files: dict[str, bytes] = {}
    leaks: list[Item] = []
    edits = list(EDITS)
    for concept in PROTECTED:
        for n in range(PROTECTED_EACH):
            image, family = draw(concept, _number(seed, 900_000 + n)), f"protected-{concept}-{n}"
            files[f"{family}.jpg"] = as_bytes(image)
            if n % 2 == 0:
                name = edits[len(leaks) % len(edits)] if n else None
                data = as_bytes(edit(image, name, n), quality=85) if name else files[f"{family}.jpg"]
                leaks.append(Item(f"found-{concept}-{n}.jpg", data, concept, "protected_copy", family, name))
    return files, leaks


def _odd(seed: int) -> list[Item]:
    bad = [Item(odd.name, odd.data, None, "broken", odd.name, expected=odd.reason) for odd in broken(_number(seed, 800_000))]
    good = [Item(odd.name, odd.data, concept, "odd", odd.name) for concept, odd in unusual(_number(seed, 810_000))]
    return bad + good


def _write_pool(root: Path, items: list[Item], seed: int) -> list[dict[str, object]]:
    """Spread the items over a folder tree, three tars and two Parquet files; rows of the truth."""
    root.mkdir(parents=True, exist_ok=True)
    rng, places = np.random.default_rng([seed, 5]), defaultdict[str, list[Item]](list)
    homes = [
        "photos",
        "photos/Été 2019",
        "photos/a/b c",
        "crawl-00000.tar",
        "crawl-00001.tar",
        "crawl-00002.tar",
        "listing.parquet",
        "thumbs.parquet",
    ]
    for item in items:
        places["photos" if item.kind in ("broken", "odd") else str(rng.choice(homes))].append(item)
    truth = []
    for place, held in places.items():
        writer = _write_tar if place.endswith(".tar") else _write_parquet if place.endswith(".parquet") else _write_files
        truth += writer(root, place, held)
    return truth + _write_traps(root, seed)


def _row(item: Item, container: str, member: str | None) -> dict[str, object]:
    facts = {key: value for key, value in asdict(item).items() if key not in ("data", "name")}
    return facts | {"container": container, "member": member, "sha256": hashlib.sha256(item.data).hexdigest()}


def _write_files(root: Path, place: str, items: list[Item]) -> list[dict[str, object]]:
    _write_folder(root / place, {item.name: item.data for item in items})
    return [_row(item, f"{place}/{item.name}", None) for item in items]


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _write_tar(root: Path, place: str, items: list[Item]) -> list[dict[str, object]]:
    rows = []
    with tarfile.open(root / place, "w") as tar:
        for n, item in enumerate(items):
            name = f"{n:06d}.{item.name.rsplit('.', 1)[1].lower()}"
            _add(tar, name, item.data)
            _add(
                tar,
                f"{n:06d}.json",
                json.dumps({"url": f"https://pictures.example/{item.name}", "caption": f"a {item.concept}"}).encode(),
            )
            rows.append(_row(item, place, name))
    return rows


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _write_parquet(root: Path, place: str, items: list[Item]) -> list[dict[str, object]]:
    keys = [f"row-{n:05d}" for n in range(len(items))]
    if place == "listing.parquet":
        images: pa.Array = pa.array(
            [{"bytes": i.data, "path": i.name} for i in items], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        )
        table = pa.table({"__key__": keys, "image": images})
    else:
        table = pa.table({"key": keys, "jpg": pa.array([i.data for i in items], pa.binary())})
    pq.write_table(table, root / place, row_group_size=100)
    return [_row(item, place, str(n)) for n, item in enumerate(items)]


def _write_traps(root: Path, seed: int) -> list[dict[str, object]]:
    """Containers that are hostile themselves."""
    rows = []
    with tarfile.open(root / "evil.tar", "w") as tar:
        for n, name in enumerate(("../evil.jpg", "/etc/evil.jpg")):
            item = Item(name, as_bytes(draw("clock", _number(seed, 820_000 + n))), None, "broken", name, expected="unsafe_name")
            _add(tar, name, item.data)
            rows.append(_row(item, "evil.tar", name))
    items = [Item(f"{n}.jpg", as_bytes(draw("wood", _number(seed, 830_000 + n))), "wood", "odd", f"cut-{n}") for n in range(4)]
    whole = _write_tar(root, "cut.tar", items)
    data = (root / "cut.tar").read_bytes()
    (root / "cut.tar").write_bytes(data[: data.rindex(items[-1].data) + len(items[-1].data) // 2])
    rows += [*whole[:-1], whole[-1] | {"kind": "broken", "expected": "truncated_archive", "concept": None}]
    pq.write_table(pa.table({"name": ["a", "b"], "size": [1, 2]}), root / "wrong.parquet")
    return [*rows, _row(Item("wrong", b"", None, "broken", "wrong", expected="no_image_column"), "wrong.parquet", None)]


def _write_seeds(root: Path, seed: int) -> pa.Table:
    """The seed sets; (sha256, seed_set, concept) of every seed image."""
    rows = []
    for name, concepts in SEED_SETS.items():
        files = {f"{c}-{n}.jpg": as_bytes(draw(c, _number(seed, 700_000 + n))) for c in concepts for n in range(SEEDS_EACH)}
        _write_folder(root / name, files)
        rows += [
            {"sha256": hashlib.sha256(data).hexdigest(), "seed_set": name, "concept": file.rsplit("-", 1)[0]}
            for file, data in files.items()
        ]
    return pa.Table.from_pylist(rows)
