"""Values that no training can use are refused, each by its name, before anything begins."""

from __future__ import annotations

import pytest

from pipelines.config import RecipeError
from pipelines.train import load_config


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("loop.log_every=0", "loop.log_every is 1 or more, not 0"),
        ("loop.checkpoint_every=0", "loop.checkpoint_every is 1 or more, not 0"),
        ("loop.keep=-1", "loop.keep is 1 or more, not -1"),
        ("schedule.base_lr=-3", "base_lr is above 0"),
        ("schedule.momentum=[0.9]", "schedule.momentum must be a list of 2"),
        ("schedule.weight_decay=[0.1, 0.2, 0.3]", "schedule.weight_decay must be a list of 2"),
        ("optim.clip=-1", "optim.clip is 0 or more, not -1.0"),
        ("heads.prototypes=0", "heads.prototypes is 1 or more, not 0"),
        ("model.patch=0", "patch, side and depth are 1 or more"),
        ("model.depth=0", "patch, side and depth are 1 or more"),
        ("data.global_side=50", r"data.global_side \(50\) is no multiple of model.patch \(12\)"),
        ("data.local_side=25", r"data.local_side \(25\) is no multiple of model.patch \(12\)"),
    ],
)
def test_a_value_out_of_range_is_named(change: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_config("debug", (change,))
