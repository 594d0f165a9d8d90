"""A run folder as DuckDB may see it: for reading only, and safe to read from many threads.

DuckDB 2.0 seeks and reads from many threads through one handle and, with a plain fsspec file, gets wrong bytes; here
every reading thread has a position of its own.
"""

from __future__ import annotations

import fnmatch
import io
import threading
from datetime import UTC, datetime
from typing import Any

from fsspec.spec import AbstractFileSystem

from curation.store import Store


class RunFiles(AbstractFileSystem):
    """The run folder as run://run, for reading only."""

    protocol = "run"
    cachable = False

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.fs, self.root = store.fs, store.root.rstrip("/")

    def _outer(self, path: str) -> str:
        names = str(self._strip_protocol(path)).strip("/").split("/")
        if names[0] != "run" or ".." in names:
            raise FileNotFoundError(path)
        return "/".join([self.root, *names[1:]])

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "name": "run/" + str(entry["name"]).rstrip("/")[len(self.root) :].lstrip("/")}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        entries = [self._entry(entry) for entry in self.fs.ls(self._outer(path), detail=True)]
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return self._entry(self.fs.info(self._outer(path)))

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """One listing for the views' own patterns, which have wildcards in the last name only."""
        folder, _, pattern = str(self._strip_protocol(path)).rpartition("/")
        if kwargs.get("detail") or any(c in folder for c in "*?[") or any(c in pattern for c in "[{") or "**" in pattern:
            return super().glob(path, maxdepth=maxdepth, **kwargs)
        try:
            names = [str(name) for name in self.ls(folder, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if fnmatch.fnmatchcase(name.rsplit("/", 1)[-1], pattern))

    def modified(self, path: str) -> datetime:
        try:
            return self.fs.modified(self._outer(path))
        except NotImplementedError:
            return datetime.fromtimestamp(0, UTC)

    def open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> _SharedFile:  # pyright: ignore
        if mode != "rb":
            raise PermissionError("a run can only be read here")
        outer = self._outer(path)
        return _SharedFile(self.fs, outer, int(self.fs.size(outer)))


class _SharedFile(io.RawIOBase):
    """A file that many threads read through one handle: each has its own position and its own open file."""

    def __init__(self, fs: AbstractFileSystem, path: str, size: int) -> None:
        self.fs, self.path, self.size = fs, path, size
        self.own, self.opened, self.lock = threading.local(), list[Any](), threading.Lock()

    def _file(self) -> Any:
        if not hasattr(self.own, "file"):
            self.own.file = self.fs.open(self.path, "rb")
            with self.lock:
                self.opened.append(self.own.file)
        return self.own.file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file().seek(offset, whence)

    def tell(self) -> int:
        return self._file().tell()

    def read(self, size: int | None = -1) -> bytes:
        return self._file().read(-1 if size is None else size)

    def close(self) -> None:
        with self.lock:
            files, self.opened = self.opened, []
        for file in files:
            file.close()
        super().close()
