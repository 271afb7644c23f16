"""How far images are from their partners in what a feature network sees, pair by pair."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diffes.errors import QualityError
from diffes.quality.features import FeatureExtractor

_LEAST_NORM = 1e-10  # of a feature vector, so that one that is all zero stays so


def feature_map_distance(extractor: FeatureExtractor, a: Tensor, b: Tensor) -> float:
    """Mean over the pairs of images [N, 3, H, W] in [-1, 1] of their distance in all feature maps.

    Zhang et al. 2018 (arXiv 1801.03924), equation 1, with every learned weight 1: vectors across channels are
    scaled to unit length, squared differences averaged over places, and the levels summed. At most 4 a level;
    symmetric. QualityError when the shapes differ or do not fit the network.
    """
    _require_pairs(a, b)
    total = 0.0
    for left, right in zip(torch.split(a, extractor.batch), torch.split(b, extractor.batch), strict=True):
        for one, other in zip(extractor.maps(left), extractor.maps(right), strict=True):
            apart = (_unit(one) - _unit(other)).square().sum(dim=1)  # [B, h, w]
            total += float(apart.mean(dim=(1, 2)).double().sum())
    return total / len(a)


def whitened_distance(extractor: FeatureExtractor, a: Tensor, b: Tensor) -> float:
    """Mean squared difference per feature of paired images [N, 3, H, W] in [-1, 1], features whitened.

    Whitened by the training images' covariance: two unrelated training images are 2 apart on average. Symmetric.
    QualityError when the shapes differ or do not fit the network.
    """
    _require_pairs(a, b)
    apart = extractor.whiten(extractor(a).features) - extractor.whiten(extractor(b).features)
    return float(np.square(apart).mean())


def _unit(maps: Tensor) -> Tensor:
    return F.normalize(maps, dim=1, eps=_LEAST_NORM)


def _require_pairs(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise QualityError("images are compared pair by pair", expected=list(a.shape), found=list(b.shape))
