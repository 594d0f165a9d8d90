"""What is done to descriptors behind the network, with a look at many of them: centring, whitening, score normalisation.

All three bring what unrelated pictures have in common down to nothing, so that one threshold fits more of them.
Source: SSCD (arXiv 2202.10261), section 4.4 and equation 8; its evaluation code calls them `PCA<D>,L2norm` (which only
centres: the rotation changes no cosine), `PCAW<D>,L2norm`, and score normalisation `1.0[0,2]`. Whitening here is the
symmetric root (ZCA), which gives PCA whitening's cosines and has no signs or order of axes to choose.

Letters: N Q R M descriptors, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from curation.encode import unit

Floats = NDArray[np.float32]
KINDS = ("none", "centre", "pca")
LEAST = 1e-4  # of the mean variance: directions with less are noise, and are not blown up beyond it


@dataclass
class Moments:
    """Sums over descriptors, added block by block, in float64."""

    dim: int
    count: int = 0
    total_D: NDArray[np.float64] = field(init=False)
    products_DD: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.total_D, self.products_DD = np.zeros(self.dim), np.zeros((self.dim, self.dim))

    def add(self, x_ND: np.ndarray) -> None:
        """Add rows."""
        rows = x_ND.astype(np.float64)
        self.count += len(rows)
        self.total_D += rows.sum(axis=0)
        self.products_DD += rows.T @ rows


def fit(moments: Moments, kind: str) -> Floats:
    """(1, D), the mean, for "centre"; (1 + D, D), the mean and the whitening matrix below it, for "pca".

    Raises ValueError if there are too few descriptors to tell: none, or for "pca" no more than they are wide.
    """
    least = moments.dim if kind == "pca" else 0
    if moments.count <= least:
        raise ValueError(f'whiten = "{kind}" needs more than {least} pool images, and there are {moments.count}')
    mean_D = moments.total_D / moments.count
    if kind == "centre":
        return mean_D[None].astype(np.float32)
    covariance_DD = moments.products_DD / moments.count - np.outer(mean_D, mean_D)
    variance_D, axes_DD = np.linalg.eigh(covariance_DD)
    variance_D = np.maximum(variance_D, max(LEAST * float(variance_D.mean()), 1e-12))
    return np.vstack([mean_D, (axes_DD * variance_D**-0.5) @ axes_DD.T]).astype(np.float32)


def apply(x_ND: np.ndarray, fitted: Floats) -> Floats:
    """(N, D) rows less the mean, through the matrix if there is one, to unit length. fitted: what `fit` returned."""
    centred = x_ND.astype(np.float32) - fitted[0]
    return unit(centred if len(fitted) == 1 else centred @ fitted[1:])


def background_level(x_QD: Floats, background_MD: Floats, n: int = 3) -> Floats:
    """(Q,) the mean of each row's `n` highest cosines to a background: pictures known to hold no copies of it.

    Unit rows. Raises ValueError if the background has fewer than `n` rows.
    """
    if not 1 <= n <= len(background_MD):
        raise ValueError(f"the mean of the {n} highest similarities needs a background of so many, not {len(background_MD)}")
    found = np.empty(len(x_QD), np.float32)
    for start in range(0, len(x_QD), 4096):
        similarity = x_QD[start : start + 4096] @ background_MD.T
        found[start : start + 4096] = np.partition(similarity, -n, axis=1)[:, -n:].mean(axis=1)
    return found


def normalised(similarity_QR: np.ndarray, level_Q: Floats, beta: float = 1.0) -> np.ndarray:
    """(Q, R) cosines of queries and references less `beta` times each query's background level."""
    return similarity_QR - beta * level_Q[:, None]
