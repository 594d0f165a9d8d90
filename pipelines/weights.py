"""Official weights by name: where they are, under which licence, and by what a file is known to be the one that was meant.

A checkpoint is known by its SHA-256, by the start of its SHA-256 where the authors put that in the file's name, or by the
start of its MD5 where they published that. Where they published nothing, the hash of the first fetch is recorded, shown,
and asked of every later one (DINOv2, SSCD, I-JEPA). Sources: the READMEs of the repositories named.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.store import Store
from pipelines.config import RecipeError
from pipelines.weights_download import download

_META = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class Weights:
    """An official checkpoint. url: "" where the authors give each user an address of their own (--url)."""

    name: str
    url: str
    file: str
    licence: str
    terms: str
    sha256: str = ""  # whole, or its start
    md5: str = ""  # whole, or its start


def _dinov2(arch: str, registers: bool) -> Weights:
    file = f"dinov2_{arch}{'_reg4' if registers else ''}_pretrain.pth"
    address = f"{_META}/dinov2/dinov2_{arch}/{file}"
    name = f"dinov2_{arch}{'_reg' if registers else ''}"
    return Weights(name, address, file, "Apache-2.0", "https://github.com/facebookresearch/dinov2/blob/main/LICENSE")


def _dinov3(arch: str, start: str) -> Weights:
    file = f"dinov3_{arch}_pretrain_lvd1689m-{start}.pth"
    terms = "https://github.com/facebookresearch/dinov3/blob/main/LICENSE.md"
    return Weights(f"dinov3_{arch}", "", file, "DINOv3 License (custom, by request)", terms, sha256=start)


def _ijepa(name: str, file: str) -> Weights:
    terms = "https://github.com/facebookresearch/ijepa/blob/main/LICENSE"
    return Weights(name, f"{_META}/ijepa/{file}", file, "CC-BY-NC-4.0", terms)


def _mae(size: str, md5: str) -> Weights:
    file = f"mae_pretrain_vit_{size}.pth"
    terms = "https://github.com/facebookresearch/mae/blob/main/LICENSE"
    return Weights(f"mae_vit_{size}", f"{_META}/mae/pretrain/{file}", file, "CC-BY-NC-4.0", terms, md5=md5)


def _sscd(name: str, form: str = "torchvision") -> Weights:
    file = f"{name}.{form}.pt"
    terms = "https://github.com/facebookresearch/sscd-copy-detection/blob/main/LICENSE"
    return Weights(name, f"{_META}/sscd-copy-detection/{file}", file, "MIT", terms)


OFFICIAL: dict[str, Weights] = {
    w.name: w
    for w in (
        *(_dinov2(arch, registers) for arch in ("vits14", "vitb14", "vitl14", "vitg14") for registers in (False, True)),
        _dinov3("vits16", "08c60483"),
        _dinov3("vits16plus", "4057cbaa"),
        _dinov3("vitb16", "73cec8be"),
        _dinov3("vitl16", "8aa4cbdd"),
        _dinov3("vitl16plus", "46503df0"),
        _dinov3("vith16plus", "7c1da9a5"),
        _dinov3("vit7b16", "a955f4ea"),
        _ijepa("ijepa_vith14_1k", "IN1K-vit.h.14-300e.pth.tar"),
        _ijepa("ijepa_vith16_1k", "IN1K-vit.h.16-448px-300e.pth.tar"),
        _ijepa("ijepa_vith14_22k", "IN22K-vit.h.14-900e.pth.tar"),
        _ijepa("ijepa_vitg16_22k", "IN22K-vit.g.16-600e.pth.tar"),
        _mae("base", "8cad7c"),
        _mae("large", "b8b06e"),
        _mae("huge", "9bdbb0"),
        *(_sscd(f"sscd_imagenet_{kind}") for kind in ("blur", "advanced", "mixup")),
        *(_sscd(f"sscd_disc_{kind}") for kind in ("blur", "advanced", "mixup")),
        _sscd("sscd_disc_large", "torchscript"),
    )
}


def home() -> Path:
    """The folder of fetched weights; embedder/encoder.py looks there too."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curate" / "weights"


def listing() -> list[dict[str, Any]]:
    """Every official checkpoint, and what is here of it."""
    return [
        {"name": w.name, "licence": w.licence, "terms": w.terms, "url": w.url or "by request: --url", "file": w.file}
        | {"sha256": (record(w.name) or {}).get("sha256", w.sha256), "md5": w.md5, "here": (home() / w.file).is_file()}
        for w in OFFICIAL.values()
    ]


def record(name: str) -> dict[str, Any] | None:
    """What was noted when a checkpoint came here: file, sha256, licence, from, when. None if it never did."""
    path = home() / f"{name}.json"
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read {path}: {error}") from error


def fetch(name: str, *, accepted: bool, url: str = "") -> Path:
    """Download an official checkpoint, or go on with a download that broke off. Returns its path.

    Raises RecipeError for an unknown name, a licence that was not accepted, a checkpoint without an address, and a file
    that is not the one that was meant (it is removed).
    """
    weights = _known(name)
    _accept(weights, accepted)
    target, came_from = home() / weights.file, url or weights.url
    if not came_from:
        raise RecipeError(f"{name} is given out by request: {weights.terms}; then pass the address you were sent as --url")
    if target.is_file() and record(name):
        return target
    home().mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    download(came_from, partial)
    return _keep(weights, partial, target, came_from.split("?")[0])  # what follows "?" may be a key of the user's


def add(name: str, path: Path, *, accepted: bool) -> Path:
    """Take a checkpoint that is here already, checked like a fetched one. Returns where it is kept. Raises RecipeError."""
    weights = _known(name)
    _accept(weights, accepted)
    if not path.is_file():
        raise RecipeError(f"there is no file {path}")
    home().mkdir(parents=True, exist_ok=True)
    copy = home() / f"{weights.file}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        shutil.copyfile(path, copy)
        return _keep(weights, copy, home() / weights.file, str(path.absolute()))
    finally:
        copy.unlink(missing_ok=True)


def _known(name: str) -> Weights:
    if name not in OFFICIAL:
        raise RecipeError(f'no official weights are called "{name}"; there are: {", ".join(OFFICIAL)}')
    return OFFICIAL[name]


def _accept(weights: Weights, accepted: bool) -> None:
    if not accepted:
        raise RecipeError(f"{weights.name} is under {weights.licence} ({weights.terms}): read it, then say --accept-licence")


def _keep(weights: Weights, partial: Path, target: Path, came_from: str) -> Path:
    """Check a whole file, note its hash, and give it its name."""
    digests = _digests(partial)
    earlier = (record(weights.name) or {}).get("sha256", "")
    for kind, start in (("sha256", earlier), ("sha256", weights.sha256), ("md5", weights.md5)):
        if not digests[kind].startswith(start):
            partial.unlink()
            got = digests[kind][: max(8, len(start))]
            raise RecipeError(f"{weights.name}: {kind} is {got}…, not {start}…: this is not the official file; it was removed")
    note = {"file": weights.file, "sha256": digests["sha256"], "licence": weights.licence, "from": came_from}
    note |= {"pinned": bool(weights.sha256 or weights.md5), "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    os.replace(partial, target)
    Store(str(home())).write_bytes(json.dumps(note, indent=1).encode(), f"{weights.name}.json")
    return target


def _digests(path: Path) -> dict[str, str]:
    found = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with path.open("rb") as file:
        while block := file.read(2**20):
            for digest in found.values():
                digest.update(block)
    return {kind: digest.hexdigest() for kind, digest in found.items()}
