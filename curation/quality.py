"""What a grey thumbnail tells about an image: entropy, contrast, sharpness, and the PCA hash.

The PCA hash is the near-exact duplicate key of the DINOv2 paper (section 3, "PCA hash deduplication"); its size and
bits were not published. Here: 16 x 16 grey levels, centred, projected on the leading principal directions of a sample
of the pool, and the signs kept. Re-encoded and resized copies mostly share all bits; anything further is the copy
descriptor's work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 16
SCREEN_SIDE = 128

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]


def entropy(grey: Grey) -> float:
    """Shannon entropy of the grey histogram of a (H, W) uint8 image, bits, 0 (one level) to 8."""
    share = np.bincount(grey.reshape(-1), minlength=256) / grey.size
    share = share[share > 0]
    return float(max(0.0, -(share * np.log2(share)).sum()))


def contrast(grey: Grey) -> float:
    """Standard deviation of the grey levels, 0 to 127.5."""
    return float(grey.std())


def sharpness(grey: Grey) -> float:
    """Standard deviation of the 4-neighbour Laplacian of a (H, W) uint8 image, grey levels; low means blurred."""
    g = grey.astype(np.float32)
    laplacian = g[:-2, 1:-1] + g[2:, 1:-1] + g[1:-1, :-2] + g[1:-1, 2:] - 4 * g[1:-1, 1:-1]
    return float(laplacian.std())


def thumbnail(grey: Grey) -> Grey:
    """(128, 128) uint8 to (16, 16) uint8 by area averaging."""
    step = grey.shape[0] // HASH_SIDE
    blocks = grey.reshape(HASH_SIDE, step, HASH_SIDE, step).mean(axis=(1, 3), dtype=np.float32)
    return np.round(blocks).astype(np.uint8)


def fit_basis(thumbnails: Grey, bits: int) -> Floats:
    """Mean image and `bits` principal directions of (N, 16, 16) thumbnails, as (1 + bits, 256) float32 rows.

    Signs are fixed (the largest component of a direction is positive), so equal samples give equal rows.
    """
    x = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    mean = x.mean(axis=0)
    covariance = (x - mean).T @ (x - mean) / max(1, len(x))
    _, directions = np.linalg.eigh(covariance)
    leading = directions[:, ::-1][:, :bits].T
    peaks = np.take_along_axis(leading, np.abs(leading).argmax(axis=1)[:, None], axis=1)
    return np.concatenate([mean[None], leading * np.sign(peaks)]).astype(np.float32)


def pca_hash(thumb: Grey, basis: Floats) -> str:
    """The hash of one (16, 16) thumbnail as hex: bit i is the sign of its i-th centred projection."""
    signs = basis[1:] @ (thumb.reshape(-1).astype(np.float32) - basis[0]) > 0
    return np.packbits(signs).tobytes().hex()
