"""Checksums of a folder's files, in a file beside them that `sha256sum --check` reads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

NAME = "SHA256SUMS"


class Differs(ValueError):
    """A folder is not what its checksums say."""


def of(paths: list[Path]) -> dict[str, str]:
    """The SHA-256 of each file, by name."""
    return {path.name: _digest(path) for path in paths}


def write(folder: Path, sums: dict[str, str]) -> None:
    """Beside the files."""
    (folder / NAME).write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def read(folder: Path) -> dict[str, str] | None:
    """The checksums by name; None where there are none. Raises Differs if a line names no file of the folder."""
    if not os.path.lexists(folder / NAME):
        return None
    lines = [line.partition("  ") for line in (folder / NAME).read_text(errors="replace").splitlines()]
    if any(not name or not name.isprintable() or Path(name).name != name for _, _, name in lines):
        raise Differs(f"{NAME} cannot be read")
    return {name: told for told, _, name in lines}


def compare(folder: Path, sums: dict[str, str], names: Iterable[str]) -> None:
    """Raises Differs for the first of these files that is missing, or not what was written, or of which nothing is told."""
    for name in names:
        if not (folder / name).is_file():
            raise Differs(f"{name} is missing")
        if name not in sums:
            raise Differs(f"{NAME} says nothing of {name}")
        if _digest(folder / name) != sums[name]:
            raise Differs(f"{name} is not what was written")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
