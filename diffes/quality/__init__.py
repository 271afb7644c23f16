"""How good images are, and how far two sets of them are apart."""

from diffes.quality.features import FeatureBatch, FeatureExtractor, FeatureNet, FeatureNetConfig
from diffes.quality.frechet import GaussianStatistics, frechet_distance
from diffes.quality.similarity import class_accuracy, mean_squared_error, structural_similarity

__all__ = [
    "FeatureBatch",
    "FeatureExtractor",
    "FeatureNet",
    "FeatureNetConfig",
    "GaussianStatistics",
    "class_accuracy",
    "frechet_distance",
    "mean_squared_error",
    "structural_similarity",
]
