"""How far the images that one contender answered with are from another's, by the Fréchet distance of their features.

Both were asked for the same classes from the same noise, so equal models are at 0 whatever the number of images.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from diffes.errors import QualityError
from diffes.quality.features import FeatureExtractor
from diffes.quality.frechet import GaussianStatistics, frechet_distance
from loadtest.rows import Row, of_fate

_AT_ONCE = 256
_Key = tuple[int, int, int | None, str | None]  # label, seed, steps, size


class Likeness(BaseModel):
    """`images` that both answered with, and the distance of theirs in features. Few images make it larger."""

    model_config = ConfigDict(frozen=True)

    of: str
    images: int
    frechet: float | None
    missing: str = ""  # why there is no distance


def images_of(rows: Iterable[Row], folder: Path) -> dict[_Key, Path]:
    """The file of every image that was answered with; of one that was so twice, the first."""
    found: dict[_Key, Path] = {}
    for row in of_fate(rows, "answered"):
        for index, digest in enumerate(row.digests):
            found.setdefault((row.label, row.seed + index, row.steps, row.size), folder / f"{digest}.png")
    return found


def likeness(name: str, ours: dict[_Key, Path], theirs: dict[_Key, Path], extractor: FeatureExtractor) -> Likeness:
    """Of the contender `name`'s images (theirs) and ours."""
    common = sorted(ours.keys() & theirs.keys(), key=repr)
    least = len(extractor.statistics.mean)
    if len(common) <= least:
        why = f"only {len(common)} images in common, and {least} features"
        return Likeness(of=name, images=len(common), frechet=None, missing=why)
    try:
        sides = [_statistics([side[key] for key in common], extractor) for side in (ours, theirs)]
    except (QualityError, OSError) as error:  # images of another size, or damaged
        return Likeness(of=name, images=len(common), frechet=None, missing=str(error))
    return Likeness(of=name, images=len(common), frechet=frechet_distance(*sides))


def _statistics(files: Sequence[Path], extractor: FeatureExtractor) -> GaussianStatistics:
    parts = [files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE)]
    features = [extractor(torch.stack([_pixels(file) for file in part])).features for part in parts]
    return GaussianStatistics.from_features(extractor.whiten(np.concatenate(features)))


def _pixels(file: Path) -> Tensor:
    with Image.open(file) as image:
        levels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(levels).permute(2, 0, 1) / 127.5 - 1
