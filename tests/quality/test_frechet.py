"""Fréchet distance: its axioms, its closed forms, and what whitening does to it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from diffes.errors import QualityError
from diffes.quality.frechet import GaussianStatistics, frechet_distance


def gaussian(width: int, *, seed: int = 0, shift: float = 0.0, count: int = 400) -> GaussianStatistics:
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(width, width))
    return GaussianStatistics.from_features(generator.normal(size=(count, width)) @ mixing + shift)


def test_statistics_are_those_numpy_computes() -> None:
    features = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    statistics = GaussianStatistics.from_features(features)
    np.testing.assert_allclose(statistics.mean, features.astype(np.float64).mean(axis=0))
    np.testing.assert_allclose(statistics.covariance, np.cov(features.astype(np.float64), rowvar=False))
    assert statistics.count == 50
    assert statistics.covariance.dtype == np.float64


def test_distance_of_a_set_to_itself_is_zero() -> None:
    a = gaussian(16)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_distance_is_symmetric() -> None:
    a, b = gaussian(16), gaussian(16, seed=1, shift=0.3)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_shifting_a_set_adds_the_squared_length_of_the_shift() -> None:
    a, shift = gaussian(8), np.arange(8.0)
    b = GaussianStatistics(a.mean + shift, a.covariance, a.count)
    assert frechet_distance(a, b) == pytest.approx(float(shift @ shift))


def test_scaling_a_set_about_its_mean_has_the_closed_form() -> None:
    a = gaussian(8)
    b = GaussianStatistics(a.mean, 9 * a.covariance, a.count)
    # tr(C + 9 C - 2 * 3 C) = 4 tr C
    assert frechet_distance(a, b) == pytest.approx(4 * float(np.trace(a.covariance)))


def test_commuting_covariances_differ_by_their_deviations() -> None:
    one, two = np.array([1.0, 4.0, 9.0]), np.array([16.0, 1.0, 0.25])
    a = GaussianStatistics(np.zeros(3), np.diag(one), 10)
    b = GaussianStatistics(np.zeros(3), np.diag(two), 10)
    expected = float(((np.sqrt(one) - np.sqrt(two)) ** 2).sum())
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_singular_covariances_give_a_real_distance() -> None:
    # Four vectors span at most three of sixteen directions.
    a, b = gaussian(16, count=4), gaussian(16, seed=1, count=4)
    assert np.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, b) > 0


def test_rotating_both_sets_leaves_the_distance() -> None:
    a, b = gaussian(8), gaussian(8, seed=1, shift=0.5)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))[0]

    def rotated(one: GaussianStatistics) -> GaussianStatistics:
        return GaussianStatistics(one.mean @ rotation, rotation.T @ one.covariance @ rotation, one.count)

    assert frechet_distance(rotated(a), rotated(b)) == pytest.approx(frechet_distance(a, b))


def test_the_reference_whitened_by_itself_is_standard_normal() -> None:
    reference = gaussian(8, shift=2.0)
    whitened = reference.whitened_by(reference)
    np.testing.assert_allclose(whitened.mean, 0, atol=1e-12)
    np.testing.assert_allclose(whitened.covariance, np.eye(8), atol=1e-9)


def test_whitened_distance_does_not_depend_on_the_features_coordinates() -> None:
    reference, a = gaussian(8), gaussian(8, seed=1, shift=0.5)
    change = np.random.default_rng(2).normal(size=(8, 8))

    def changed(one: GaussianStatistics) -> GaussianStatistics:
        return GaussianStatistics(one.mean @ change, change.T @ one.covariance @ change, one.count)

    plain = frechet_distance(a.whitened_by(reference), reference.whitened_by(reference))
    reference_2, a_2 = changed(reference), changed(a)
    other = frechet_distance(a_2.whitened_by(reference_2), reference_2.whitened_by(reference_2))
    assert other == pytest.approx(plain, rel=1e-6)


def test_whitening_statistics_equals_statistics_of_whitened_features() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(100, 4)) @ generator.normal(size=(4, 4)) + 1
    reference = gaussian(4, seed=3)
    whitened = GaussianStatistics.from_features((features - reference.mean) @ reference.whitening())
    expected = GaussianStatistics.from_features(features).whitened_by(reference)
    np.testing.assert_allclose(whitened.covariance, expected.covariance)
    np.testing.assert_allclose(whitened.mean, expected.mean)


def test_whitening_by_too_few_vectors_is_refused() -> None:
    few = gaussian(16, count=4)
    with pytest.raises(QualityError, match="singular covariance"):
        few.whitened_by(few)


@pytest.mark.parametrize(
    "features", [np.zeros((1, 4)), np.zeros(4), np.full((3, 2), np.nan)], ids=["one", "flat", "nan"]
)
def test_features_without_a_covariance_are_refused(
    features: NDArray[np.float64],
) -> None:
    with pytest.raises(QualityError):
        GaussianStatistics.from_features(features)


def test_features_of_different_widths_are_refused() -> None:
    with pytest.raises(QualityError, match="different widths"):
        frechet_distance(gaussian(4), gaussian(8))


def test_statistics_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(QualityError, match="fit together"):
        GaussianStatistics(np.zeros(3), np.eye(4), 10)
