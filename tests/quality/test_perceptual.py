"""Paired distances in feature space: computed again pixel by pixel, and what must hold of any distance."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from diffes.errors import QualityError
from diffes.quality.features import FeatureExtractor
from diffes.quality.perceptual import feature_map_distance, whitened_distance

Distance = Callable[[FeatureExtractor, Tensor, Tensor], float]
DISTANCES = pytest.mark.parametrize("distance", [feature_map_distance, whitened_distance])


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand((count, 3, 32, 32), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_maps_are_of_four_levels_and_end_in_what_the_features_are_made_of(extractor: FeatureExtractor) -> None:
    maps = extractor.maps(images(2))

    assert [tuple(level.shape) for level in maps] == [(2, 4, 32, 32), (2, 6, 16, 16), (2, 8, 8, 8), (2, 8, 4, 4)]
    with torch.inference_mode():
        embedded = extractor.net.embed(maps[-1].mean(dim=(2, 3)))
        torch.testing.assert_close(embedded, extractor.net.embed(extractor.net.trunk(images(2))))


def test_the_feature_map_distance_is_the_papers_place_by_place(extractor: FeatureExtractor) -> None:
    a, b = images(2), images(2, seed=1)
    total = 0.0
    for one, other in zip(extractor.maps(a), extractor.maps(b), strict=True):
        x, y = one.double().numpy(), other.double().numpy()
        rows, _, height, width = x.shape
        for row, i, j in np.ndindex(rows, height, width):
            u, v = x[row, :, i, j], y[row, :, i, j]
            total += np.sum((u / np.linalg.norm(u) - v / np.linalg.norm(v)) ** 2) / (height * width) / rows

    assert feature_map_distance(extractor, a, b) == pytest.approx(total, rel=1e-4)


def test_the_whitened_distance_is_mahalanobis_by_the_training_images(extractor: FeatureExtractor) -> None:
    a, b = images(4), images(4, seed=1)
    inverse = np.linalg.inv(extractor.statistics.covariance)
    apart = extractor(a).features - extractor(b).features
    expected = np.mean([difference @ inverse @ difference for difference in apart]) / 5

    assert whitened_distance(extractor, a, b) == pytest.approx(expected, rel=1e-6)


def test_unrelated_training_images_are_two_apart_on_average(extractor: FeatureExtractor) -> None:
    trained = images(64)
    between = [whitened_distance(extractor, trained, trained.roll(shift, 0)) for shift in range(1, 64)]

    assert np.mean(between) == pytest.approx(2, rel=0.01)


@DISTANCES
def test_equal_images_are_at_no_distance_and_order_does_not_matter(
    distance: Distance, extractor: FeatureExtractor
) -> None:
    a, b = images(5), images(5, seed=1)

    assert distance(extractor, a, a) == 0
    assert distance(extractor, a, b) == distance(extractor, b, a) > 0


@DISTANCES
def test_batches_do_not_change_it(distance: Distance, extractor: FeatureExtractor) -> None:
    a, b = images(7), images(7, seed=1)
    whole = FeatureExtractor(extractor.net, extractor.statistics, batch=100)

    assert distance(extractor, a, b) == pytest.approx(distance(whole, a, b), rel=1e-5)


@DISTANCES
def test_sets_that_do_not_pair_up_are_refused(distance: Distance, extractor: FeatureExtractor) -> None:
    with pytest.raises(QualityError, match="pair by pair"):
        distance(extractor, images(2), images(3))


def test_maps_of_images_of_another_shape_are_refused(extractor: FeatureExtractor) -> None:
    with pytest.raises(QualityError, match="do not fit"):
        extractor.maps(torch.zeros(1, 3, 16, 16))


def test_an_image_the_network_is_blind_to_is_at_no_distance_from_itself(extractor: FeatureExtractor) -> None:
    grey = torch.zeros(2, 3, 32, 32)
    assert feature_map_distance(extractor, grey, grey) == 0
