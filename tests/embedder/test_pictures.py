"""Tars to tensors, and batches that mix folders."""

import io
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from embedder.pictures import Pictures, read_pictures, read_tars


def tar_of(folder: Path, name: str, sizes: dict[str, tuple[int, int]]) -> Path:
    """Write one tar of plain red JPEGs, each with a .cls beside it."""
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / name, "w") as tar:
        for key, size in sizes.items():
            file = io.BytesIO()
            Image.new("RGB", size, "red").save(file, "JPEG")
            for suffix, data in ((".jpg", file.getvalue()), (".cls", b"n01")):
                member = tarfile.TarInfo(key + suffix)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return folder


def test_members_come_in_order_and_by_suffix(tmp_path: Path) -> None:
    tar_of(tmp_path, "b.tar", {"third": (8, 8)})
    tar_of(tmp_path, "a.tar", {"first": (8, 8), "second": (8, 8)})
    assert [key for key, _ in read_tars(tmp_path)] == ["first", "second", "third"]
    assert set(read_tars(tmp_path, ".cls")) == {("first", b"n01"), ("second", b"n01"), ("third", b"n01")}


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.tar files in"):
        list(read_tars(tmp_path))


def test_images_are_squashed_to_the_first_ones_short_edge_or_the_limit(tmp_path: Path) -> None:
    large = tar_of(tmp_path / "large", "a.tar", {"x": (90, 60), "y": (30, 80)})
    small = tar_of(tmp_path / "small", "a.tar", {"z": (24, 24)})
    pictures = read_pictures([large, small], side=48)
    assert [tuple(folder.shape) for folder in pictures.folders] == [(2, 3, 48, 48), (1, 3, 24, 24)]
    red = torch.cat(read_pictures([large, small], side=48, enlarge=True).folders)
    assert red.shape == (3, 3, 48, 48)
    assert red[:, 0].min() > 240
    assert red[:, 1:].max() < 15


def test_a_batch_takes_its_share_of_each_folder_without_repetition() -> None:
    first = torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1).expand(-1, 3, 4, 4)
    pictures = Pictures((first, first + 100))
    batch = pictures.batch(10, 0.3, torch.Generator().manual_seed(0))[:, 0, 0, 0].tolist()
    assert len(set(batch)) == 10
    assert sum(value < 100 for value in batch) == 3
    even = pictures.batch(10, 0.0, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    assert (even < 100).sum() == 5


def test_a_sample_is_of_the_largest_folder_and_repeatable() -> None:
    pictures = Pictures(
        (torch.zeros(3, 3, 4, 4, dtype=torch.uint8), torch.arange(48).reshape(1, 3, 4, 4).expand(9, -1, -1, -1).byte())
    )
    assert len(pictures.sample(100, seed=0)) == 9
    assert torch.equal(pictures.sample(4, seed=1), pictures.sample(4, seed=1))
