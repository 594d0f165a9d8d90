"""Workers: bytes from wherever a manifest says, and reasons where there are none."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from embedder.training.crops import CropConfig, cut
from embedder.training.manifest import Ref
from embedder.training.worker import Share, Task, fetched, views, work

CROPS = CropConfig(global_side=16, local_side=8, locals_=2)


def photo(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_bytes_come_from_tars_files_parquet_and_afar(tmp_path):
    one, two, three, four = (photo(seed) for seed in range(4))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        entry = tarfile.TarInfo("x.png")
        entry.size = len(one)
        tar.addfile(entry, io.BytesIO(one))
    (tmp_path / "b.png").write_bytes(two)
    pq.write_table(pa.table({"image": [{"bytes": b"no", "path": "0"}, {"bytes": three, "path": "1"}]}), tmp_path / "c.parquet")
    with fsspec.open("memory://d.bin", "wb") as file:
        file.write(b"before" + four + b"after")
    refs = [
        Ref("memory://d.bin", None, 6, len(four)),
        Ref(f"{tmp_path}/a.tar", None, 512, len(one)),
        Ref(f"{tmp_path}/b.png", None, 0, None),
        Ref(f"{tmp_path}/c.parquet", "image.bytes", 1, len(three)),
        Ref(f"{tmp_path}/b.png", None, 0, len(two)),
    ]
    assert fetched(refs) == [four, one, two, three, two]


def test_what_is_gone_or_short_is_none_and_the_others_come(tmp_path):
    data = photo(0)
    (tmp_path / "a.png").write_bytes(data)
    refs = [
        Ref(f"{tmp_path}/gone.png", None, 0, 5),
        Ref(f"{tmp_path}/a.png", None, 10, len(data)),
        Ref("nosuch://bucket/x", None, 0, 5),
        Ref(f"{tmp_path}/gone.parquet", "image", 0, 5),
        Ref(f"{tmp_path}/a.png", None, 0, len(data)),
    ]
    assert fetched(refs) == [None, None, None, None, data]


def test_crops_go_to_their_place_and_bad_images_have_reasons(tmp_path):
    (tmp_path / "a.png").write_bytes(photo(1))
    (tmp_path / "b.png").write_bytes(b"<html></html>")
    share = Share(CROPS, 4, images=3, buffers=2)
    memory = bytearray(share.bytes)
    names = ["b.png", "a.png", "gone.png"]
    tasks = [Task(1, at, 70 + at, Ref(f"{tmp_path}/{name}", None, 0, None)) for at, name in enumerate(names)]
    assert work(tasks, memory, share) == ["not_an_image", None, "source_missing"]
    globals_, locals_ = views(memory, share, 1)
    assert (globals_.shape, locals_.shape) == ((2, 3, 3, 16, 16), (2, 3, 3, 8, 8))
    crops = list(cut(photo(1), CROPS, 4, 71))
    assert all(np.array_equal(home, crop) for home, crop in zip([*globals_[:, 1], *locals_[:, 1]], crops, strict=True))
    assert not any(views(memory, share, 0)[0].ravel())


def test_a_worker_starts_without_what_it_does_not_need():
    code = "import sys, embedder.training.worker; print([m for m in ('ray', 'duckdb', 'faiss', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
