"""On a GPU the shipped networks say what they say on a CPU."""

from __future__ import annotations

import pytest
import torch

from embedder.encoder import load_encoder


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["vitti16-small", "copy-small"])
def test_gpu_and_cpu_agree(name: str) -> None:
    cpu, gpu = load_encoder(name), load_encoder(name, "cuda")
    pixels = torch.randint(0, 256, (16, 3, cpu.side, cpu.side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert (torch.as_tensor(cpu(pixels)) * torch.as_tensor(gpu(pixels))).sum(1).min() > 0.999
