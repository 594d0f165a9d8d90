"""Batches: the same by position for any number of processes and resumes; bad images counted; no process left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from itertools import islice

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from embedder.training import crop_pool
from embedder.training.batches import Batches
from embedder.training.loader import DataConfig

SMALL = {"global_side": 16, "local_side": 8, "locals_": 3, "workers": 0}
BAD = {3: b"", 7: b"<html>", 11: None}
COUNT = 24


@pytest.fixture
def run(tmp_path):
    """A run folder of 24 images, three of which are no use; every other one is of seed set "a"."""
    for number in range(COUNT):
        data = BAD.get(number, b"?")
        if data == b"?":
            file = io.BytesIO()
            pixels = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((48, 40)).save(file, "PNG")
            data = file.getvalue()
        if data is not None:
            (tmp_path / f"{number}.png").write_bytes(data)
    rows = {"image_id": [f"{number:032x}" for number in range(COUNT)], "uri": [f"{number}.png" for number in range(COUNT)]}
    rows |= {"seed_set": ["ab"[number % 2] for number in range(COUNT)], "weight": [1.0] * COUNT}
    (tmp_path / "manifest").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "manifest" / "part-00000.parquet")
    return str(tmp_path)


def taken(batches: Batches, count: int) -> list:
    given = iter(batches)
    out = list(islice(given, count))
    given.close()
    return out


def made(run: str, batch: int = 6, rank: int = 0, world: int = 1, seed: int = 0, data: str | None = None, **changes) -> Batches:
    cfg = DataConfig(**(SMALL | changes))
    return Batches(data or run, cfg, batch=batch, seed=seed, rank=rank, world=world, run=run)


def equal(one, other) -> bool:
    return one.keys == other.keys and torch.equal(one.globals_, other.globals_) and torch.equal(one.locals_, other.locals_)


def test_a_batch_is_as_the_trainer_expects_it(run):
    (batch,) = taken(made(run, batch=5), 1)
    assert (batch.globals_.shape, batch.locals_.shape) == ((10, 3, 16, 16), (15, 3, 8, 8))
    assert batch.globals_.dtype == batch.locals_.dtype == torch.float32
    assert len(batch.keys) == 5
    assert -2.2 < batch.globals_.min() < 0 < batch.globals_.max() < 2.7


def test_crops_lie_crop_by_crop_and_differ(run):
    plain = {"flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": (0.0, 0.0, 0.0), "solarise": (0.0, 0.0, 0.0)}
    (batch,) = taken(made(run, batch=4, global_area=(1.0, 1.0), **plain), 1)
    first, second = batch.globals_.unflatten(0, (2, 4))
    assert not torch.equal(first, second)  # whole images cannot be cut at 3 : 4, so the corners differ
    assert (first - second).abs().mean() < (first - first.roll(1, 0)).abs().mean()


def test_an_epoch_shows_every_good_image_and_counts_the_bad_ones(run):
    batches = made(run)
    first = taken(batches, COUNT // 6)
    keys = {int(key, 16) for batch in first for key in batch.keys}
    assert not keys & set(BAD)
    assert len(keys) >= COUNT - 2 * len(BAD)
    counted = first[-1].skipped
    assert set(counted) == {"empty_file", "not_an_image", "source_missing"}
    assert batches.skipped == counted
    assert sum(counted.values()) >= 3


def test_two_and_three_processes_see_what_one_sees(run):
    whole = taken(made(run), 4)
    for world in (2, 3):
        ranks = [taken(made(run, 6 // world, rank, world), 4) for rank in range(world)]
        for one, *parts in zip(whole, *ranks, strict=True):
            assert one.keys == [key for part in parts for key in part.keys]
            for name, crops in (("globals_", 2), ("locals_", 3)):
                pieces = [getattr(part, name).unflatten(0, (crops, -1)) for part in parts]
                assert torch.allclose(getattr(one, name), torch.cat(pieces, dim=1).flatten(0, 1), atol=1e-5)


def test_a_resumed_training_sees_what_the_other_would_have_seen(run):
    whole = taken(made(run), 7)
    stopped = made(run)
    taken(stopped, 3)
    state = stopped.state_dict()
    assert state["position"] == 18
    later = made(run)
    later.load_state_dict(state)
    assert all(equal(a, b) for a, b in zip(whole[3:], taken(later, 4), strict=True))
    assert later.skipped == whole[-1].skipped
    halves = [made(run, 3, rank, 2) for rank in (0, 1)]
    for half in halves:
        half.load_state_dict(state)
    assert whole[3].keys == [key for half in halves for key in taken(half, 1)[0].keys]


def test_processes_give_what_none_gives(run):
    alone, together = taken(made(run), 5), taken(made(run, workers=2, ahead=2), 5)
    assert all(equal(a, b) for a, b in zip(alone, together, strict=True))
    assert [one.skipped for one in alone] == [one.skipped for one in together]
    assert not [one for one in psutil.Process().children() if "embedder.training.worker" in " ".join(one.cmdline())]


def test_seeds_have_orders_of_their_own(run):
    assert taken(made(run), 1)[0].keys != taken(made(run, seed=1), 1)[0].keys
    with pytest.raises(ValueError, match="seed 0 cannot be gone on with under seed 1"):
        made(run, seed=1).load_state_dict(made(run).state_dict())


def test_sql_and_weights_decide_what_is_seen(run):
    batches = made(
        run, data="select * replace (if(uri = '0.png', 3.0, 1.0) as weight) from manifest where uri in ('0.png', '1.png')"
    )
    keys = [int(key, 16) for batch in taken(batches, 4) for key in batch.keys]
    assert (keys.count(0), keys.count(1)) == (18, 6)


def test_homogeneous_batches_hold_one_component(run):
    batches = made(run, homogeneous={"a": 0.4, "b": 0.3})
    sets = [{int(key, 16) % 2 for key in batch.keys} for batch in taken(batches, 40)]
    kinds = [batches.mix.of(number)[0] for number in range(40)]
    assert all(seen == {"ab".index(kind)} for seen, kind in zip(sets, kinds, strict=True) if kind)
    assert {None, "a", "b"} == set(kinds)
    with pytest.raises(ValueError, match="batches of 6 images cannot go on as batches of 4"):
        made(run, batch=4, homogeneous={"a": 0.4, "b": 0.3}).load_state_dict(batches.state_dict())


def test_balanced_sets_are_seen_alike(run):
    sql = "from manifest where seed_set = 'a' or uri in ('1.png', '5.png')"
    keys = [int(key, 16) % 2 for batch in taken(made(run, data=sql, balance="seed_set"), 14) for key in batch.keys]
    assert abs(keys.count(1) - 42) <= 6  # of 84; 12 by their number


def test_a_manifest_of_bad_images_is_an_error_that_says_so(run):
    with pytest.raises((ValueError, RuntimeError), match=r"in a row are no use.*empty_file"):
        taken(made(run, data="from manifest where uri = '3.png'"), 1)
    with pytest.raises((ValueError, RuntimeError), match=r"in a row are no use.*empty_file"):
        taken(made(run, data="from manifest where uri = '3.png'", workers=1), 1)


def test_a_worker_that_dies_is_one_clear_error(run):
    batches = made(run, workers=1)
    given = iter(batches)
    next(given)
    next(one for one in psutil.Process().children() if "embedder.training.worker" in " ".join(one.cmdline())).kill()
    with pytest.raises(RuntimeError, match="a data worker was ended by signal 9"):
        list(islice(given, 20))
    given.close()


def test_an_error_inside_a_worker_comes_with_its_own_words(run, monkeypatch):
    def start(memory: int):
        code = (
            "import embedder.training.worker as w, sys; w.work = lambda *_: 1 / 0; w.main(int(sys.argv[1]), int(sys.argv[2]))"
        )
        real = subprocess.Popen

        def popen(command, **more):
            return real([command[0], "-c", code, *command[3:]], **more)

        with monkeypatch.context() as patch:
            patch.setattr(crop_pool.subprocess, "Popen", popen)
            return real_start(memory)

    real_start = crop_pool._start
    monkeypatch.setattr(crop_pool, "_start", start)
    with pytest.raises(RuntimeError, match=r"a data worker failed:[\s\S]*ZeroDivisionError[\s\S]*while at .*\.png"):
        taken(made(run, workers=1), 1)


TRAINER = """
import sys, time
from embedder.training.batches import Batches
from embedder.training.loader import DataConfig
given = iter(Batches(sys.argv[1], DataConfig(global_side=16, local_side=8, locals_=1, workers=2), batch=4, seed=0))
next(given)
print("ready", flush=True)
time.sleep(60)
"""


def test_no_worker_outlives_a_killed_trainer(run):
    trainer = subprocess.Popen([sys.executable, "-c", TRAINER, run], stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    assert trainer.stdout.readline() == "ready\n"
    workers = psutil.Process(trainer.pid).children()
    assert len(workers) == 2
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    deadline = time.monotonic() + 20
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"rank": 2, "world": 2}, {"rank": -1}])
def test_places_that_are_none_are_refused(run, wrong):
    with pytest.raises(ValueError, match="for process"):
        made(run, **wrong)


def test_a_config_says_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"data\.workers"):
        DataConfig(workers=-2)
    with pytest.raises(ValueError, match=r"data\.flip"):
        DataConfig(flip=2.0)
    with pytest.raises(ValueError, match=r"data\.locals_"):
        DataConfig(locals_=-1)
