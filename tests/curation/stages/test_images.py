"""images: files become rows, rows with the same content become one image."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from curation import records
from curation.sources import Found, plan
from curation.stages import images
from curation.stages.images import ImagesConfig, identify, scan
from tests.curation.making import by_id, encoded, name, put, run

PNG = encoded(Image.new("RGB", (30, 20), "green"))


def scanned_row(n: int, **more) -> dict:
    return {"image_id": name(n), "sha256": 2 * name(n), "set": "pool"} | more


def folder(tmp_path: Path, **files: bytes) -> pa.Table:
    for stem, data in files.items():
        (tmp_path / f"{stem}.png").write_bytes(data)
    return pa.Table.from_pylist(plan(str(tmp_path), "pool"), schema=records.SOURCES)


def test_a_file_is_identified_by_its_content(tmp_path):
    (row,) = scan(folder(tmp_path, a=PNG), None, ImagesConfig()).to_pylist()
    digest = hashlib.sha256(PNG).hexdigest()
    assert (row["image_id"], row["sha256"]) == (digest[:32], digest)
    assert (row["format"], row["pixel_mode"], row["width"], row["height"]) == ("PNG", "RGB", 30, 20)
    assert (row["length"], row["set"], row["drop_reason"]) == (len(PNG), "pool", None)
    assert Path(row["uri"].removeprefix("file://")).read_bytes() == PNG


def test_every_reason_to_refuse_a_file(tmp_path):
    units = folder(tmp_path, a_empty=b"", b_html=b"<html></html>", c_big=PNG + bytes(5000), d_good=PNG)
    cfg = ImagesConfig(max_bytes=len(PNG))
    rows = {row["key"]: row for row in scan(units, None, cfg).to_pylist()}
    reasons = {key: row["drop_reason"] for key, row in rows.items()}
    assert reasons == {"a_empty": "empty_file", "b_html": "not_an_image", "c_big": "too_many_bytes", "d_good": None}
    assert (rows["c_big"]["drop_score"], rows["c_big"]["drop_limit"]) == (len(PNG) + 5000, len(PNG))
    (row,) = scan(units.slice(3), None, ImagesConfig(max_pixels=599)).to_pylist()
    assert row["drop_reason"] == "too_many_pixels"
    assert row["image_id"] == hashlib.sha256(PNG).hexdigest()[:32]


def test_a_file_that_is_gone_is_a_row_too(tmp_path):
    units = folder(tmp_path, a=PNG)
    (tmp_path / "a.png").unlink()
    (row,) = scan(units, None, ImagesConfig()).to_pylist()
    assert row["drop_reason"] is not None
    assert row["image_id"] is None


def test_bytes_that_no_reader_gave_are_unreadable():
    row = images._row(Found(set="pool", key="k", uri="u"), ImagesConfig())
    assert row["drop_reason"] == "unreadable_file"


@pytest.mark.parametrize("per_pass", [1 << 24, 2, 1])
def test_exact_duplicates_across_parts_and_sets(store, monkeypatch, per_pass):
    monkeypatch.setattr(images, "IDS_PER_PASS", per_pass)
    a, b, c, d = (f"{digit}{name(0)[1:]}" for digit in "07af")  # in different prefix passes
    put(store, "scanned", [scanned_row(0, image_id=a), scanned_row(0, image_id=b), scanned_row(0, image_id=a)],
        records.SCANNED, 0)  # fmt: skip
    put(store, "scanned", [scanned_row(0, image_id=None, drop_reason="unreadable_file"), scanned_row(0, image_id=c)],
        records.SCANNED, 1)  # fmt: skip
    put(store, "scanned", [scanned_row(0, image_id=i, set="seed:s") for i in (b, d)], records.SCANNED, 2)
    put(store, "scanned", [scanned_row(0, image_id=i, set="protect:v") for i in (b, c, c)], records.SCANNED, 5)
    parts = run(identify, store, ["scanned"], ImagesConfig())
    assert [number for number, _ in parts] == [0, 1, 2, 5]
    assert all(table.schema == records.IMAGES for _, table in parts)
    rows = [[(r["image_id"], r["sets"], r["drop_reason"], r["drop_cause"]) for r in t.to_pylist()] for _, t in parts]
    twice = "exact_duplicate"
    assert rows[0] == [(a, ["pool"], None, None), (b, ["pool", "protect:v", "seed:s"], None, None),
                       (a, ["pool"], twice, a)]  # fmt: skip
    assert rows[1] == [(None, ["pool"], "unreadable_file", None), (c, ["pool", "protect:v"], None, None)]
    assert rows[2] == [(b, ["seed:s"], twice, b), (d, ["seed:s"], None, None)]
    assert rows[3] == [(i, ["protect:v"], twice, i) for i in (b, c, c)]


def test_passes_split_the_ids_until_they_fit(store, monkeypatch):
    put(store, "scanned", [scanned_row(n) for n in range(40)], records.SCANNED)
    monkeypatch.setattr(images, "IDS_PER_PASS", 2)
    passes: list[str] = []
    repeated = images._repeated
    monkeypatch.setattr(images, "_repeated", lambda s, prefix: passes.append(prefix) or repeated(s, prefix))
    run(identify, store, ["scanned"], ImagesConfig())
    assert len(passes) == len(set(passes)) == 256


def test_a_refused_image_is_nobodys_duplicate(store):
    refused = {"drop_reason": "too_many_bytes"}
    put(store, "scanned", [scanned_row(1, **refused), scanned_row(1, **refused), scanned_row(2)], records.SCANNED)
    (part,) = run(identify, store, ["scanned"], ImagesConfig())
    assert part[1]["drop_reason"].to_pylist() == ["too_many_bytes", "too_many_bytes", None]
    assert by_id([part])[name(2)]["sets"] == ["pool"]


@pytest.mark.parametrize("limit", [0, (1 << 30) + 1])
def test_a_limit_that_could_have_no_effect_is_refused(limit):
    with pytest.raises(ValueError, match="max_bytes must be 1 to"):
        ImagesConfig(max_bytes=limit)
