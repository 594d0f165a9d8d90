"""Labelled places in their three shapes, and what becomes of images that cannot be read."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from embedder.encoder import load_encoder
from embedder.evaluation.features import class_tokens, embed, numbered
from embedder.evaluation.folder import labelled
from embedder.evaluation.knn import knn_accuracy


def picture(colour: tuple[int, int, int], seed: int) -> bytes:
    """A noisy plain colour, as PNG."""
    noise = np.random.default_rng(seed).integers(0, 30, (48, 48, 3))
    out = io.BytesIO()
    Image.fromarray((np.asarray(colour) + noise).clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def folder(where: Path, count: int, seed: int) -> Path:
    """Red and blue pictures in folders of classes."""
    for name, colour in (("red", (200, 20, 20)), ("blue", (20, 20, 200))):
        (where / name).mkdir(parents=True)
        for n in range(count):
            (where / name / f"{n}.png").write_bytes(picture(colour, seed + n))
    return where


def test_folder_csv_and_tars_hold_the_same(tmp_path: Path) -> None:
    where = folder(tmp_path / "set", 2, 0)
    wanted = [(label, data) for _, label, data in labelled(where)]
    assert [label for label, _ in wanted] == ["blue", "blue", "red", "red"]
    rows = [f"{name},{label}" for name, label, _ in labelled(where)]
    (where / "list.csv").write_text("\n".join(["file,label", *rows]))
    assert [(label, data) for _, label, data in labelled(where / "list.csv")] == wanted
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "a.tar", "w") as tar:
        for n, (label, data) in enumerate(wanted):
            for suffix, part in (((".jpg", ".PNG")[n % 2], data), (".cls", label.encode())):
                member = tarfile.TarInfo(f"{n}{suffix}")
                member.size = len(part)
                tar.addfile(member, io.BytesIO(part))
    assert [(label, data) for _, label, data in labelled(tmp_path / "tars")] == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [("a,b\n1,2", "columns file and label"), ("file,label\nx.jpg,", "no label"), ("file,label\nx.jpg,c", "no file")],
)
def test_a_bad_csv_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=told):
        list(labelled(tmp_path / "list.csv"))


def test_places_without_classes_are_told(tmp_path: Path) -> None:
    (tmp_path / "loose.png").write_bytes(picture((9, 9, 9), 0))
    with pytest.raises(ValueError, match="folders of classes"):
        list(labelled(tmp_path))
    with pytest.raises(ValueError, match="neither"):
        list(labelled(tmp_path / "gone"))


def test_an_encoder_tells_red_from_blue_and_damaged_images_are_counted(tmp_path: Path) -> None:
    train, val, encoder = folder(tmp_path / "train", 6, 0), folder(tmp_path / "val", 3, 50), load_encoder("vitti16-small")
    assert knn_accuracy(encoder, train, val, k=3) == 1.0
    (val / "red" / "cut.png").write_bytes(picture((200, 20, 20), 1)[:500])
    (val / "red" / "page.jpg").write_bytes(b"<html>not found</html>")
    found = embed(encoder, labelled(val))
    assert len(found.names) == len(found.labels) == len(found.rows_NE) == 6
    assert found.skipped == {"truncated": 1, "not_an_image": 1}
    with pytest.raises(ValueError, match="no readable image among 1"):
        embed(encoder, [("x", "y", b"")])


def test_class_tokens_are_those_of_the_network(tmp_path: Path) -> None:
    encoder = load_encoder("vitti16-small")
    image = torch.randint(256, (2, 3, encoder.side, encoder.side), dtype=torch.uint8)
    found, width = class_tokens(encoder, 4)(image), encoder.network.width
    assert found.shape == (2, 5 * width)
    last = class_tokens(encoder, 1)(image)
    assert torch.equal(found[:, 3 * width :], last)
    with pytest.raises(ValueError, match="no vision transformer"):
        class_tokens(load_encoder("copy-small"), 1)


def test_classes_of_both_sides_share_their_numbers() -> None:
    known, asked, count = numbered(["b", "a"], ["c", "b"])
    assert (known.tolist(), asked.tolist(), count) == ([1, 0], [2, 1], 3)


def test_a_damaged_tar_or_csv_is_one_line(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cut.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.cls"))
    (tmp_path / "cut.tar").write_bytes((tmp_path / "cut.tar").read_bytes()[:300])
    (tmp_path / "wide.csv").write_text(f"file,label\n{'a' * 200_000},red\n")
    (tmp_path / "other.csv").write_bytes(b"\xff\xfe")
    for where, why in ((tmp_path, "cut.tar is no whole tar"), ("wide.csv", "is no CSV"), ("other.csv", "is no CSV in UTF-8")):
        with pytest.raises(ValueError, match=why) as raised:
            list(labelled(tmp_path / where))
        assert "\n" not in str(raised.value)
