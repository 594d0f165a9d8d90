"""Folders of WebDataset tars as pictures decoded when they are asked for: a training set may be larger than memory."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from curation.decode import Reject, decode


class TarPictures(Sequence[Tensor]):
    """Every KEY.jpg of the tars in some folders, by number, as (3, S, S) uint8, squashed. Safe to use from threads.

    An image that cannot be decoded is grey all over. Raises ValueError for a folder without tars.
    """

    def __init__(self, folders: Sequence[Path], side: int, suffix: str = ".jpg") -> None:
        self.side = side
        self.places: list[tuple[Path, int, int]] = []  # tar, first byte, bytes
        for folder in folders:
            paths = sorted(Path(folder).glob("*.tar"))
            if not paths:
                raise ValueError(f"no .tar files in {folder}")
            for path in paths:
                with tarfile.open(path) as tar:
                    self.places += [(path, m.offset_data, m.size) for m in tar if m.isfile() and m.name.endswith(suffix)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        path, start, size = self.places[number]
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(size)
        try:
            return decode(data, self.side, "squash")
        except Reject:
            return torch.full((3, self.side, self.side), 128, dtype=torch.uint8)
