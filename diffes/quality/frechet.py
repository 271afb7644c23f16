"""Fréchet distance between two sets of features, each taken as a Gaussian.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", section 3; the closed form is
Dowson and Landau 1982. Everything is float64 and symmetric, so no complex number ever appears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffes.errors import QualityError

Float64 = NDArray[np.float64]

# Directions whose variance is below this part of the largest one hold rounding, not data.
SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True)
class GaussianStatistics:
    """Mean [d] and covariance [d, d] of `count` feature vectors, float64."""

    mean: Float64
    covariance: Float64
    count: int

    def __post_init__(self) -> None:
        width = self.mean.shape[-1] if self.mean.ndim else 0
        if self.mean.shape != (width,) or self.covariance.shape != (width, width):
            raise QualityError(
                "statistics do not fit together",
                expected="a mean [d] and a covariance [d, d]",
                found=f"{list(self.mean.shape)} and {list(self.covariance.shape)}",
            )

    @classmethod
    def from_features(cls, features: NDArray[np.floating]) -> GaussianStatistics:
        """The statistics of `features` [N, d], with the unbiased covariance.

        Raises QualityError unless there are at least two vectors and all values are finite.
        """
        if features.ndim != 2 or len(features) < 2:
            raise QualityError(
                "too few features for a covariance",
                expected="[N, d] with N of at least 2",
                found=list(features.shape),
            )
        if not np.isfinite(features).all():
            raise QualityError("features are not finite", remedy="Look at the images they are of.")
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(mean, centred.T @ centred / (len(values) - 1), len(values))

    def whitening(self) -> Float64:
        """The matrix [d, d] that takes these statistics to unit covariance: (x - mean) @ matrix.

        Raises QualityError when the covariance is singular.
        """
        variances, directions = np.linalg.eigh(self.covariance)
        if variances[0] <= SMALLEST_VARIANCE * variances[-1]:
            raise QualityError(
                "cannot whiten by a singular covariance",
                expected=f"variance in all {len(variances)} directions",
                found=f"{int(np.sum(variances > SMALLEST_VARIANCE * variances[-1]))} "
                f"directions with variance, from {self.count} vectors",
                remedy="Take the reference statistics of more images.",
            )
        whitening: Float64 = directions / np.sqrt(variances)
        return whitening

    def whitened_by(self, reference: GaussianStatistics) -> GaussianStatistics:
        """These statistics in the coordinates in which `reference` has mean 0, covariance 1."""
        matrix = reference.whitening()
        covariance = matrix.T @ self.covariance @ matrix
        return GaussianStatistics((self.mean - reference.mean) @ matrix, (covariance + covariance.T) / 2, self.count)


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), at least 0.

    The root is taken of a symmetric matrix, whose trace equals that of (A B)^1/2.
    Raises QualityError when the widths differ.
    """
    if a.mean.shape != b.mean.shape:
        raise QualityError(
            "cannot compare features of different widths",
            expected=len(a.mean),
            found=len(b.mean),
            remedy="Take both sets of features with the same network.",
        )
    root = _square_root(a.covariance)
    inner = root @ b.covariance @ root
    overlap = np.sqrt(np.clip(np.linalg.eigvalsh((inner + inner.T) / 2), 0, None)).sum()
    shift = a.mean - b.mean
    spread = np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap
    return max(0.0, float(shift @ shift + spread))


def _square_root(covariance: Float64) -> Float64:
    variances, directions = np.linalg.eigh(covariance)
    root: Float64 = (directions * np.sqrt(np.clip(variances, 0, None))) @ directions.T
    return root
