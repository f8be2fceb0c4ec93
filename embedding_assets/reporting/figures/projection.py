"""Vectors of many dimensions laid out in two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Projection:
    """Vectors along the two directions in which they vary most.

    Attributes:
        points: shape (n, 2).
        kept: indices of the projected rows: those that are finite.
        shares: share of the variance that each of the two directions holds.
    """

    points: NDArray[np.float64]
    kept: NDArray[np.intp]
    shares: tuple[float, float]


def project(vectors: NDArray[np.floating]) -> Projection:
    """Principal components by singular value decomposition; the same vectors always give the same picture.

    A direction's sign is arbitrary: it is chosen such that its largest component is positive.

    Args:
        vectors: shape (n, dimensions).
    """
    kept = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    rows = vectors[kept].astype(np.float64)
    if len(rows) < 2 or rows.shape[1] < 2:
        return Projection(np.zeros((len(rows), 2)), kept, (0.0, 0.0))
    centred = rows - rows.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    axes = directions[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    variances = singular**2
    total = variances.sum()
    shares = variances[:2] / total if total > 0 else np.zeros(2)
    return Projection(centred @ axes.T, kept, (float(shares[0]), float(shares[1])))
