"""On a GPU the shipped networks say what they say on a CPU."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from curation import records
from curation.encode import encode_batch
from curation.store import matrix
from embedder.encoder import load_encoder
from tests.curation.making import encoded, picture
from tests.curation.making import name as name_of


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["vitti16-small", "copy-small"])
def test_gpu_and_cpu_agree(name: str) -> None:
    cpu, gpu = load_encoder(name), load_encoder(name, "cuda")
    pixels = torch.randint(0, 256, (16, 3, cpu.side, cpu.side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert (torch.as_tensor(cpu(pixels)) * torch.as_tensor(gpu(pixels))).sum(1).min() > 0.999


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["vitti16-small", "copy-small"])
def test_a_stage_on_a_gpu_says_what_it_says_on_a_cpu(name: str) -> None:
    pictures = pa.array([*(encoded(picture(number)) for number in range(40)), b"no picture"], pa.binary())
    batch = pa.table({"image_id": [name_of(number) for number in range(41)], "bytes": pictures})
    encoders = load_encoder(name), load_encoder(name, "cuda")
    schema = records.embeddings(encoders[0].dim)
    cpu, gpu = (encode_batch(batch, encoder, "embedding", schema) for encoder in encoders)
    cosine = (matrix(cpu["embedding"]).astype(np.float32) * matrix(gpu["embedding"]).astype(np.float32)).sum(1)
    assert encoders[1].batch_rows > 0
    assert cosine[:40].min() > 0.999
    assert cpu["drop_reason"].to_pylist() == gpu["drop_reason"].to_pylist()
