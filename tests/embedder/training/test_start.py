"""A training that begins with the weights of an official file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedder.official import export
from embedder.training.config import LoopConfig, TrainConfig
from embedder.training.learners import learners
from embedder.training.schedules import ScheduleConfig
from embedder.training.student_teacher import HeadConfig
from embedder.vit import VisionTransformer
from embedder.vit_config import VitConfig

TURNED = {"positions": "rope", "registers": 2, "qkv_bias": "no_key", "eps": 1e-5}


@pytest.mark.parametrize("changes", [{}, {"registers": 2}, TURNED])
def test_both_backbones_begin_with_it_at_another_side(changes, tmp_path):
    config = VitConfig(side=32, patch=8, depth=1, **changes)
    released = VisionTransformer(config)
    torch.save(export(released), tmp_path / "m.pth")
    heads = HeadConfig(prototypes=8, hidden=8, dino_bottleneck=4, ibot_bottleneck=4)
    loop, other = LoopConfig(start=str(tmp_path / "m.pth")), replace(config, side=64)
    pair, _ = learners(TrainConfig(schedule=ScheduleConfig(steps=1), model=other, heads=heads, loop=loop), torch.device("cpu"))
    for network in (pair.student["backbone"], pair.average["backbone"]):
        found, own = network.state_dict(), released.state_dict()
        if "pos_embed" in own:
            torch.testing.assert_close(found.pop("pos_embed"), released.positions(8, 8))
            own.pop("pos_embed")
        assert all(torch.equal(found[key], own[key]) for key in own)


def test_weights_of_another_kind_are_one_line(tmp_path):
    torch.save(export(VisionTransformer(VitConfig(side=32, patch=8, depth=1))), tmp_path / "m.pth")
    loop = LoopConfig(start=str(tmp_path / "m.pth"))
    model = VitConfig(side=32, patch=8, depth=1, ffn="swiglu")
    heads = HeadConfig(prototypes=8, hidden=8, dino_bottleneck=4, ibot_bottleneck=4)
    with pytest.raises(ValueError, match="does not fit the model"):
        learners(TrainConfig(schedule=ScheduleConfig(steps=1), model=model, heads=heads, loop=loop), torch.device("cpu"))
