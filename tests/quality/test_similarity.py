"""Similarity of images: values at the ends, order in between, and refusals."""

import numpy as np
import pytest
import torch
from torch import Tensor

from diffes.errors import QualityError
from diffes.quality.similarity import class_accuracy, mean_squared_error, structural_similarity


def images(count: int = 4, side: int = 24, seed: int = 0) -> Tensor:
    """Smooth random images in [-1, 1], so that noise has something to hide."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, 4, 4), generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


def noisy(clean: Tensor, deviation: float) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return clean + deviation * torch.randn(clean.shape, generator=generator)


def test_equal_images_are_fully_similar() -> None:
    a = images()
    assert structural_similarity(a, a) == pytest.approx(1, abs=1e-6)
    assert mean_squared_error(a, a) == 0


def test_similarity_is_symmetric() -> None:
    a, b = images(), noisy(images(), 0.2)
    assert structural_similarity(a, b) == pytest.approx(structural_similarity(b, a))


def test_similarity_falls_as_noise_grows() -> None:
    a = images()
    similarities = [structural_similarity(a, noisy(a, level)) for level in (0.0, 0.05, 0.2, 0.8)]
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[-1] < 0.2


def test_a_constant_shift_leaves_only_the_luminance_term() -> None:
    # Constant images: variances and covariance are 0, and SSIM is (2ab + C1) / (a^2 + b^2 + C1).
    a, b = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.25)
    c1 = (0.01 * 2) ** 2
    expected = (2 * 0.5 * 0.25 + c1) / (0.5**2 + 0.25**2 + c1)
    assert structural_similarity(a, b) == pytest.approx(expected, abs=1e-4)


def test_negated_structure_is_less_similar_than_flat_grey() -> None:
    columns = torch.tensor([1.0, -1.0]).repeat(12).expand(1, 3, 24, 24)  # mean 0 in any window
    assert structural_similarity(columns, -columns) == pytest.approx(-1, abs=0.01)
    assert structural_similarity(columns, torch.zeros_like(columns)) == pytest.approx(0, abs=0.01)


def test_set_similarity_is_the_mean_over_images() -> None:
    a, b = images(), noisy(images(), 0.3)
    one_by_one = [structural_similarity(a[i : i + 1], b[i : i + 1]) for i in range(len(a))]
    assert structural_similarity(a, b) == pytest.approx(float(np.mean(one_by_one)))


def test_squared_error_is_the_mean_over_everything() -> None:
    a = torch.zeros(2, 3, 4, 4)
    b = a.clone()
    b[0] = 2
    assert mean_squared_error(a, b) == pytest.approx(2.0)


def test_images_smaller_than_the_window_are_refused() -> None:
    a = torch.zeros(1, 3, 10, 32)
    with pytest.raises(QualityError, match="11 x 11"):
        structural_similarity(a, a)


def test_sets_of_different_shapes_are_refused() -> None:
    with pytest.raises(QualityError, match="different or no size"):
        mean_squared_error(images(3), images(4))


def test_no_images_are_refused() -> None:
    with pytest.raises(QualityError, match="at least one item"):
        mean_squared_error(images(0), images(0))


def test_class_accuracy_is_the_share_that_agrees() -> None:
    assert class_accuracy(np.array([0, 1, 2, 3]), np.array([0, 1, 2, 9])) == 0.75
    assert class_accuracy(torch.tensor([4]), torch.tensor([4])) == 1.0


def test_class_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(QualityError):
        class_accuracy(np.array([0, 1]), np.array([0]))
