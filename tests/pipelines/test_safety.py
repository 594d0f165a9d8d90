"""A face once found is nowhere in the run unblurred; what was removed from an exported file is in no file of it."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from embedder.detectors import load_faces
from pipelines.queries import query, run_checks
from tests.pipelines import tiny

MARK = b"a secret of the camera"
FACE = (150, 40, 310, 200)  # the astronaut's head


def portrait(number: int) -> Image.Image:
    """A picture like no other with a real face in it, 60 to 120 px wide, mirrored every other time."""
    side = 60 + 20 * (number % 4)
    head = Image.fromarray(data.astronaut()).crop(FACE).resize((side, side))
    page = tiny.picture(500 + number, 320)
    page.paste(head.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number % 2 else head, (40 + 15 * number, 80))
    return page


def with_thumbnail(image: Image.Image, number: int) -> bytes:
    """A JPEG whose EXIF holds a thumbnail of the unblurred face, a position and a marker; every third one is turned."""
    small = tiny.encoded(image.resize((160, 160)), "JPEG", quality=60)
    orientation = 6 if number % 3 == 0 else 1
    stored = image.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else image
    plain = tiny.encoded(stored, "JPEG", quality=92, comment=MARK)
    ifd0 = b"\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\x00\x00"
    ifd1 = b"\x00\x02" + b"\x02\x01\x00\x04\x00\x00\x00\x01" + (56).to_bytes(4, "big")
    ifd1 += b"\x02\x02\x00\x04\x00\x00\x00\x01" + len(small).to_bytes(4, "big") + bytes(4)
    exif = b"MM\x00\x2a\x00\x00\x00\x08" + ifd0 + (26).to_bytes(4, "big") + ifd1 + small
    body = b"Exif\x00\x00" + exif
    return plain[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + plain[2:]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A run over eight portraits and twenty pictures without a face, all default but the quality of the NSFW guess."""
    root = tmp_path_factory.mktemp("safety")
    pool, seeds = root / "pool", tiny.make_seeds(root / "seeds", 1000, 2)
    pool.mkdir()
    portraits = [with_thumbnail(portrait(number), number) for number in range(8)]
    for number, encoded in enumerate(portraits):
        (pool / f"portrait-{number}.jpg").write_bytes(encoded)
    for number in range(20):
        (pool / f"plain-{number}.jpg").write_bytes(tiny.encoded(tiny.picture(number), "JPEG", quality=90, comment=MARK))
    out = root / "run"
    sets = ("--set", "neighbors.depth=40", "--set", "survivors.self_similarity=0.9999", "--set", "pool.part_rows=10")
    done = tiny.curate("run", "--pool", pool, "--seeds", seeds, "--out", out, "--workers", 2, *sets)
    assert done.returncode == 0, done.stderr
    assert "not checked" not in done.stderr + done.stdout
    return out, portraits


def written(out: Path) -> dict[str, bytes]:
    """Every file of the run, hidden ones too, by its path."""
    files = (Path(base) / name for base, _, names in os.walk(out) for name in names)
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_faces_are_found_and_blurred(run: tuple[Path, list[bytes]]) -> None:
    out, portraits = run
    found = query(str(out), "select faces, face_action, uri from sanitized where faces > 0").to_pylist()
    assert len(found) == len(portraits)
    assert {(row["face_action"], row["uri"].startswith("blurred/")) for row in found} == {("blurred", True)}
    assert not any(run_checks(str(out)).values())


def test_no_byte_of_the_run_holds_what_was_removed(run: tuple[Path, list[bytes]]) -> None:
    out, portraits = run
    everything = written(out)
    for encoded in portraits:
        thumbnail = encoded.index(b"\xff\xd8", 2)
        pieces = (encoded[thumbnail + 700 : thumbnail + 732], encoded[-3000:-2968], MARK)  # of the thumbnail, of the scan
        for name, content in everything.items():
            assert not any(piece in content for piece in pieces), name


def test_no_image_that_the_run_wrote_shows_a_face(run: tuple[Path, list[bytes]]) -> None:
    out, _ = run
    detector = load_faces("centerface")
    images = []
    for path in sorted(out.rglob("*.tar")):
        with tarfile.open(path) as tar:
            images += [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]  # type: ignore[union-attr]
    for content in written(out).values():  # and images that begin anywhere else
        images += [content[at:] for at in starts(content)]
    assert len(images) >= 16
    faces = [detector([np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))])[0] for image in images]
    assert [found[0] for found in faces if len(found) and found[0, 4] >= 0.4] == []


def starts(content: bytes) -> list[int]:
    """Where a JPEG begins in a file."""
    at, out = content.find(b"\xff\xd8\xff"), []
    while at >= 0:
        out.append(at)
        at = content.find(b"\xff\xd8\xff", at + 1)
    return out


def test_receipts_name_models_boxes_and_digests(run: tuple[Path, list[bytes]]) -> None:
    out, _ = run
    rows = pq.read_table(out / "sanitized").to_pylist()
    assert len({row["face_model"] for row in rows}) == len({tuple(row["nsfw_models"]) for row in rows}) == 1
    for row in rows:
        assert len(row["face_boxes"]) == row["faces"]
        assert (row["bytes_sha256"][:32] == row["image_id"]) == (row["faces"] == 0)
    recipe = (out / "recipe.toml").read_text()
    assert rows[0]["face_model"] in recipe
    assert rows[0]["nsfw_models"][0] in recipe


def test_none_is_said_in_the_summary(world: object) -> None:
    summary = json.loads((world.run / "report" / "summary.json").read_text())  # type: ignore[attr-defined]
    assert "not checked: nsfw and faces (none in the recipe)" in summary["notes"]
    card = (world.run / "report" / "README.md").read_text()  # type: ignore[attr-defined]
    assert "**NSFW images were not looked for**" in card
    assert "**Faces were not looked for**" in card


def test_the_card_tells_what_was_found(run: tuple[Path, list[bytes]]) -> None:
    card = (run[0] / "report" / "README.md").read_text()
    assert "8 in 8 images; 8 images were blurred" in card
    assert "by nudenet (weights " in card
