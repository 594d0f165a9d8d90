"""smooth against SciPy's filter, and on pictures smaller than the filter."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from curation.smooth import smooth


@pytest.mark.parametrize("sigma", [0.4, 1.6, 3.0])
def test_equals_scipy(sigma):
    picture = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    expected = [gaussian_filter(one[0].numpy(), sigma, mode="nearest", truncate=3.0) for one in picture]
    found = smooth(picture, sigma)[:, 0].numpy()
    # SciPy cuts at round(3 sigma), this at the next whole pixel
    assert abs(found - expected).max() < 5e-3


def test_a_picture_smaller_than_the_filter_keeps_its_size_and_level():
    assert torch.allclose(smooth(torch.full((1, 1, 5, 5), 0.7), 4.0), torch.tensor(0.7))
