"""A small untrained feature network, as good as any for what must hold of every one."""

import pytest
import torch

from diffes.quality.features import FeatureExtractor, FeatureNet, FeatureNetConfig
from diffes.quality.frechet import GaussianStatistics


@pytest.fixture(scope="package")
def extractor() -> FeatureExtractor:
    """Four levels of 4, 6, 8 and 8 channels, 5 features."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = FeatureNet(FeatureNetConfig(("cat", "dog", "owl"), channels=(4, 6, 8, 8), features=5)).train()
    images = torch.rand((64, 3, 32, 32), generator=generator) * 2 - 1
    net(images)  # gives the batch norms something to remember
    net.eval()
    with torch.inference_mode():
        features = net.features(images).double().numpy()
    return FeatureExtractor(net, GaussianStatistics.from_features(features), batch=3)
