"""Folders of WebDataset tars as pixels in memory, for the small trainings.

Letters: B images of a batch, S pixels of a stored image (every folder has its own).
"""

import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from curation.decode import decode
from curation.paths import one_line


@dataclass(frozen=True)
class Pictures:
    """One uint8 tensor (images, 3, S, S) per folder."""

    folders: tuple[Tensor, ...]

    def sample(self, count: int, *, seed: int) -> Tensor:
        """Returns up to `count` images of the largest folder, without repetition."""
        largest = max(self.folders, key=len)
        return largest[torch.randperm(len(largest), generator=torch.Generator().manual_seed(seed))[:count]]

    def batch(self, count: int, first_share: float, generator: torch.Generator) -> Tensor:
        """Returns (B, 3, S, S) without repetition inside a folder's part, at the first folder's S.

        first_share: share of the batch drawn from the first folder; 0 draws from each in proportion to its size.
        """
        sizes = [len(folder) for folder in self.folders]
        share = first_share or sizes[0] / sum(sizes)
        first = count if len(sizes) == 1 else min(sizes[0], round(count * share))
        rest_total = max(1, sum(sizes[1:]))
        parts = [_draw(self.folders[0], first, generator)]
        for folder in self.folders[1:]:
            parts.append(_draw(folder, round((count - first) * len(folder) / rest_total), generator))
        return torch.cat([_enlarge(part, self.folders[0].shape[-1]) for part in parts])


def _draw(folder: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return folder[torch.randperm(len(folder), generator=generator)[:count]]


def _enlarge(image_B3SS: Tensor, side: int) -> Tensor:
    if image_B3SS.shape[-1] == side or not len(image_B3SS):
        return image_B3SS.new_zeros(0, 3, side, side) if not len(image_B3SS) else image_B3SS
    return torch.nn.functional.interpolate(image_B3SS, size=(side, side), mode="bilinear")


def read_tars(folder: Path, *suffixes: str) -> Iterator[tuple[str, bytes]]:
    """Yields (key, bytes) of every member that ends in one of `suffixes`, else in .jpg, in the order of the sorted tars. Raises
    ValueError for none, or a damaged one."""
    paths = sorted(Path(folder).glob("*.tar"))
    if not paths:
        raise ValueError(f"no .tar files in {folder}")
    for path in paths:
        try:
            yield from _members(path, suffixes or (".jpg",))
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is no whole tar: {one_line(error)}") from error


def _members(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            key, dot, kind = member.name.rpartition(".")
            file = tar.extractfile(member) if (dot + kind).lower() in suffixes else None
            if file is not None:
                yield key, file.read()


def read_pictures(folders: list[Path], side: int, *, enlarge: bool = False) -> Pictures:
    """Decode every image, squashed to a square of `side` pixels.

    Unless `enlarge`, a folder whose first image has a shorter edge than that is kept at that edge, to save memory.
    """
    return Pictures(tuple(_read_folder(folder, side, enlarge) for folder in folders))


def _read_folder(folder: Path, side: int, enlarge: bool) -> Tensor:
    encoded = [data for _, data in read_tars(folder)]
    if not enlarge:
        side = min(side, *Image.open(io.BytesIO(encoded[0])).size)
    return torch.stack([decode(data, side, "squash") for data in encoded])
