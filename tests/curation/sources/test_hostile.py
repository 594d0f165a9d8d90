"""What real pools hold that nobody meant to put there: it costs one row with a reason, never the job or its neighbours."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import records, sources
from curation.sources import Found, directory, found, parquet, plan, read_bytes, read_units, tar


def items(path: object) -> list[Found]:
    """Everything found, through the table that the next stage gets: what cannot be stored fails here."""
    read = list(read_units(pa.Table.from_pylist(plan(str(path), records.POOL), schema=records.SOURCES)))
    pa.Table.from_pylist(
        [{k: getattr(i, k) for k in ("key", "uri", "member", "url", "caption", "sidecars", "detail")} for i in read]
    )
    return read


def refs(read: list[Found]) -> pa.Table:
    rows = [{f.name: getattr(i, f.name) for f in records.BYTES_REF} for i in read]
    return pa.Table.from_pylist(rows, schema=pa.schema(records.BYTES_REF))


def archive(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    """A tar without its end mark; `size` is what headers say, whatever follows them."""
    blocks: list[bytes] = []
    for name, data in members:
        info = tarfile.TarInfo(name)
        info.size, info.type = len(data) if size is None else size, kind
        blocks.append(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
    return b"".join(blocks)


A, B, END = archive(("a.jpg", b"1")), archive(("b.jpg", b"2")), bytes(1024)


def told(path: Path, data: bytes) -> list[tuple[str | None, str | None]]:
    path.write_bytes(data)
    return [(i.member, i.reason) for i in items(path)]


# Names and sidecars


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).write_bytes(b"1")
    except OSError:
        pytest.skip("this file system takes no such name")
    (tmp_path / "b.jpg").write_bytes(b"2")
    by_reason = {i.reason: i for i in items(tmp_path)}
    assert by_reason[None].data == b"2"
    assert by_reason["unreadable_file"].detail == "the name is not valid UTF-8"
    assert by_reason["unreadable_file"].key == "\\udcff"


@pytest.mark.parametrize("name", ["a::b.jpg", "[1]*?.jpg", "#%20&.jpg", "~.jpg", " .jpg", "{000..001}.jpg"])
def test_names_that_mean_something_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    assert [i.data for i in items(tmp_path)] == [b"1"]
    assert read_bytes(refs(items(tmp_path))) == [b"1"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"caption": "\\ud800"}', {"caption": "?"}),
        ('{"score": NaN, "more": [Infinity]}', {"score": None, "more": [None]}),
        ('"NaN"', "NaN"),
        ("[" * 100_000, "[" * 100_000),
        ("not json", "not json"),
    ],
)
def test_json_sidecars_that_are_hardly_json(tmp_path: Path, text: str, kept: object) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "a.json").write_text(text)
    (one,) = items(tmp_path)
    assert json.loads(one.sidecars or "", parse_constant=pytest.fail) == {"json": kept}


def test_a_sidecar_nested_too_deep_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def dumps(*_: object, **__: object) -> str:
        monkeypatch.undo()
        raise RecursionError

    monkeypatch.setattr(json, "dumps", dumps)
    assert found.describe({"json": [[]]})["sidecars"] == '{"json": "<nested too deep>"}'


def test_a_pattern_that_names_images_and_their_sidecars(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(folder.encode())
        (tmp_path / folder / "a.txt").write_text(f"caption {folder}")
    assert [(i.key, i.data, i.caption) for i in items(f"{tmp_path}/*/a.*")] == [
        ("a", b"x", "caption x"),
        ("a", b"y", "caption y"),
    ]
    assert [i.data for i in items(f"{tmp_path}/*")] == [b"x", b"y"]


# Links and sizes


def test_links_are_followed_and_lost_ones_told_of(tmp_path: Path) -> None:
    real, pool = tmp_path / "real", tmp_path / "pool"
    for folder in (real, pool):
        folder.mkdir()
    (real / "x.jpg").write_bytes(b"1")
    (pool / "file.jpg").symlink_to(real / "x.jpg")
    (pool / "folder").symlink_to(real)
    (pool / "same").symlink_to(real)
    (pool / "gone.jpg").symlink_to(real / "none")
    (pool / "self").symlink_to(pool)
    read = items(pool)
    assert [(i.key, i.data) for i in read if i.reason is None] == [("file", b"1"), ("folder/x", b"1")]
    assert [(Path(i.uri).name, i.detail) for i in read if i.reason] == [("gone.jpg", "a link that leads nowhere")]


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (directory, tar):
        monkeypatch.setattr(module, "MAX_BYTES", 9)
    (tmp_path / "a.jpg").write_bytes(b"1" * 10)
    (tmp_path / "b.jpg").write_bytes(b"2" * 9)
    (tmp_path / "t.tar").write_bytes(archive(("c.jpg", b"3" * 10), ("d.jpg", b"4")) + END)
    assert {i.key: (i.reason, i.length) for i in items(tmp_path)} == {
        "a": ("too_many_bytes", 10), "b": (None, 9), "c": ("too_many_bytes", 10), "d": (None, 1),
    }  # fmt: skip


def test_a_sidecar_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    large = b"x" * (found.MAX_SIDECAR_BYTES + 1)
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "a.cls").write_bytes(large)
    (tmp_path / "t.tar").write_bytes(archive(("b.jpg", b"2"), ("b.cls", large)) + END)
    assert [json.loads(i.sidecars or "") for i in items(tmp_path)] == [{"cls": "<more than 1048576 bytes>"}] * 2


# Tars


def test_tars_joined_by_cat_are_read_to_the_last(tmp_path: Path) -> None:
    assert told(tmp_path / "t.tar", A + END * 10 + B + END) == [("a.jpg", None), ("b.jpg", None)]
    assert told(tmp_path / "t.tar", A + END + b"junk" * 200) == [("a.jpg", None)]


@pytest.mark.parametrize("units", [1, 2])
def test_a_tar_cut_between_members_says_so(tmp_path: Path, units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SPLIT", 2 // units)
    (tmp_path / "t.tar").write_bytes(A + B)
    read = items(tmp_path / "t.tar")
    assert [(i.member, i.reason) for i in read] == [("a.jpg", None), ("b.jpg", None), ("", "truncated_archive")]
    assert read[-1].detail == "no end mark at byte 2048"
    assert told(tmp_path / "t.tar", A + B + bytes(512)) == [("a.jpg", None), ("b.jpg", None)]


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_sizes_of_what_has_no_bytes_do_not_count(tmp_path: Path, kind: bytes) -> None:
    odd = archive(("odd", b""), kind=kind, size=5000)
    assert [m for m in told(tmp_path / "t.tar", A + odd + B + END) if m[1] is None] == [("a.jpg", None), ("b.jpg", None)]


def pax(*lines: bytes) -> bytes:
    return archive(("x", b"".join(lines)), kind=b"x")


@pytest.mark.parametrize(
    ("odd", "reasons"),
    [
        (pax(b"14 size=99999\n"), [None, "truncated_archive"]),
        (pax(b"10 size=1\n", b"0 path=c\n" * 9), [None, None]),
        (pax(b"9" * 5000 + b" path=c\n"), [None, None]),
        (pax(b"999999999 path=b.jpg\n"), [None, None]),
        (archive(("x", b""), kind=b"L", size=-1 & 0o777), [None, "truncated_archive"]),
    ],
)
def test_nonsense_before_a_member_keeps_the_ones_before(tmp_path: Path, odd: bytes, reasons: list[str | None]) -> None:
    assert [reason for _, reason in told(tmp_path / "t.tar", A + odd + B + END)] == reasons


def test_a_negative_size_and_a_huge_name_end_the_walk(tmp_path: Path) -> None:
    header = bytearray(B[:512])
    header[124:136], header[148:156] = b"-0000002000\0", b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert [r for _, r in told(tmp_path / "t.tar", A + bytes(header) + END)] == [None, "truncated_archive"]
    name = archive(("x", b"n" * (tar.MAX_NAME_BYTES + 1)), kind=b"L")
    assert [r for _, r in told(tmp_path / "t.tar", A + name + B + END)] == [None, "truncated_archive"]


# Parquet


def test_sidecar_columns_without_a_python_value(tmp_path: Path) -> None:
    text = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"\xffa")])
    far = pa.array([2**62, 0], pa.timestamp("us"))
    pq.write_table(
        pa.table({"jpg": [b"1", b"2"], "caption": text, "far": far, "nan": [float("nan"), 1.5]}), tmp_path / "a.parquet"
    )
    read = items(tmp_path)
    assert [(i.data, i.caption) for i in read] == [(b"1", "\ufffd"), (b"2", "a")]
    first = json.loads(read[0].sidecars or "", parse_constant=pytest.fail)
    assert (first["far"], first["nan"]) == ("<unreadable timestamp[us]>", None)


def test_the_suffix_in_capitals(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": [b"one", b"two"]}), tmp_path / "A.PARQUET")
    (tmp_path / "B.TAR").write_bytes(A + END)
    assert read_bytes(refs(items(tmp_path))) == [i.data for i in items(tmp_path)] == [b"one", b"two", b"1"]


def test_units_of_one_row_group_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SPLIT", 5)
    values = [b"%d" % n for n in range(40)]
    for name, rows in (("a", 100), ("b", 4)):
        pq.write_table(pa.table({"jpg": values}), tmp_path / f"{name}.parquet", row_group_size=rows)
    units = plan(str(tmp_path), records.POOL)
    assert len(units) > 10
    assert [(u["start"], u["stop"], u["images"]) for u in parquet.merged(units)] == [(0, 40, 40)] * 2
    assert len(list(parquet.merged([*units[:2], *units[3:5]]))) == 2
    assert [i.data for i in items(tmp_path)] == values * 2


def test_only_the_row_groups_asked_for_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"jpg": [b"%d" % n for n in range(100)]}), tmp_path / "a.parquet", row_group_size=10)
    read, decoded, decode = items(tmp_path), list[int](), parquet._group_rows
    monkeypatch.setattr(parquet, "_group_rows", lambda *args: decoded.append(args[1]) or decode(*args))
    for at in ([3, 5], [7, 99], [98]):
        assert read_bytes(refs([read[n] for n in at])) == [b"%d" % n for n in at]
    assert decoded == [0, 9, 9]


def test_a_broken_row_group_and_a_row_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = [bytes([65 + n]) * 3000 for n in range(6)]
    pq.write_table(pa.table({"jpg": values}), path, row_group_size=2, compression="none", use_dictionary=False)
    read = items(path)
    data = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[at : at + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    table = pa.concat_tables([refs(read), refs(read[:1]).set_column(2, "offset", pa.array([10**9]))])
    assert read_bytes(table) == [values[0], values[1], None, None, values[4], values[5], None]
    assert read_bytes(refs(read[:1]).set_column(0, "uri", pa.array([None], pa.string()))) == [None]


def test_containers_on_other_file_systems() -> None:
    fs, buffer = fsspec.filesystem("memory"), io.BytesIO()
    pq.write_table(pa.table({"jpg": [b"3"]}), buffer)
    fs.pipe({"/odd/t.tar": A + END, "/odd/p.parquet": buffer.getvalue(), "/odd/a.jpg": b"4", "/odd/a.txt": b"caption"})
    read = items("memory://odd")
    assert [(i.data, i.caption) for i in read] == [(b"4", "caption"), (b"3", None), (b"1", None)]
    assert read_bytes(refs(read)) == [b"4", b"3", b"1"]
    fs.rm("/odd", recursive=True)
