"""How far a schedule's images are from a reference's, from the same noise.

Image i starts from the noise of seed i and prompt i, in turn, on both sides, so the difference is the schedule's alone.
Images are compared batch by batch and never all held.
"""

from __future__ import annotations  # a bundle and its runtimes are named here, not needed

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isnan, nan
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from diffes.errors import InvalidInput
from diffes.prompts import Prompts
from diffes.quality import (
    FeatureExtractor,
    GaussianStatistics,
    class_accuracy,
    frechet_distance,
    mean_squared_error,
    structural_similarity,
)
from diffes.rollout import Model, initial_state, run, seeded_noise
from diffes.router import route
from diffes.sampling import Trajectory

if TYPE_CHECKING:
    from diffes.backends.base import Backend
    from diffes.bundle import Bundle

Key = TypeVar("Key", bound=Hashable)
Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Side(Generic[Key]):
    """One of the two compared: a model, what runs each of its steps, and how its latents become images.

    `device` is where latents live between steps: the model's own, if it has one, spares two copies a step.
    """

    model: Model[Key]
    keys: Sequence[Key]
    decode: Decode
    device: torch.device | str = "cpu"

    def __call__(self, protocol: Protocol, seeds: Sequence[int], prompts: Prompts) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] of these prompts, from these seeds."""
        noise = seeded_noise(seeds, protocol.latent_shape).to(self.device)
        start, placed = initial_state(protocol.path, noise), prompts.to(self.device)
        return self.decode(run(self.model, self.keys, protocol.path, start, placed, protocol.guidance).latents)


@dataclass(frozen=True)
class Protocol:
    """How both sides sample: trajectory, guidance, latent shape, prompts in turn, images and rows at once.

    `classes` are those of the judge that the prompts mean, None where one means none.
    """

    path: Trajectory
    guidance: float
    latent_shape: tuple[int, int, int]
    prompts: Prompts
    classes: Sequence[int | None]
    images: int
    batch: int = 100


ImagesOf = Callable[[Protocol, Sequence[int], Prompts], Tensor]  # a Side, or one that was recorded


class Recorded:
    """A side whose images are kept, on their device: a reference for many candidates is sampled once.

    Meant for one protocol but for its guidance: batches are told apart by their seeds and the scale.
    """

    def __init__(self, images_of: ImagesOf) -> None:
        self._images_of = images_of
        self._kept: dict[tuple[float, tuple[int, ...]], Tensor] = {}

    def __call__(self, protocol: Protocol, seeds: Sequence[int], prompts: Prompts) -> Tensor:
        """The images of the first call like this."""
        key = protocol.guidance, tuple(seeds)
        if key not in self._kept:
            self._kept[key] = self._images_of(protocol, seeds, prompts)
        return self._kept[key]


@dataclass(frozen=True)
class Evaluation:
    """Distances over N images. Fréchet distances are in features whitened by the training images' covariance.

    Accuracies are of the images whose prompts mean a class of the judge, and no number if none does.
    """

    n: int
    frechet_distance: float
    mse: float
    ssim: float
    class_accuracy: float
    frechet_to_data: float
    reference_class_accuracy: float
    reference_frechet_to_data: float

    def to_json(self) -> dict[str, float | None]:
        """Field names to numbers."""
        return {name: None if isnan(value) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class GuidanceSweep:
    """Evaluations of the same two sides by guidance scale, in the order asked for, all from the same noise.

    A pruned model's best scale need not be the dense one's: comparing them at one scale favours whichever it suits.
    """

    evaluations: dict[float, Evaluation]

    @property
    def best(self) -> float:
        """The scale at which the candidate's images are nearest to the data."""
        return min(self.evaluations, key=lambda scale: self.evaluations[scale].frechet_to_data)

    @property
    def reference_best(self) -> float:
        """The scale at which the reference's images are nearest to the data."""
        return min(self.evaluations, key=lambda scale: self.evaluations[scale].reference_frechet_to_data)

    def to_json(self) -> dict[str, object]:
        """Measures by name at the first scale; of several scales also every one's, and each side's best."""
        scales: list[dict[str, object]] = [
            {"guidance": at, **found.to_json()} for at, found in self.evaluations.items()
        ]
        return scales[0] | ({"scales": scales, **self.bests()} if len(scales) > 1 else {})

    def bests(self) -> dict[str, object]:
        """Each side's best scale with what it reaches there."""
        ours, theirs = self.evaluations[self.best], self.evaluations[self.reference_best]
        return {
            "best": {
                "guidance": self.best,
                "frechet_to_data": ours.frechet_to_data,
                "class_accuracy": ours.class_accuracy,
            },
            "reference_best": {
                "guidance": self.reference_best,
                "frechet_to_data": theirs.reference_frechet_to_data,
                "class_accuracy": theirs.reference_class_accuracy,
            },
        }


