"""What a schedule is judged by: how far its samples are from the dense model's own, from the same noise.

Smaller is better and 0 is equal, for every objective. Latents that are pixels are clipped to [-1, 1] before anything
is compared, as they are when shown.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from pathlib import Path

import torch
from torch import Tensor

from diffes.bundled import bundled_features
from diffes.checkpoint import Checkpoint
from diffes.components import read_config, read_state
from diffes.errors import InvalidInput, QualityError
from diffes.evaluation import pixels
from diffes.quality import (
    FeatureExtractor,
    cosine_distance,
    feature_map_distance,
    mean_squared_error,
    shrunk_frechet_distance,
    structural_similarity,
    whitened_distance,
)
from diffes.quality.features import IMAGE_SHAPE
from diffes.quality.similarity import WINDOW

Objective = Callable[[Tensor, Tensor], float]  # (samples, dense), both [N, C, h, w]; nan if a value is not finite
Decode = Callable[[Tensor], Tensor]
FeatureMeasure = Callable[[FeatureExtractor, Tensor, Tensor], float]

PYIQA = "pyiqa:"


@dataclass(frozen=True)
class Latents:
    """An objective of latents as they are."""

    name: str
    meaning: str
    measure: Objective


@dataclass(frozen=True)
class Images:
    """An objective of decoded images [N, 3, H, W] in [-1, 1], at least `side` pixels wide and high."""

    name: str
    meaning: str
    measure: Objective
    side: int = 1


@dataclass(frozen=True)
class Features:
    """An objective of what a feature network sees in decoded images; takes at least `probes` of them."""

    name: str
    meaning: str
    measure: FeatureMeasure
    probes: int = 1


Definition = Latents | Images | Features


def _dissimilarity(samples: Tensor, dense: Tensor) -> float:
    return 1 - structural_similarity(samples, dense)


def _frechet(extractor: FeatureExtractor, samples: Tensor, dense: Tensor) -> float:
    seen = [extractor.whiten(extractor(images).features) for images in (samples, dense)]
    return shrunk_frechet_distance(*seen)


_DEFINITIONS: tuple[Definition, ...] = (
    Latents("mse", "mean squared error of latents", mean_squared_error),
    Latents("cosine", "1 - cosine similarity of latents", cosine_distance),
    Images("pixel-mse", "mean squared error of images", mean_squared_error),
    Images("ssim", "1 - structural similarity", _dissimilarity, side=WINDOW),
    Features("feature-maps", "distance of unit-length feature maps, image by image", feature_map_distance),
    Features("features", "squared distance of whitened features, image by image", whitened_distance),
    Features("frechet", "Fréchet distance of whitened features, shrunk covariances", _frechet, probes=2),
)
OBJECTIVES: dict[str, Definition] = {definition.name: definition for definition in _DEFINITIONS}


def require_name(name: str) -> str:
    """The name; InvalidInput unless it is an objective's or `pyiqa:METRIC`."""
    if name not in OBJECTIVES and not (name.startswith(PYIQA) and len(name) > len(PYIQA)):
        raise InvalidInput("objective", expected=f"one of {', '.join(OBJECTIVES)}, {PYIQA}METRIC", found=name)
    return name


def objective_for(
    name: str,
    checkpoint: Checkpoint,
    *,
    features: Path | None = None,
    probes: int = 2,
    device: torch.device | str = "cpu",
    batch: int = 16,
) -> Objective:
    """The named objective of `checkpoint`'s latents, with the decoder and feature network it needs loaded.

    `features` names a feature network's folder (None: the bundled one), `probes` the fewest images it will be given,
    `batch` how many are decoded at once. InvalidInput for an unknown name or too few probes, QualityError where the
    model's images do not fit, or pyiqa is missing.
    """
    definition = OBJECTIVES.get(require_name(name))
    if isinstance(definition, Latents):
        return _finite(definition.measure)
    shape = image_shape(checkpoint)
    if definition is None:
        measure = _score(name.removeprefix(PYIQA), device, batch)
    elif isinstance(definition, Images):
        _require_shape(name, min(shape[1:]) >= definition.side, f"at least {definition.side} pixels a side", shape)
        measure = definition.measure
    else:
        _require_shape(name, shape == IMAGE_SHAPE, IMAGE_SHAPE, shape)
        if probes < definition.probes:
            raise InvalidInput("probes", expected=f"at least {definition.probes} for {name}", found=probes)
        measure = _bound(definition.measure, FeatureExtractor.load(features or bundled_features(), device))
    return _finite(_decoded(_finite(measure), image_decoder(checkpoint, device, batch)))


def image_shape(checkpoint: Checkpoint) -> tuple[int, int, int]:
    """Channels, height and width of a decoded image, from configs alone."""
    channels, height, width = checkpoint.architecture.latent_shape
    if checkpoint.vae_folder is None:
        return channels, height, width
    config = read_config(checkpoint.vae_folder)
    scale = 2 ** (len(config.get("block_out_channels", ())) - 1)  # AutoencoderKL doubles between its blocks
    return config.get("out_channels", 3), int(height * scale), int(width * scale)


def _require_shape(name: str, fits: bool, expected: object, found: tuple[int, int, int]) -> None:
    if not fits:
        raise QualityError(
            f"objective {name} cannot judge this model's images",
            expected=expected,
            found=found,
            remedy="Take another objective.",
        )


def _bound(measure: FeatureMeasure, extractor: FeatureExtractor) -> Objective:
    return lambda samples, dense: measure(extractor, samples, dense)


def _score(metric: str, device: torch.device | str, batch: int) -> Objective:
    """How much worse the samples score than the dense model's; negative where they score better."""
    from diffes.quality.iqa import ImageScore

    score = ImageScore(metric, device=device, batch=batch)
    return lambda samples, dense: score(samples) - score(dense)


def image_decoder(checkpoint: Checkpoint, device: torch.device | str, batch: int) -> Decode:
    """What makes images in [-1, 1] of the checkpoint's latents, `batch` at once: its VAE, or clipping for pixels."""
    if checkpoint.vae_folder is None:
        return pixels
    from diffes.decoder import LatentDecoder

    vae = LatentDecoder(read_config(checkpoint.vae_folder), read_state(checkpoint.vae_folder)).to(device).float()

    @torch.inference_mode()
    def decode(latents: Tensor) -> Tensor:
        return torch.cat([vae(chunk.to(device, torch.float32)) for chunk in torch.split(latents, batch)])

    return decode


def _decoded(measure: Objective, decode: Decode) -> Objective:
    return lambda samples, dense: measure(decode(samples), decode(dense))


def _finite(measure: Objective) -> Objective:
    """nan, instead of an error or a number, where a value is not finite."""

    def guarded(samples: Tensor, dense: Tensor) -> float:
        finite = bool(torch.isfinite(samples).all()) and bool(torch.isfinite(dense).all())
        return measure(samples, dense) if finite else nan

    return guarded
