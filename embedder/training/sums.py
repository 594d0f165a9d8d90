"""Checksums of a folder's files, in a file beside them that `sha256sum --check` reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

NAME = "SHA256SUMS"


def of(paths: list[Path]) -> dict[str, str]:
    """The SHA-256 of each file, by name."""
    return {path.name: _digest(path) for path in paths}


def write(folder: Path, sums: dict[str, str]) -> None:
    """Beside the files."""
    (folder / NAME).write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def problem(folder: Path, rank: int = 0, count: int = 1) -> str:
    """What differs from the checksums among every `count`-th file, from the `rank`-th on; "" for nothing, or where there are no
    checksums."""
    if not (folder / NAME).exists():
        return ""
    lines = (folder / NAME).read_text(errors="replace").splitlines()
    for line in lines[rank::count]:
        told, _, name = line.partition("  ")
        if not (folder / name).is_file():
            return f"{name} is missing" if name else f"{NAME} cannot be read"
        if _digest(folder / name) != told:
            return f"{name} is not what was written"
    return ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
