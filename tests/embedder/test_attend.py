"""Attention of packed groups on a GPU: one variable-length call, equal to one call per group."""

import pytest
import torch

from embedder.layers import attend, offsets

GROUPS = [(3, 37), (5, 10)]


def test_offsets_are_where_images_begin():
    assert offsets([(2, 3), (1, 4)], torch.device("cpu")).tolist() == [0, 3, 6, 10]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_packed_attention_equals_attention_by_group(dtype):
    torch.manual_seed(0)
    sizes = [images * tokens for images, tokens in GROUPS]
    packed = torch.randn(sum(sizes), 3, 4, 64, device="cuda", dtype=dtype, requires_grad=True)
    exact = packed.detach().double().requires_grad_()
    weight = torch.randn(sum(sizes), 4, 64, device="cuda", dtype=dtype)
    (attend(packed, GROUPS) * weight).sum().backward()
    parts = [attend(part, [group]) for part, group in zip(exact.split(sizes), GROUPS, strict=True)]
    (torch.cat(parts) * weight.double()).sum().backward()
    assert (attend(packed, GROUPS).double() - torch.cat(parts)).norm() < 1e-2 * torch.cat(parts).norm()
    assert (packed.grad.double() - exact.grad).norm() < 1e-2 * exact.grad.norm()
