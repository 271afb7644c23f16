"""Shrunk covariances: what they are on small arrays, and what they do to the Fréchet distance of small sets."""

import numpy as np
import pytest
from numpy.typing import NDArray

from diffes.errors import QualityError
from diffes.quality.frechet import GaussianStatistics, frechet_distance
from diffes.quality.shrinkage import shrinkage_weight, shrunk_frechet_distance


def drawn(count: int, width: int, seed: int, spread: float = 1.0) -> NDArray[np.float64]:
    """Gaussian vectors whose variances run from 1 to 1 + `spread`."""
    scale = np.sqrt(1 + spread * np.linspace(0, 1, width))
    return np.random.default_rng(seed).normal(size=(count, width)) * scale


def plain(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return frechet_distance(GaussianStatistics.from_features(a), GaussianStatistics.from_features(b))


def test_the_weight_is_the_papers_written_out_term_by_term() -> None:
    features = drawn(7, 3, 0, spread=9)
    centred = features - features.mean(axis=0)
    covariance = sum(np.outer(x, x) for x in centred) / 7
    identity = np.eye(3) * np.trace(covariance) / 3
    distance = np.linalg.norm(covariance - identity) ** 2 / 3
    error = sum(np.linalg.norm(np.outer(x, x) - covariance) ** 2 / 3 for x in centred) / 7**2

    assert shrinkage_weight(features) == pytest.approx(min(error, distance) / distance)


def test_more_vectors_are_shrunk_less() -> None:
    weights = [shrinkage_weight(drawn(count, 8, 1, spread=20)) for count in (10, 100, 1000, 10000)]

    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < 0.01


def test_vectors_that_spread_alike_in_all_directions_keep_their_distance_whatever_the_weight() -> None:
    corners = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])

    assert shrinkage_weight(corners) == 1
    assert shrunk_frechet_distance(corners, corners + [3, 4]) == pytest.approx(25)


def test_equal_sets_are_at_no_distance_and_order_does_not_matter() -> None:
    a, b = drawn(9, 20, 2), drawn(9, 20, 3)

    assert shrunk_frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert shrunk_frechet_distance(a, b) == pytest.approx(shrunk_frechet_distance(b, a))
    assert shrunk_frechet_distance(a, b) > 0


def test_few_vectors_of_one_distribution_are_nearer_than_unshrunk() -> None:
    a, b = drawn(12, 40, 4), drawn(12, 40, 5)

    assert shrunk_frechet_distance(a, b) < plain(a, b) / 2


def test_many_vectors_are_as_far_apart_as_unshrunk() -> None:
    a, b = drawn(20000, 6, 6, spread=5), drawn(20000, 6, 7, spread=5) * 1.5 + 0.2

    assert shrunk_frechet_distance(a, b) == pytest.approx(plain(a, b), rel=0.01)


def test_a_larger_difference_is_farther() -> None:
    a, noise = drawn(16, 30, 8), drawn(16, 30, 9)

    distances = [shrunk_frechet_distance(a + scale * noise, a) for scale in (0.1, 0.3, 0.9)]

    assert distances == sorted(distances)


@pytest.mark.parametrize("features", [np.ones((1, 4)), np.full((3, 4), np.nan)], ids=["one", "nan"])
def test_one_vector_or_nan_is_refused(features: NDArray[np.float64]) -> None:
    with pytest.raises(QualityError):
        shrunk_frechet_distance(features, features)


def test_features_of_different_widths_are_refused() -> None:
    with pytest.raises(QualityError, match="different widths"):
        shrunk_frechet_distance(drawn(4, 3, 0), drawn(4, 2, 0))
