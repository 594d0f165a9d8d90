"""Seed sets and evaluation sets by name, so that `--seeds imagenet` works from anywhere.

One TOML file, `catalogue.toml` in $CURATE_HOME (default: ~/.config/curate): a table per kind, name = path.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import fsspec
import tomli_w

from curation.store import Store
from pipelines.config import RecipeError

Kind = Literal["seeds", "protect"]
KINDS: tuple[Kind, ...] = ("seeds", "protect")


@dataclass(frozen=True)
class Entry:
    """A named set."""

    kind: Kind
    name: str
    path: str


def home() -> Path:
    """The folder of the catalogue."""
    return Path(os.environ.get("CURATE_HOME") or Path.home() / ".config" / "curate")


def listing() -> list[Entry]:
    """Every named set, by kind and name. Raises RecipeError if the catalogue cannot be read."""
    return [Entry(kind, name, path) for kind in KINDS for name, path in sorted(_read().get(kind, {}).items())]


def add(kind: Kind, name: str, path: str) -> Entry:
    """Name a set; a name that is taken is given the new path. Raises RecipeError for a bad name or a missing path."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise RecipeError(f'"{name}" is no name for a set: letters, digits, dot, dash and underscore')
    entry = Entry(kind, name, _existing(path))
    table = _read()
    table.setdefault(kind, {})[name] = entry.path
    Store(str(home())).write_bytes(tomli_w.dumps(table).encode(), "catalogue.toml")
    return entry


def resolve(value: str) -> tuple[str, str]:
    """(name, path) of a catalogued name, or of a path (its name is the folder's). Raises RecipeError."""
    known = {entry.name: entry.path for entry in listing()}
    if value in known:
        return value, known[value]
    try:
        path = _existing(value)
    except RecipeError:
        close = difflib.get_close_matches(value, known, 1)
        hint = f"; did you mean {close[0]}?" if close else f"; named sets: {', '.join(known) or 'none'}"
        raise RecipeError(f'"{value}" is neither a named set nor a path{hint}') from None
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.rstrip("/").rsplit("/", 1)[-1].split(".")[0]).strip("-")
    return stem or "set", path


def _read() -> dict[str, dict[str, str]]:
    path = home() / "catalogue.toml"
    try:
        return tomllib.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read {path}: {error}") from error


def _existing(path: str) -> str:
    """`path`, absolute if local; globs and braces are taken at their word. RecipeError if there is nothing."""
    if "://" not in path:
        path = os.path.abspath(os.path.expanduser(path))
    if any(c in path for c in "*?[{"):
        return path
    fs, inside = fsspec.core.url_to_fs(path)
    if not fs.exists(inside):
        raise RecipeError(f"no such file or directory: {path}")
    return path
