"""The pair: whose gradients, which targets, and how the average follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedder.training import losses
from embedder.training.config import TrainConfig
from embedder.training.schedules import ScheduleConfig
from embedder.training.student_teacher import HeadConfig, LossConfig, StudentTeacher, Views, parts
from embedder.vit import VitConfig

TINY = VitConfig(side=32, patch=8, depth=2, layerscale=0.5)
HEADS = HeadConfig(prototypes=16, hidden=8, dino_bottleneck=4, ibot_bottleneck=4)


def views(masked: bool = True) -> Views:
    torch.manual_seed(0)
    masks = torch.zeros(4, 16, dtype=torch.bool)
    masks[0, :3] = masks[3, 5:10] = True
    return Views(torch.randn(4, 3, 32, 32), torch.randn(6, 3, 16, 16), masks if masked else None)


def pair(loss: LossConfig | None = None, heads: HeadConfig = HEADS, distilled=None) -> StudentTeacher:
    torch.manual_seed(1)
    return StudentTeacher(TINY, heads, loss or LossConfig(), distilled)


@pytest.mark.parametrize("centring", ["sinkhorn", "softmax"])
@pytest.mark.parametrize("tied", [False, True])
def test_losses_are_those_of_tokens_taken_one_by_one(centring, tied):
    made = pair(
        LossConfig(centring=centring), HeadConfig(prototypes=16, hidden=8, dino_bottleneck=4, ibot_bottleneck=4, tied=tied)
    )
    seen = views()
    found = made.losses(seen, 0.05)
    student, teacher = made.student, made.average
    head = "dino_head" if tied else "ibot_head"
    twin = pair(
        LossConfig(centring=centring), HeadConfig(prototypes=16, hidden=8, dino_bottleneck=4, ibot_bottleneck=4, tied=tied)
    )
    with torch.no_grad():
        told = teacher["backbone"].tokens(seen.globals_)
        classes = twin.centres["dino"](teacher["dino_head"](told[:, 0]), 0.05).unflatten(0, (2, 2))
        patches = twin.centres["ibot"](teacher[head](told[:, 1:][seen.masks]), 0.05)
    wide = student["backbone"].tokens(seen.globals_, masks_BP=seen.masks)
    near = student["backbone"].tokens(seen.locals_)
    scores = student["dino_head"](torch.cat([wide[:, 0], near[:, 0]])).unflatten(0, (5, 2))
    weight = torch.tensor([1 / 3] * 3 + [1 / 5] * 5)
    ibot = losses.ibot(student[head](wide[:, 1:][seen.masks]), patches, weight, 4, 0.1)
    koleo = losses.koleo(wide[:2, 0]) + losses.koleo(wide[2:, 0])
    torch.testing.assert_close(found.dino, losses.dino(scores, classes, 0.1))
    torch.testing.assert_close(found.ibot, ibot)
    torch.testing.assert_close(found.koleo, koleo)
    torch.testing.assert_close(found.total, found.dino + ibot + 0.1 * koleo)


def test_gradients_reach_the_student_alone():
    made = pair()
    made.losses(views(), 0.05).total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.student.parameters())
    assert all(p.grad is None for p in made.average.parameters())


def test_the_average_follows_by_its_momentum():
    made = pair()
    before = [p.clone() for p in made.average.parameters()]
    with torch.no_grad():
        for p in made.student.parameters():
            p += 1
    made.update_average(0.75)
    for old, new in zip(before, made.average.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)


def test_a_distilled_student_learns_all_patches_of_a_frozen_teacher_of_another_width():
    torch.manual_seed(2)
    teacher = parts(VitConfig(variant="s", side=32, patch=8, depth=1), HEADS, LossConfig())
    made = pair(distilled=teacher)
    before = [p.clone() for p in teacher.parameters()]
    found = made.losses(views(masked=False), 0.05)
    found.total.backward()
    made.update_average(0.5)
    assert found.ibot > 0
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    assert all(p.grad is not None for name, p in made.student.named_parameters() if not name.endswith("mask_token"))


def test_a_pair_whose_positions_are_turned_learns():
    torch.manual_seed(3)
    vit = replace(TINY, positions="rope", rescale=2.0, registers=2, qkv_bias="no_key", ffn="swiglu", drop_path=0.3)
    made, seen = StudentTeacher(vit, HEADS, LossConfig(centring="softmax")), views()
    first, second = (made.losses(seen, 0.05) for _ in range(2))
    first.total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.student.parameters())
    assert first.dino != second.dino  # other coordinates, other images left out
    made.student.eval()
    packed = made.student["backbone"].packed([seen.globals_, seen.locals_], [seen.masks, None])
    alone = made.student["backbone"].tokens(seen.locals_)
    torch.testing.assert_close(packed[1], alone, atol=1e-5, rtol=1e-4)
    made.update_average(0.5)


def test_without_a_class_token_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="class_token"):
        TrainConfig(schedule=ScheduleConfig(steps=1), model=replace(TINY, class_token=False, pool="mean"))


def test_no_masks_this_step_and_no_local_crops():
    made, seen = pair(), views()
    found = made.losses(Views(seen.globals_, seen.locals_[:0], torch.zeros(4, 16, dtype=torch.bool)), 0.05)
    assert found.ibot == 0
    found.total.backward()


def test_an_unknown_centring_is_refused():
    with pytest.raises(ValueError, match="sinkhorn"):
        LossConfig(centring="none")


def test_compiled_blocks_give_the_same_losses_and_gradients_without_a_break():
    made = StudentTeacher(VitConfig(side=32, patch=8, depth=3, layerscale=0.5, drop_path=0.3), HEADS, LossConfig())
    results = []
    for compiled in (False, True):
        if compiled:
            torch._dynamo.reset()
            made.compile_blocks("aot_eager")
        torch.manual_seed(0)  # of stochastic depth
        made.zero_grad()
        total = made.losses(views(), 0.05).total
        total.backward()
        results.append((total.detach(), [p.grad.clone() for p in made.student.parameters() if p.grad is not None]))
    torch.testing.assert_close(*results)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 4  # blocks of both, whatever the depth; losses
