"""What to lower when a GPU's memory does not do, in numbers that the training then takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedder.training.config import TrainConfig
from embedder.training.gauges import more_parts, too_much
from tests.embedder.training.drawn import tiny


def config(batch: int, group: int, accumulate: int = 1) -> TrainConfig:
    return tiny(loop={"batch": batch, "accumulate": accumulate}, loss={"koleo_group": group})


@pytest.mark.parametrize(
    ("batch", "group", "accumulate", "processes", "parts"),
    [(2048, 64, 1, 8, 2), (2048, 64, 2, 8, 4), (384, 64, 1, 2, 3), (512, 64, 1, 8, None), (30, 0, 1, 1, 2), (27, 0, 1, 1, 3),
     (2, 0, 1, 2, None), (3072, 12, 1, 16, 2)],
)  # fmt: skip
def test_the_fewest_parts_that_halve_it_and_are_allowed(batch, group, accumulate, processes, parts) -> None:
    cfg = config(batch, group, accumulate)
    assert more_parts(cfg, processes) == parts
    if parts:
        then = replace(cfg, loop=replace(cfg.loop, accumulate=parts))
        assert then.share(processes) <= cfg.share(processes) / 2


def test_the_numbers_are_told() -> None:
    assert too_much(config(2048, 64), 8, 79.3) == (
        "out of GPU memory: 256 images at once do not fit the 79 GiB of the card; loop.accumulate=2 makes it 128, "
        "model.checkpointing=true keeps less of each image"
    )
    spare = replace(config(512, 64), model=replace(config(512, 64).model, checkpointing=True))
    assert too_much(spare, 8, 24.0).endswith("of the card; loop.batch (now 512) or data.global_side (now 32) down")


def test_groups_that_do_not_come_out_even_are_refused() -> None:
    with pytest.raises(ValueError, match=r"loss\.koleo_group \(64\) does not divide the 32 images"):
        config(64, 64).share(2)
