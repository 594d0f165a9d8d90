"""Tars that any reader opens, written whole or not at all."""

from __future__ import annotations

import io
import tarfile
import uuid

import pytest

from curation.shards import TarSink, header
from curation.store import Store

MEMBERS = {
    "000.jpg": b"x" * 700,
    "000.json": b"{}",
    "000.txt": "une légende".encode(),
    "001.jpg": b"",
    "002.jpg": b"y" * 512,
}


@pytest.fixture(params=["local", "memory"])
def any_store(request, tmp_path) -> Store:
    return Store(str(tmp_path / "run") if request.param == "local" else f"memory://{uuid.uuid4().hex}/run")


def write(store: Store, name: str) -> dict[str, int]:
    with TarSink(store, name) as sink:
        offsets = {member: sink.add(member, data) for member, data in MEMBERS.items()}
        sink.commit()
    return offsets


def test_tarfile_reads_it_and_offsets_lead_to_the_bytes(any_store):
    offsets = write(any_store, "curated/00000.tar")
    data = any_store.read_bytes("curated", "00000.tar")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {m.name: tar.extractfile(m).read() for m in tar} == MEMBERS
        assert all(m.isfile() and m.mtime == 0 and m.uid == 0 for m in tar)
    assert {name: data[at : at + len(MEMBERS[name])] for name, at in offsets.items()} == MEMBERS
    assert len(data) % 512 == 0
    assert data.endswith(bytes(1024))


def test_equal_members_give_equal_bytes(any_store):
    for name in ("curated/00000.tar", "curated/00001.tar"):
        write(any_store, name)
    assert any_store.read_bytes("curated", "00000.tar") == any_store.read_bytes("curated", "00001.tar")


def test_an_exception_leaves_nothing(any_store):
    with pytest.raises(ValueError, match="name is too long"), TarSink(any_store, "curated/00000.tar") as sink:
        sink.add("x" * 300, b"")
    assert any_store.fs.ls(any_store.path("curated"), detail=False) == []


def test_an_exception_keeps_what_was_there_before(any_store):
    write(any_store, "curated/00000.tar")
    before = any_store.read_bytes("curated", "00000.tar")
    with pytest.raises(RuntimeError), TarSink(any_store, "curated/00000.tar"):
        raise RuntimeError
    assert any_store.read_bytes("curated", "00000.tar") == before


@pytest.mark.parametrize(
    ("name", "size"), [("a.jpg", 0), ("0" * 96 + ".jpg", 8**11 - 1), ("0" * 120, 5), ("é.jpg", 7), ("big", 8**11)]
)
def test_headers_are_tarfiles_own(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    try:
        expected = info.tobuf(tarfile.USTAR_FORMAT)
    except ValueError:
        with pytest.raises(ValueError, match=r"overflow|too long"):
            header(name, size)
    else:
        assert header(name, size) == expected
