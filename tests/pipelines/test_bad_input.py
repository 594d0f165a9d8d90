"""What a user can get wrong ends in one clear line; what a pool can hold ends in a row with its reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from subprocess import CompletedProcess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.queries import query
from tests.pipelines import tiny
from tests.pipelines.conftest import World


def line(done: CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    return tiny.make_seeds(tmp_path / "seeds", 1000, 2)


def test_empty_pool(tmp_path: Path, seeds: Path) -> None:
    (tmp_path / "pool").mkdir()
    said = line(tiny.curate("run", "--pool", tmp_path / "pool", "--seeds", seeds, "--out", tmp_path / "run"))
    assert said == f"curate: sources: nothing found in {tmp_path}/pool"


def test_missing_path(tmp_path: Path, seeds: Path) -> None:
    said = line(tiny.curate("run", "--pool", tmp_path / "nowhere", "--seeds", seeds, "--out", tmp_path / "run"))
    assert said == f"curate: sources: no such file or directory: {tmp_path}/nowhere"


def test_a_pool_of_no_images(tmp_path: Path, seeds: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for n in range(3):
        (pool / f"{n}.jpg").write_text("<html></html>")
    said = line(tiny.curate("run", "--pool", pool, "--seeds", seeds, "--out", tmp_path / "run"))
    assert said == f"curate: no usable image in {pool}: 3 not_an_image"


def test_seeds_that_are_all_unreadable(tmp_path: Path, world: World) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.jpg").write_bytes(b"nothing")
    said = line(tiny.curate("run", "--pool", world.pool, "--seeds", bad, "--out", tmp_path / "run"))
    assert said == "curate: no usable image in seed set bad: 1 not_an_image"


def test_unknown_seed_set_recipe_key_and_network(tmp_path: Path, world: World) -> None:
    base = ["run", "--pool", world.pool, "--out", tmp_path / "run"]
    assert "imagnet" in line(tiny.curate(*base, "--seeds", "imagnet", home=tmp_path))
    options = [*base, "--seeds", world.seeds]
    assert line(tiny.curate(*options, "--set", "survivors.self_simlarity=0.5")) == (
        "curate: [survivors] has no key self_simlarity; did you mean self_similarity?"
    )
    assert "no encoder 'resnet-9000'" in line(tiny.curate(*options, "--set", "embeddings.network=resnet-9000"))
    assert 'no NSFW detector "yes"' in line(tiny.curate(*options, "--set", "sanitized.nsfw=yes"))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return tiny.encoded(image, exif=exif)


def hostile_files() -> dict[str, tuple[bytes, str | None]]:
    """name -> bytes, and the reason they are dropped for (None: they are good images)."""
    p = tiny.picture
    frames = [p(n).convert("P") for n in (70, 71)]
    clear = p(72).convert("P")
    clear.info["transparency"] = 3
    deep = Image.fromarray(__import__("numpy").asarray(p(73).convert("L")).astype("uint16") * 257)
    return {
        "zero.jpg": (b"", "empty_file"),
        "cut.jpg": (tiny.photo(60)[:900], "truncated"),
        "mislabelled.png": (tiny.photo(61), None),
        "cmyk.jpg": (tiny.encoded(p(62).convert("CMYK")), None),
        "deep.png": (tiny.encoded(deep, "PNG"), None),
        "palette.png": (tiny.encoded(clear, "PNG", transparency=3), None),
        "animated.gif": (tiny.encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), None),
        "rotated.jpg": (rotated(p(63).resize((120, 60))), None),
        "huge.png": (png_header(50_000, 50_000), "too_many_pixels"),
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image"),
        "page.jpg": (b"<!doctype html><title>404</title>", "not_an_image"),
        "tiny.png": (tiny.encoded(p(64, 12), "PNG"), "too_small"),
        "strip.png": (tiny.encoded(p(65).resize((400, 40)), "PNG"), "bad_aspect"),
        "flat.png": (tiny.encoded(Image.new("RGB", (90, 90), "teal"), "PNG"), "flat"),
    }


def test_every_hostile_file_has_its_row(tmp_path: Path, seeds: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for name, (data, _) in hostile_files().items():
        (pool / name).write_bytes(data)
    tiny.make_tar(
        pool / "evil.tar", {"../evil.jpg": tiny.photo(80), "/etc/evil.jpg": tiny.photo(81), "good.jpg": tiny.photo(82)}
    )
    tiny.make_tar(tmp_path / "whole.tar", {f"{n}.jpg": tiny.photo(n) for n in range(90, 94)})
    (pool / "cut.tar").write_bytes((tmp_path / "whole.tar").read_bytes()[:-14_000])
    pq.write_table(pa.table({"name": ["a"], "size": [3]}), pool / "wrong.parquet")
    run = str(tmp_path / "run")
    done = tiny.curate("run", "--pool", pool, "--seeds", seeds, "--out", run, *tiny.UNCHECKED)
    assert done.returncode == 0, done.stderr
    why = {
        row["uri"].rsplit("/", 1)[-1]: row["drop_reason"]
        for row in query(run, "select * from dropped").to_pylist()
        if row["uri"]
    }
    for name, (_, reason) in hostile_files().items():
        assert why.get(name) == (reason or (why.get(name) and "not_retrieved")), name
    images = query(run, "select uri, member, drop_reason, error_message from images").to_pylist()
    names = {row["member"]: row["drop_reason"] for row in images if row["uri"].endswith("evil.tar")}
    assert names == {"../evil.jpg": "unsafe_name", "/etc/evil.jpg": "unsafe_name", "good.jpg": None}
    cut = [row["drop_reason"] for row in images if row["uri"].endswith("cut.tar")]
    assert cut.count("truncated_archive") == 1
    assert cut.count(None) >= 1
    (wrong,) = [row for row in images if row["uri"].endswith("wrong.parquet")]
    assert wrong["drop_reason"] == "no_image_column"
    assert "name, size" in wrong["error_message"]
    upright = query(run, "select width, height from images where key = 'rotated'").to_pylist()
    assert upright == [{"width": 60, "height": 120}]
