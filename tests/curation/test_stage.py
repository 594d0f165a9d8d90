"""The two shapes of a stage."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields

import pyarrow as pa
import pytest

from curation.stage import MapStage, WholeStage, check, derived, no_weights

STAGE = MapStage(name="images", consumes=("scanned",), fn=lambda b, _t, _c: b, version=1, setup=lambda _c, _s: None)


def test_a_stage_makes_the_noun_that_it_is_named_after():
    assert STAGE.produces == "images"
    assert WholeStage(name="edges", consumes=(), fn=lambda _i, _c: (), version=1).produces == "edges"
    assert no_weights(None) == ""
    with pytest.raises(FrozenInstanceError):
        STAGE.version = 2


def test_rows_come_out_as_they_went_in():
    received = pa.table({"image_id": ["a", "b"]})
    produced = received.append_column("width", pa.array([1, 2]))
    assert check(STAGE, received, produced) is produced
    for wrong in (produced.slice(1), produced.take([1, 0]), pa.concat_tables([produced, produced])):
        with pytest.raises(ValueError, match="stage images lost or reordered rows: 2 in, "):
            check(STAGE, received, wrong)


def test_a_stage_that_receives_no_images_may_return_what_it_finds():
    assert check(STAGE, pa.table({"uri": ["x"]}), pa.table({"image_id": ["a", "b"]})).num_rows == 2


def test_derived_fields_are_marked_and_empty():
    @dataclass(frozen=True)
    class Config:
        plain: int = 1
        names: tuple[str, ...] = derived()

    assert Config().names == ()
    assert [f.name for f in fields(Config) if f.metadata.get("derived")] == ["names"]
