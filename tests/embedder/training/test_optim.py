"""Who learns how fast, and gradients clipped part by part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from embedder.training.optim import OptimConfig, clip, optimiser, schedule
from embedder.training.schedules import Plan, ScheduleConfig
from embedder.training.student_teacher import HeadConfig, LossConfig, parts
from embedder.vit import VitConfig

TINY = VitConfig(side=32, depth=2, layerscale=1e-5)
HEADS = HeadConfig(prototypes=16, hidden=8, dino_bottleneck=4, ibot_bottleneck=4)


def test_every_parameter_has_the_treatment_of_the_recipe():
    student = parts(TINY, HEADS, LossConfig())
    optimizer = optimiser(student, 2, OptimConfig(layer_decay=0.5, patch_embed=0.2))
    schedule(optimizer, Plan(ScheduleConfig(steps=10, base_lr=1.0, weight_decay=(0.1, 0.1), freeze_prototypes=3), 1024), 0)
    told = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    at = {name: told[id(p)] for name, p in student.named_parameters()}
    assert at["backbone.patch_embed.proj.weight"] == pytest.approx((0.2 * 0.125, 0.1))
    assert at["backbone.cls_token"] == pytest.approx((0.125, 0.1))
    assert at["backbone.blocks.0.attn.qkv.weight"] == pytest.approx((0.25, 0.1))
    assert at["backbone.blocks.1.attn.qkv.bias"] == pytest.approx((0.5, 0.0))
    assert at["backbone.blocks.1.ls1.gamma"] == pytest.approx((0.5, 0.0))
    assert at["backbone.norm.weight"] == pytest.approx((1.0, 0.0))
    assert at["dino_head.mlp.0.weight"] == pytest.approx((1.0, 0.1))
    assert at["dino_head.last_layer.weight_v"] == (0.0, 0.1)
    assert len(at) == len(told)


def test_parts_are_clipped_one_by_one():
    student = nn.ModuleDict({"backbone": nn.Linear(2, 1, bias=False), "dino_head": nn.Linear(2, 1, bias=False)})
    student["backbone"].weight.grad = torch.tensor([[3.0, 4.0]])
    student["dino_head"].weight.grad = torch.tensor([[0.3, 0.4]])
    assert clip(student, 1.0) == pytest.approx({"backbone": 5.0, "dino_head": 0.5})
    torch.testing.assert_close(student["backbone"].weight.grad, torch.tensor([[0.6, 0.8]]))
    torch.testing.assert_close(student["dino_head"].weight.grad, torch.tensor([[0.3, 0.4]]))
