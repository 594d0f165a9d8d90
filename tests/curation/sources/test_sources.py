"""Sources: what is planned is read, what is read can be found again, and nothing hostile stops either."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import records, sources
from curation.sources import Found, SourceError, plan, read_bytes, read_units


def found(path: object, split: int | None = None, monkeypatch: pytest.MonkeyPatch | None = None) -> list[Found]:
    if split and monkeypatch:
        monkeypatch.setattr(sources, "SPLIT", split)
    return list(read_units(pa.Table.from_pylist(plan(str(path), records.POOL), schema=records.SOURCES)))


def refs(items: list[Found]) -> pa.Table:
    rows = [{f.name: getattr(i, f.name) for f in records.BYTES_REF} for i in items]
    return pa.Table.from_pylist(rows, schema=pa.schema(records.BYTES_REF))


def tar(path: Path, members: list[tuple[str, bytes]], kind: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


SAMPLES = [(f"{n:03d}.{suffix}", f"{suffix}{n}".encode()) for n in range(6) for suffix in ("cls", "jpg", "txt")]


def test_a_directory_with_sidecars_and_odd_names(tmp_path: Path) -> None:
    deep = tmp_path / "a b" / "été"
    deep.mkdir(parents=True)
    (deep / "x.JPG").write_bytes(b"1")
    (deep / "x.txt").write_text("a caption")
    (deep / "x.json").write_text('{"url": "http://u"}')
    (tmp_path / "notes.txt").write_text("no image beside it")
    (tmp_path / "plain").write_bytes(b"2")
    by_key = {item.key: item for item in found(tmp_path)}
    assert set(by_key) == {"a b/été/x", "notes", "plain"}
    one = by_key["a b/été/x"]
    assert (one.data, one.caption, one.url) == (b"1", "a caption", "http://u")
    assert json.loads(one.sidecars or "") == {"json": {"url": "http://u"}}


def test_tar_members_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for order in (SAMPLES, sorted(SAMPLES, key=lambda m: m[0][4:]), SAMPLES[::-1]):
        items = found(tar(tmp_path / "t.tar", order), 2, monkeypatch)
        assert {i.key: (i.data, i.caption, json.loads(i.sidecars or "")) for i in items} == {
            f"{n:03d}": (f"jpg{n}".encode(), f"txt{n}", {"cls": f"cls{n}"}) for n in range(6)
        }


def test_a_large_tar_is_many_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SPLIT", 2)
    units = plan(str(tar(tmp_path / "t.tar", SAMPLES)), records.POOL)
    assert [u["images"] for u in units] == [2, 2, 2]
    assert all(a["stop"] == b["start"] for a, b in zip(units, units[1:], strict=False))


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names(tmp_path: Path, kind: int) -> None:
    name = "/".join(["folder-with-a-long-name"] * 5) + "/" + "n" * 60 + "-é.jpg"
    items = found(tar(tmp_path / "t.tar", [(name, b"1"), ("b.jpg", b"2")], kind))
    assert [(i.member, i.data) for i in items] == [(name, b"1"), ("b.jpg", b"2")]


def test_unsafe_names_and_links(tmp_path: Path) -> None:
    path = tar(tmp_path / "t.tar", [("../a.jpg", b"1"), ("/etc/b.jpg", b"2"), ("c.jpg", b"3")])
    with tarfile.open(path, "a") as out:
        link = tarfile.TarInfo("d.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
    assert [(i.member, i.reason) for i in found(path)] == [
        ("../a.jpg", "unsafe_name"),
        ("/etc/b.jpg", "unsafe_name"),
        ("c.jpg", None),
        ("d.jpg", "not_a_file"),
    ]


def test_a_tar_cut_anywhere_keeps_what_is_whole(tmp_path: Path) -> None:
    whole = tar(tmp_path / "t.tar", [(f"{n}.jpg", bytes([n]) * 700) for n in range(4)]).read_bytes()
    for cut in range(0, 4 * 1536 + 1, 256):
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        items = found(tmp_path / "cut.tar")
        kept = [i for i in items if i.reason is None]
        assert len(kept) == max(0, (cut - 1212) // 1536 + 1), cut
        assert all(i.data == bytes([n]) * 700 for n, i in enumerate(kept))
        assert {i.reason for i in items} - {None} <= {"truncated_archive", "empty_archive"}


def test_a_hundred_thousand_tiny_members(tmp_path: Path) -> None:
    block = tar(tmp_path / "one.tar", [("0000000.jpg", b"x")]).read_bytes()[:1024]
    header, blocks = bytearray(block[:512]), []
    for n in range(100_000):
        header[:11], header[148:156] = f"{n:07d}.jpg".encode(), b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        blocks.append(bytes(header) + block[512:])
    (tmp_path / "many.tar").write_bytes(b"".join(blocks) + bytes(1024))
    began = time.monotonic()
    units = plan(str(tmp_path / "many.tar"), records.POOL)
    assert sum(u["images"] for u in units) == 100_000
    assert time.monotonic() - began < 20


def test_parquet_columns_of_both_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [f"image{n}".encode() for n in range(10)]
    plain = pa.table({"uid": [f"u{n}" for n in range(10)], "jpg": pa.array(values, pa.binary()), "TEXT": ["t"] * 10})
    nested = pa.array(
        [{"bytes": v, "path": f"{n}.png"} for n, v in enumerate(values)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    pq.write_table(plain, tmp_path / "plain.parquet", row_group_size=4)
    pq.write_table(pa.table({"image": nested, "label": range(10)}), tmp_path / "nested.parquet")
    for name, key, column in (("plain", "u3", "jpg"), ("nested", "3.png", "image.bytes")):
        items = found(tmp_path / f"{name}.parquet", 3, monkeypatch)
        assert [i.data for i in items] == values
        assert (items[3].key, items[3].member, items[3].offset) == (key, column, 3)
        assert read_bytes(refs(items[::-2])) == values[::-2]
        assert read_bytes(refs(items[4:8])) == values[4:8]


def test_parquet_without_images_or_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["a"], "size": [1]}), tmp_path / "wrong.parquet")
    (wrong,) = found(tmp_path / "wrong.parquet")
    assert (wrong.reason, wrong.detail) == ("no_image_column", "no column of image bytes among: name, size")
    pq.write_table(pa.table({"jpg": pa.array([None, b"1"], pa.binary())}), tmp_path / "null.parquet")
    assert [i.reason for i in found(tmp_path / "null.parquet")] == ["no_bytes", None]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("bad.parquet", "unreadable_archive"), ("bad.tar", "truncated_archive"), ("x.tar.gz", "unsupported_archive")],
)
def test_containers_that_are_none(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / name).write_bytes(b"this is not it" * 50)
    assert [i.reason for i in found(tmp_path)] == [reason]


def test_a_linked_folder_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"1")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert [i.data for i in found(tmp_path / "a")] == [b"1"]


def test_globs_braces_and_single_files(tmp_path: Path) -> None:
    for n in range(12):
        (tmp_path / f"{n:03d}.jpg").write_bytes(b"%d" % n)
    assert len(found(f"{tmp_path}/00?.jpg")) == 10
    assert len(found(f"{tmp_path}/{{008..011}}.jpg")) == 4
    assert [i.key for i in found(tmp_path / "003.jpg")] == ["003"]


def test_other_file_systems() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/pool/a.jpg", b"1")
    items = found("memory://pool")
    assert [(i.data, i.uri) for i in items] == [(b"1", "memory:///pool/a.jpg")]
    assert read_bytes(refs(items)) == [b"1"]
    fs.rm("/pool", recursive=True)


def test_missing_and_empty_places(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or directory"):
        plan(str(tmp_path / "none"), records.POOL)
    with pytest.raises(SourceError, match="nothing found"):
        plan(str(tmp_path), records.POOL)


def test_bytes_that_are_gone_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1234")
    items = found(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"12")
    assert read_bytes(refs(items)) == [None]
    (tmp_path / "a.jpg").unlink()
    assert read_bytes(refs(items)) == [None]


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    """In a process without root's rights, which ignore permissions."""
    (tmp_path / "open.jpg").write_bytes(b"1")
    shut = tmp_path / "shut"
    shut.mkdir()
    shut.chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == Path.home().owner() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    code = ("import os\n"
            "from curation.sources import plan\n"
            f"plan({str(tmp_path / 'open.jpg')!r}, 'pool')\n"
            "os.getuid() or os.setuid(65534)\n"
            f"print([(u['uri'][-5:], u['error_message']) for u in plan({str(tmp_path)!r}, 'pool')])\n"
            f"try: plan({str(shut)!r}, 'pool')\n"
            "except ValueError as error: print(error)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    shut.chmod(0o755)
    assert "('/shut', 'Permission denied')" in done.stdout, done.stderr
    assert f"cannot read {shut}" in done.stdout


def test_digests_survive_the_way_back(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    tar(tmp_path / "t.tar", SAMPLES)
    pq.write_table(pa.table({"jpg": pa.array([b"two"], pa.binary())}), tmp_path / "p.parquet")
    items = found(tmp_path)
    again = read_bytes(refs(items))
    assert [hashlib.sha256(i.data or b"").digest() for i in items] == [hashlib.sha256(b or b"").digest() for b in again]
