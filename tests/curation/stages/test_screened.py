"""sanitized: every reason with its smallest image, and of equal hashes one image kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter

from curation import records
from curation.stages import screened as stage
from curation.stages.screened import ScreenedConfig, basis_matrix, drop_near_exact, fit_hash, screen
from tests.curation.making import POOL, by_id, encoded, file_row, image_row, name, picture, put, run

NO_BASIS = np.zeros((0, 256), np.float32)


def grey(levels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(levels.astype(np.uint8)))


def screened(data: bytes, sets: list[str] = POOL, cfg: ScreenedConfig | None = None, **facts: int) -> dict:
    row = image_row(1, sets, **facts)
    batch = pa.Table.from_pylist([row], schema=records.IMAGES).append_column("bytes", pa.array([data], pa.binary()))
    table = screen(batch, NO_BASIS, cfg or ScreenedConfig())
    assert table.schema == records.SCREENED
    return table.to_pylist()[0]


NOISE = np.random.default_rng(0).integers(0, 256, (128, 128))
DOT = np.where(np.indices((128, 128)).sum(axis=0) == 0, 255, 0)  # one white pixel on black
REASONS = {
    "too_small": (grey(NOISE), {"width": 31, "height": 200}),
    "bad_aspect": (grey(NOISE), {"width": 501, "height": 100}),
    "flat": (grey(np.full((128, 128), 9)), {}),
    "low_entropy": (grey(np.where(np.arange(128) < 4, 255, 0)[None].repeat(128, 0)), {}),
    "blurred": (encoded(Image.fromarray(np.tile(np.arange(128), (128, 1)).astype(np.uint8))), {}),
    "not_an_image": (b"<html>", {}),
    "empty_file": (b"", {}),
}


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason(reason):
    data, facts = REASONS[reason]
    row = screened(data, **facts)
    assert row["drop_reason"] == reason
    if reason not in ("not_an_image", "empty_file"):
        measured = {"too_small": 31, "bad_aspect": 5.01, "flat": 0.0}.get(reason)
        assert row["drop_score"] == pytest.approx(measured if measured is not None else row["drop_score"], rel=1e-5)
        over = reason == "bad_aspect"
        assert (row["drop_score"] > row["drop_limit"]) == over


@pytest.mark.parametrize("reason", ["too_small", "bad_aspect", "flat", "low_entropy", "blurred"])
@pytest.mark.parametrize("sets", [["seed:s"], ["protect:v"], ["pool", "seed:s"]])
def test_images_that_a_seed_or_protected_set_holds_are_not_judged(reason, sets):
    data, facts = REASONS[reason]
    row = screened(data, sets, **facts)
    assert row["drop_reason"] is None
    assert row["contrast"] is not None


def test_a_trusted_image_that_cannot_be_decoded_goes_all_the_same():
    assert screened(b"<html>", ["seed:s"])["drop_reason"] == "not_an_image"
    assert screened(grey(DOT), ["seed:s"])["drop_reason"] is None


def test_a_good_image_is_kept_and_measured():
    row = screened(encoded(picture(1)))
    assert row["drop_reason"] is None
    assert row["pca_hash"] is None
    assert row["entropy"] > 5
    assert row["sharpness"] > screened(encoded(picture(1).filter(ImageFilter.GaussianBlur(3))))["sharpness"]


def test_limits_are_the_recipes():
    off = ScreenedConfig(min_side=0, max_aspect=1e9, min_entropy=0, min_contrast=0, min_sharpness=0)
    for reason in ("too_small", "bad_aspect", "flat", "low_entropy", "blurred"):
        data, facts = REASONS[reason]
        assert screened(data, cfg=off, **facts)["drop_reason"] is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hash_bits": 12}, "hash_bits"),
        ({"hash_bits": 264}, "256"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        ScreenedConfig(**wrong)


def test_basis_is_fitted_on_the_pool_alone_and_does_not_depend_on_the_parts(store, tmp_path):
    rows = [file_row(encoded(picture(n)), tmp_path / f"{n}.png") for n in range(12)]
    trusted = [file_row(encoded(picture(n)), tmp_path / f"{n}.png", ["seed:s"]) for n in range(50, 54)]
    broken = image_row(99, uri=str(tmp_path / "gone.png"))
    cfg = ScreenedConfig(hash_bits=8)
    made = []
    for cut in (0, 5, 16):
        every = [*rows, *trusted, broken]
        put(store, "images", every[:cut], records.IMAGES, 0)
        put(store, "images", every[cut:], records.IMAGES, 1)
        ((part, table),) = run(fit_hash, store, ["images"], cfg)
        made.append(table)
        assert part == 0
    put(store, "images", rows, records.IMAGES, 0)
    put(store, "images", [], records.IMAGES, 1)
    made.append(run(fit_hash, store, ["images"], cfg)[0][1])
    assert all(table.equals(made[0]) for table in made)
    assert made[0]["row"].to_pylist() == list(range(-1, 8))
    assert basis_matrix(cfg, {"basis": made[0]}).shape == (9, 256)


def test_the_sample_is_bounded(store, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "BASIS_SAMPLE", 3)
    put(store, "images", [image_row(n) for n in range(20)], records.IMAGES)
    assert stage._sample(store.parts("images"), 0).num_rows == 3
    assert not stage._sample(store.parts("images"), 0).equals(stage._sample(store.parts("images"), 1))


@pytest.mark.parametrize("bits", [0, 8])
def test_no_pool_or_no_bits_means_no_hash(store, tmp_path, bits):
    rows = [file_row(encoded(picture(0)), tmp_path / "0.png", POOL if bits == 0 else ["seed:s"])]
    put(store, "images", rows, records.IMAGES)
    ((_, table),) = run(fit_hash, store, ["images"], ScreenedConfig(hash_bits=bits))
    assert table.num_rows == 0
    assert len(basis_matrix(ScreenedConfig(), {"basis": table})) == 0


def test_the_hash_is_written_where_there_is_a_basis():
    basis = np.zeros((9, 256), np.float32)
    basis[1, 0] = 1
    batch = pa.Table.from_pylist([image_row(1)], schema=records.IMAGES)
    batch = batch.append_column("bytes", pa.array([grey(NOISE)], pa.binary()))
    assert screen(batch, basis, ScreenedConfig())["pca_hash"].to_pylist() == ["80"]


def test_of_equal_hashes_one_pool_image_stays(store):
    facts = {
        1: ({"width": 10, "height": 10}, POOL, "aa"),
        2: ({"width": 20, "height": 10}, POOL, "aa"),  # most pixels
        3: ({"length": 10}, POOL, "bb"),
        4: ({"length": 20}, POOL, "bb"),  # as many pixels, most bytes
        5: ({}, POOL, "cc"),  # as many of both, the lowest id
        6: ({}, POOL, "cc"),
        7: ({"width": 9999}, ["seed:s"], "aa"),  # neither dropped nor a reason to drop
        8: ({"width": 9999}, ["pool", "seed:s"], "cc"),
        9: ({}, POOL, None),
        10: ({}, POOL, None),
    }
    for part, some in enumerate([list(facts)[::2], list(facts)[1::2]]):
        put(store, "images", [image_row(n, facts[n][1], **facts[n][0]) for n in some], records.IMAGES, part)
        rows = [{"image_id": name(n), "pca_hash": facts[n][2]} for n in reversed(some)]
        put(store, "screened", [*rows, {"image_id": name(50 + part), "pca_hash": "aa", "drop_reason": "flat"}],
            records.SCREENED, part)  # fmt: skip
    rows = by_id(run(drop_near_exact, store, ["screened", "images"], ScreenedConfig()))
    dropped = {n: rows[name(n)].get("drop_cause") for n in facts if "drop_reason" in rows[name(n)]}
    assert dropped == {1: name(2), 3: name(4), 6: name(5)}
    assert {rows[name(n)]["drop_reason"] for n in dropped} == {"near_exact_duplicate"}
    assert rows[name(50)]["drop_reason"] == rows[name(51)]["drop_reason"] == "flat"
