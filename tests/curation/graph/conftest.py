"""One thread a test."""

from __future__ import annotations

import faiss
import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """As in a worker: quicker than two for small rows, and far quicker where other work has the cores."""
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])