@dataclass
class _Seen:
    """What one side's images showed, batch after batch."""

    features: list[np.ndarray] = field(default_factory=list)
    classes: list[np.ndarray] = field(default_factory=list)

    def statistics(self) -> GaussianStatistics:
        return GaussianStatistics.from_features(np.concatenate(self.features))


def evaluate(
    candidate: ImagesOf,
    reference: ImagesOf,
    protocol: Protocol,
    extractor: FeatureExtractor,
    progress: Callable[[float], None] = lambda _: None,
) -> Evaluation:
    """Sample both sides from the same noise and compare; `progress` is called with the share done."""
    if protocol.images < 2:
        raise InvalidInput("n", expected="at least 2 images", found=protocol.images)
    seen = _Seen(), _Seen()
    squares, similarity = 0.0, 0.0
    wanted: list[int | None] = []
    for start in range(0, protocol.images, protocol.batch):
        numbers = range(start, min(start + protocol.batch, protocol.images))
        prompts = protocol.prompts.in_turn(numbers)
        images = [images_of(protocol, numbers, prompts) for images_of in (candidate, reference)]
        for side, batch in zip(seen, images, strict=True):
            found = extractor(batch)
            side.features.append(extractor.whiten(found.features))
            side.classes.append(found.labels)
        wanted += [protocol.classes[number % len(protocol.prompts)] for number in numbers]
        squares += mean_squared_error(*images) * len(numbers)
        similarity += structural_similarity(*images) * len(numbers)
        progress((start + len(numbers)) / protocol.images)
    data = extractor.statistics.whitened_by(extractor.statistics)
    statistics = [side.statistics() for side in seen]
    accuracies = [_accuracy(np.concatenate(side.classes), wanted) for side in seen]
    return Evaluation(
        n=protocol.images,
        frechet_distance=frechet_distance(*statistics),
        mse=squares / protocol.images,
        ssim=similarity / protocol.images,
        class_accuracy=accuracies[0],
        frechet_to_data=frechet_distance(statistics[0], data),
        reference_class_accuracy=accuracies[1],
        reference_frechet_to_data=frechet_distance(statistics[1], data),
    )


def _accuracy(found: np.ndarray, wanted: Sequence[int | None]) -> float:
    meant = np.array([label is not None for label in wanted])
    labels = np.array([label for label in wanted if label is not None], np.int64)
    return class_accuracy(found[meant], labels) if len(labels) else nan


def sweep(
    candidate: ImagesOf,
    reference: ImagesOf,
    protocol: Protocol,
    scales: Sequence[float],
    extractor: FeatureExtractor,
    progress: Callable[[float], None] = lambda _: None,
) -> GuidanceSweep:
    """`evaluate` at every guidance scale in turn, both sides at the same one; the protocol's own is not used."""
    distinct = list(dict.fromkeys(scales))
    if not distinct:
        raise InvalidInput("guidance", expected="at least one scale", found="none")
    evaluations = {}
    for done, scale in enumerate(distinct):
        at = replace(protocol, guidance=scale)
        share = _part_of(progress, done, len(distinct))
        evaluations[scale] = evaluate(candidate, reference, at, extractor, share)
    return GuidanceSweep(evaluations)


def evaluate_bundle(
    bundle: Bundle,
    backend: Backend,
    extractor: FeatureExtractor,
    schedules: tuple[str | None, str],
    images: int,
    batch: int,
    guidance: Sequence[float] = (),
    progress: Callable[[float], None] = lambda _: None,
) -> GuidanceSweep:
    """Compare two schedules of one bundle (None: the default) under the first one's sampler and steps.

    At every scale of `guidance`; none: at the first schedule's own.
    """
    candidate, reference = schedules
    sampler = bundle.schedule(candidate).sampler
    path = bundle.trajectory(sampler.steps, candidate)
    sides = [
        Side(backend, route(bundle.schedule(name), bundle.subgraph_of, path).subgraphs, backend.decode)
        for name in (candidate, reference)
    ]
    wording, shape = bundle.wording, bundle.architecture.latent_shape
    classes = wording.classes(extractor.net.config.classes)
    protocol = Protocol(path, sampler.guidance, shape, wording.examples, classes, images, batch)
    return sweep(sides[0], sides[1], protocol, guidance or [sampler.guidance], extractor, progress)


def pixels(latents: Tensor) -> Tensor:
    """Decode for models that work on pixels."""
    return latents.clamp(-1, 1)


def _part_of(progress: Callable[[float], None], done: int, parts: int) -> Callable[[float], None]:
    return lambda share: progress((done + share) / parts)
