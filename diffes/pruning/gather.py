"""Run the dense model over a trajectory's steps and gather moments over all of them, in two disjoint sets of images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from diffes.architectures import Architecture, Conditioning
from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput
from diffes.prompts import Encoded, Rows
from diffes.pruning.moments import MomentAccumulator, Moments
from diffes.pruning.spec import CalibrationSpec
from diffes.rollout import initial_state, seeded_noise, step
from diffes.sampling import Trajectory, trajectory

# Calibration noise is never a seed a user or a probe would take. torch's CPU generator reads 32 bits of a seed.
_SEED_OFFSET = 9 << 28


class DenseModel:
    """The checkpoint's own dense denoiser with a tap, as a rollout wants it."""

    def __init__(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> None:
        self._device = next(iter(weights.values())).device
        step = {name: weights[name] for name in architecture.step_weights()}
        self.denoiser = architecture.denoiser(architecture.dense, step)
        self._conditioning = Conditioning(architecture, weights, self._device)

    def encode(self, prompts: Rows) -> Encoded:
        """Prompts [P, ...] → what is made of them once for all steps."""
        return self._conditioning.encode(prompts)

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """timesteps [N], features [N, ...] → each condition [N, ...]."""
        return self._conditioning.condition(timesteps, features)

    def denoise(self, _key: None, latents: Tensor, conditions: Mapping[str, Tensor], /) -> Tensor:
        """latents [B, C, h, w] → prediction, on the model's device."""
        out: Tensor = self.denoiser(latents.to(self._device), **conditions)
        return out


class Source(Protocol):
    """Where the dense model's inputs come from: runs images `numbers` through every step of a trajectory.

    Yields each step's timestep before that step is run.
    """

    def __call__(self, model: DenseModel, path: Trajectory, numbers: Sequence[int], /) -> Iterator[float]: ...


class OwnTrajectories:
    """What the model meets when it samples: its own trajectories from seeded noise, prompts in turn."""

    def __init__(self, spec: CalibrationSpec, checkpoint: Checkpoint) -> None:
        if spec.texts != checkpoint.texts_digest:
            raise InvalidInput(
                "prompts",
                expected=f"the texts of digest {spec.texts or 'none'}",
                found=checkpoint.texts_digest or "none",
                remedy="Give the file of prompts that the calibration was specified with.",
            )
        self._spec, self._architecture, self._prompts = spec, checkpoint.architecture, checkpoint.wording.examples

    def __call__(self, model: DenseModel, path: Trajectory, numbers: Sequence[int], /) -> Iterator[float]:
        """See `Source`."""
        guidance = self._spec.sampler.guidance
        encoded = model.encode(self._prompts.in_turn(numbers).branches(guidance))
        state = initial_state(path, noise_of(self._spec, self._architecture, numbers))
        while state.index < len(path.steps):
            yield path.steps[state.index].timestep
            state = step(model, None, path, state, encoded, guidance)


def noise_of(spec: CalibrationSpec, architecture: Architecture, numbers: Sequence[int]) -> Tensor:
    """The seeded unit noise of some images, [B, C, h, w]."""
    seeds = [_SEED_OFFSET + spec.seed * spec.images + i for i in numbers]
    return seeded_noise(seeds, architecture.latent_shape)


def gather(
    checkpoint: Checkpoint,
    spec: CalibrationSpec,
    model: DenseModel,
    source: Source,
    progress: Callable[[float], None],
) -> tuple[Moments, ...]:
    """Moments of each half of the images (of the one half there is, for a single image).

    Every step of the trajectory weighs the same, so a stage weighs what it executes of them.
    """
    path = trajectory(spec.sampler.class_name, checkpoint.scheduler_config, spec.sampler.steps)
    halves = [numbers for numbers in _halves(spec.images, len(checkpoint.wording.examples)) if numbers]
    taps = [MomentAccumulator(spec.token_share, 2 * spec.seed + half) for half in range(len(halves))]
    done = 0
    for tap, numbers in zip(taps, halves, strict=True):
        model.denoiser.tap = tap  # type: ignore[assignment]
        for start in range(0, len(numbers), spec.batch):
            batch = numbers[start : start + spec.batch]
            for _ in source(model, path, batch):
                done += len(batch)
                progress(done / (spec.images * len(path.steps)))
    return tuple(tap.moments() for tap in taps)


def _halves(images: int, prompts: int) -> tuple[list[int], list[int]]:
    """Every other image; the parity turns with each round of prompts, so that both halves see every prompt."""
    first = [i for i in range(images) if (i % prompts + i // prompts) % 2 == 0]
    return first, sorted(set(range(images)) - set(first))
