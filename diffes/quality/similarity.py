"""How alike two sets of images are, image by image."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from diffes.errors import QualityError
from diffes.precision import full_float32

# Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity",
# section III-C: an 11 x 11 circular Gaussian window of 1.5 pixels, K1 = 0.01, K2 = 0.03.
WINDOW = 11
WINDOW_DEVIATION = 1.5
K1 = 0.01
K2 = 0.03
DATA_RANGE = 2.0  # images lie in [-1, 1]


def mean_squared_error(a: Tensor, b: Tensor) -> float:
    """Mean squared difference of the images `a` and `b` [N, C, H, W] in [-1, 1].

    Raises QualityError when the shapes differ or there are no images.
    """
    _check_same_shape(a, b)
    return float((a.double() - b.double()).square().mean())


def structural_similarity(a: Tensor, b: Tensor) -> float:
    """Mean over the images of SSIM(a, b), [N, C, H, W] in [-1, 1]; 1 for equal images.

    The window stays inside the image, as in the authors' code, and colours count alike.
    Raises QualityError when the shapes differ or an image is smaller than the window.
    """
    _check_same_shape(a, b)
    if min(a.shape[-2:]) < WINDOW:
        raise QualityError(
            "images are too small for structural similarity",
            expected=f"at least {WINDOW} x {WINDOW} pixels",
            found=f"{a.shape[-2]} x {a.shape[-1]}",
        )
    a, b = a.float(), b.float()
    with full_float32():  # variances are small differences of large means
        mean_a, mean_b = _window_mean(a), _window_mean(b)
        variance_a = _window_mean(a * a) - mean_a * mean_a
        variance_b = _window_mean(b * b) - mean_b * mean_b
        covariance = _window_mean(a * b) - mean_a * mean_b
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return float((luminance * structure).mean(dim=(1, 2, 3)).double().mean())


def cosine_distance(a: Tensor, b: Tensor) -> float:
    """Mean over the items of 1 - cos of the angle between `a` and `b` [N, ...]; 0 for equal ones, at most 2.

    Computed as half the squared distance of the unit vectors, which keeps the digits of small angles.
    Raises QualityError when the shapes differ or there are no items.
    """
    _check_same_shape(a, b)
    apart = F.normalize(a.double().flatten(1), dim=1) - F.normalize(b.double().flatten(1), dim=1)
    return float(apart.square().sum(dim=1).mean() / 2)


def class_accuracy(predicted: ArrayLike, wanted: ArrayLike) -> float:
    """Share of `predicted` class numbers [N] that equal `wanted` [N].

    Raises QualityError when the lengths differ or there are none.
    """
    left, right = torch.as_tensor(predicted), torch.as_tensor(wanted)
    _check_same_shape(left, right)
    return float((left == right).double().mean())


def _window_mean(images: Tensor) -> Tensor:
    """Gaussian-weighted mean around each pixel, rows then columns: [N, C, H - 10, W - 10]."""
    channels = images.shape[1]
    offsets = torch.arange(WINDOW, device=images.device) - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * WINDOW_DEVIATION**2))
    weights = (weights / weights.sum()).expand(channels, 1, 1, WINDOW)
    rows = F.conv2d(images, weights, groups=channels)
    return F.conv2d(rows, weights.transpose(2, 3), groups=channels)


def _check_same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.numel() == 0:
        raise QualityError(
            "cannot compare sets of different or no size",
            expected=list(a.shape) if a.numel() else "at least one item",
            found=list(b.shape),
        )
