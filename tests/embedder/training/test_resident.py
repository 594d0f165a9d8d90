"""Pictures kept on the device: the crops of `Batches`, for any number of processes, after any stop."""

from __future__ import annotations

import io
import sys
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from embedder.training.batches import Batches
from embedder.training.loader import DataConfig
from embedder.training.resident import Resident

PLAIN = {"flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": (0.0, 0.0, 0.0), "solarise": (0.0, 0.0, 0.0)}
SMALL = {"global_side": 16, "local_side": 8, "locals_": 3, "workers": 0, "resident": 40} | PLAIN
BAD = {3: b"", 7: b"<html>", 11: None}
COUNT = 24
DATA_LEVEL = 1 / 255 / 0.225


def saved(root, sizes) -> str:
    """A run folder of smooth pictures, three of which are no use."""
    for number, size in enumerate(sizes):
        file = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file, "PNG")
        data = BAD.get(number, file.getvalue())
        if data is not None:
            (root / f"{number}.png").write_bytes(data)
    rows = {"image_id": [f"{number:032x}" for number in range(COUNT)], "uri": [f"{number}.png" for number in range(COUNT)]}
    rows |= {"seed_set": ["ab"[number % 2] for number in range(COUNT)], "weight": [1.0, 2.0] * (COUNT // 2)}
    (root / "manifest").mkdir()
    pq.write_table(pa.table(rows), root / "manifest" / "part-00000.parquet")
    return str(root)


@pytest.fixture
def run(tmp_path):
    return saved(tmp_path, [(40, 40)] * COUNT)


def made(run: str, batch: int = 6, rank: int = 0, world: int = 1, kind=Resident, **changes):
    return kind(run, DataConfig(**(SMALL | changes)), batch=batch, seed=0, rank=rank, world=world, run=run)


def taken(batches, count: int) -> list:
    given = iter(batches)
    out = list(islice(given, count))
    given.close()
    return out


def equal(one, other) -> bool:
    return one.keys == other.keys and torch.equal(one.globals_, other.globals_) and torch.equal(one.locals_, other.locals_)


@pytest.mark.parametrize("more", [{}, {"homogeneous": {"a": 0.4}}, {"balance": "seed_set"}])
def test_batches_are_those_that_are_decoded_each_time(run, more):
    ours, theirs = made(run, **more), made(run, kind=Batches, **more)
    assert ours.digest == theirs.digest
    for one, other in zip(taken(ours, 9), taken(theirs, 9), strict=True):
        assert one.keys == other.keys
        assert one.skipped == other.skipped
        for name in ("globals_", "locals_"):
            assert (getattr(one, name) - getattr(other, name)).abs().max() < 2.5 * DATA_LEVEL
    assert ours.state_dict() == theirs.state_dict()
    assert sum(ours.skipped.values()) > 0


def test_squashed_pictures_give_the_same_crops_at_less_detail(tmp_path):
    run = saved(tmp_path, [(60 + 9 * number, 70) for number in range(COUNT)])
    for one, other in zip(taken(made(run), 4), taken(made(run, kind=Batches), 4), strict=True):
        assert one.keys == other.keys
        assert (one.globals_ - other.globals_).abs().mean() < 3 * DATA_LEVEL
        assert (one.globals_ - other.globals_.roll(1, 0)).abs().mean() > 20 * DATA_LEVEL


def test_a_resumed_training_and_two_processes_see_the_same(run):
    whole = taken(made(run, flip=0.5, jitter=0.8), 6)
    stopped = made(run, flip=0.5, jitter=0.8)
    taken(stopped, 2)
    halves = [made(run, 3, rank, 2, flip=0.5, jitter=0.8) for rank in (0, 1)]
    later = made(run, flip=0.5, jitter=0.8)
    for one in (later, *halves):
        one.load_state_dict(stopped.state_dict())
    assert all(equal(a, b) for a, b in zip(whole[2:], taken(later, 4), strict=True))
    parts = [taken(half, 4) for half in halves]
    for one, first, second in zip(whole[2:], *parts, strict=True):
        assert one.keys == first.keys + second.keys
        both = torch.cat([part.globals_.unflatten(0, (2, 3)) for part in (first, second)], 1).flatten(0, 1)
        assert torch.allclose(one.globals_, both, atol=1e-5)


def test_pictures_of_no_use_are_one_clear_error(run):
    batches = made(run)
    batches.bad_R[:] = 1
    with pytest.raises(ValueError, match="100 images in a row are no use"):
        taken(batches, 1)


def test_a_side_below_nothing_is_refused():
    with pytest.raises(ValueError, match=r"data\.resident"):
        DataConfig(resident=-1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_waits_for_nothing(run):
    batches = Resident(run, DataConfig(**SMALL), batch=6, seed=0, run=run, device="cuda")
    position_B = batches.positions(0, 0)
    row_B, _ = batches._chosen(position_B)
    batches.crops(row_B, position_B)
    torch.cuda.set_sync_debug_mode("error")
    try:
        wide, near = batches.crops(row_B, position_B)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    here = made(run).crops(row_B, position_B)
    assert max((a.cpu().int() - b.int()).abs().max() for a, b in zip((wide, near), here, strict=True)) <= 2
    assert "duckdb" not in sys.modules
