"""How good images are, and how far two sets of them are apart."""

from diffes.quality.features import FeatureBatch, FeatureExtractor, FeatureNet, FeatureNetConfig
from diffes.quality.frechet import GaussianStatistics, frechet_distance
from diffes.quality.perceptual import feature_map_distance, whitened_distance
from diffes.quality.shrinkage import shrunk_frechet_distance
from diffes.quality.similarity import class_accuracy, cosine_distance, mean_squared_error, structural_similarity

__all__ = [
    "FeatureBatch",
    "FeatureExtractor",
    "FeatureNet",
    "FeatureNetConfig",
    "GaussianStatistics",
    "class_accuracy",
    "cosine_distance",
    "feature_map_distance",
    "frechet_distance",
    "mean_squared_error",
    "shrunk_frechet_distance",
    "structural_similarity",
    "whitened_distance",
]
