"""Fréchet distance between small sets: covariances of few vectors are shrunk before they are compared.

A covariance of N vectors in d dimensions has rank N - 1 and spreads its variances too far apart, which a plain
Fréchet distance counts as a difference. Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional
covariance matrices", mix it with a multiple of the identity by the weight that is best on average; the weight falls
as 1/N. The bias that is left falls with N too: distances of different N must not be compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffes.quality.frechet import Float64, GaussianStatistics, frechet_distance


def shrinkage_weight(features: NDArray[np.floating]) -> float:
    """The identity's weight in the shrunk covariance of `features` [N, d]: 0 keeps the sample's, 1 none of it.

    Ledoit and Wolf 2004, section 3.2: the sampling error of the covariance over its distance from the identity.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    count, width = centred.shape
    covariance = centred.T @ centred / count
    squares = float((covariance**2).sum())
    distance = squares - float(np.trace(covariance)) ** 2 / width
    fourth = float((np.einsum("nd,nd->n", centred, centred) ** 2).sum())
    error = (fourth / count - squares) / count
    if distance <= 0:
        return 1.0
    return float(np.clip(error / distance, 0, 1))


def shrunk_frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Fréchet distance of feature sets `a` and `b` [N, d], both covariances shrunk by the mean of their weights.

    One weight for both, so that equal sets are at distance 0 and the order does not matter. QualityError for fewer
    than two vectors, values that are not finite, or sets of different widths.
    """
    statistics = GaussianStatistics.from_features(a), GaussianStatistics.from_features(b)
    weight = (shrinkage_weight(a) + shrinkage_weight(b)) / 2
    return frechet_distance(*(_shrunk(side, weight) for side in statistics))


def _shrunk(statistics: GaussianStatistics, weight: float) -> GaussianStatistics:
    covariance: Float64 = statistics.covariance
    width = len(covariance)
    level = np.trace(covariance) / width
    mixed = (1 - weight) * covariance + weight * level * np.eye(width)
    return GaussianStatistics(statistics.mean, mixed, statistics.count)
