"""Schedules at the steps where they can be told by hand."""

from __future__ import annotations

import pytest

from embedder.training.schedules import Plan, ScheduleConfig, cosine

CFG = ScheduleConfig(
    steps=100, warmup=11, base_lr=1e-3, teacher_warmup=31, freeze_prototypes=5, momentum=(0.99, 1.0), weight_decay=(0.04, 0.4)
)


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    plan = Plan(CFG, 4096)
    assert [plan.lr(0), plan.lr(5), plan.lr(10)] == pytest.approx([0, 1e-3, 2e-3])  # x sqrt(4096 / 1024)
    assert plan.lr(11) == pytest.approx(2e-3)
    assert plan.lr(100) == pytest.approx(1e-6)
    assert cosine(50, 1.0, 0.0, 100) == pytest.approx(0.5)


def test_prototypes_stand_still_at_first():
    plan = Plan(CFG, 1024)
    assert plan.prototype_lr(4) == 0
    assert plan.prototype_lr(5) == plan.lr(5) > 0


def test_the_others_go_from_their_first_value_to_their_last():
    plan = Plan(CFG, 1024)
    assert (plan.momentum(0), plan.momentum(100)) == pytest.approx((0.99, 1.0))
    assert (plan.weight_decay(0), plan.weight_decay(100)) == pytest.approx((0.04, 0.4))
    assert plan.teacher_temperature(0) == 0.04
    assert plan.teacher_temperature(15) == pytest.approx(0.055)
    assert plan.teacher_temperature(31) == plan.teacher_temperature(99) == 0.07


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(ValueError, match="warmup at most steps"):
        ScheduleConfig(steps=10, warmup=11)
