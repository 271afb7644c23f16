"""Calibration: what the dense model does on its own trajectories, and the ordering that follows.

Everything that pruning needs to know about a checkpoint is in one file: the ordering of every layer and the mean
and second moments of every pruned projection's input. It depends on the model, the sampler and the seed, not on a
schedule, so one calibration serves every search and export of a checkpoint.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffes.architectures import Architecture
from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError, InvalidInput
from diffes.files import atomic_path
from diffes.pruning.moments import MomentAccumulator, Moments, weighted_average
from diffes.pruning.ordering import Ordering, order_moments, order_units
from diffes.rollout import initial_state, seeded_noise, step
from diffes.sampling import trajectory
from diffes.schedule import Sampler, equal_intervals, executed_steps, stage_index

CALIBRATION_FILE = "calibration.safetensors"  # as a search leaves it beside its schedule.json
# Calibration noise is never a seed a user or a probe would take. torch's CPU generator reads 32 bits of a seed.
_SEED_OFFSET = 9 << 28


@dataclass(frozen=True)
class CalibrationSpec:
    """What to look at: `images` trajectories of the dense model under `sampler`, labels in turn."""

    sampler: Sampler
    images: int = 64
    batch: int = 32
    token_share: float = 0.25
    stages: int = 10
    damping: float = 1e-3
    seed: int = 0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        for name in ("images", "batch", "stages"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"calibration {name}", expected="1 or more", found=getattr(self, name))
        if not 0 < self.token_share <= 1:
            raise InvalidInput("calibration token_share", expected="more than 0, at most 1", found=self.token_share)
        if not 0 < self.damping < inf:
            raise InvalidInput("calibration damping", expected="more than 0", found=self.damping)

    def to_json(self) -> dict[str, JsonValue]:
        """Plain JSON; schedules carry it, so that an export prunes by the calibration that was searched on."""
        return {**asdict(replace(self, sampler=None)), "sampler": self.sampler.model_dump(by_alias=True)}  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, document: Any) -> "CalibrationSpec":
        """What `to_json` wrote; CheckpointError for anything else."""
        try:
            return _SPEC.validate_python(document)
        except ValidationError as error:
            first = error.errors()[0]
            raise CheckpointError(
                "calibration spec is malformed", expected=first["msg"], found=repr(first["input"])[:200]
            ) from error

    def digest(self, fingerprint: str) -> str:
        """Names this calibration of that model; 16 hex digits."""
        text = json.dumps([2, fingerprint, self.to_json()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_SPEC = TypeAdapter(CalibrationSpec)


@dataclass(frozen=True)
class Calibration:
    """Ordering and moments (in checkpoint order) of one model."""

    fingerprint: str
    spec: CalibrationSpec
    ordering: Ordering
    moments: Moments
    architecture: Architecture

    @cached_property
    def ordered_moments(self) -> Moments:
        """The moments with units in order."""
        return order_moments(self.architecture, self.moments, self.ordering)

    @cached_property
    def ordering_digest(self) -> str:
        """Names the ordering; schedules carry it, since a prefix means nothing without it."""
        digest = hashlib.sha256()
        for name in sorted(self.ordering):
            digest.update(self.ordering[name].numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        tensors: dict[str, Tensor] = {}
        for name in self.ordering:
            tensors[f"{name}.ordering"] = self.ordering[name]
            tensors[f"{name}.mean"] = self.moments.mean[name].float()
            tensors[f"{name}.second"] = self.moments.second[name].float()
        metadata = {
            "fingerprint": self.fingerprint,
            "digest": self.spec.digest(self.fingerprint),
            "spec": json.dumps(self.spec.to_json()),
            "rows": str(self.moments.rows),
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def load(cls, path: Path, checkpoint: Checkpoint, spec: CalibrationSpec | None = None) -> "Calibration":
        """Read a calibration; CheckpointError if it was not made for this `checkpoint` (and `spec`, if given)."""
        fingerprint = checkpoint.identity.fingerprint
        names = [layer.projection for layer in checkpoint.architecture.layers]
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                _require(path, metadata, "fingerprint", fingerprint)
                if spec is not None:
                    _require(path, metadata, "digest", spec.digest(fingerprint))
                stored = CalibrationSpec.from_json(json.loads(metadata["spec"]))
                moments = Moments(
                    mean={n: file.get_tensor(f"{n}.mean").double() for n in names},
                    second={n: file.get_tensor(f"{n}.second").double() for n in names},
                    rows=int(metadata["rows"]),
                )
                ordering = {n: file.get_tensor(f"{n}.ordering") for n in names}
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise CheckpointError(
                f"cannot read calibration {path}", expected="safetensors", found=error, remedy="Delete it."
            ) from error
        return cls(fingerprint, stored, ordering, moments, checkpoint.architecture)


def _require(path: Path, metadata: Mapping[str, str], key: str, wanted: str) -> None:
    if metadata.get(key) != wanted:
        raise CheckpointError(
            f"calibration {path} is of another model or spec",
            expected=f"{key} {wanted[:16]}",
            found=str(metadata.get(key))[:16],
        )


class _DenseModel:
    """The checkpoint's own dense denoiser with a tap, as a rollout wants it."""

    def __init__(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> None:
        self._names = architecture.condition_names()
        step_names = architecture.step_weights()
        self._device = next(iter(weights.values())).device
        self.denoiser = architecture.denoiser(architecture.dense, {name: weights[name] for name in step_names})
        self._condition = architecture.condition(
            {name: tensor for name, tensor in weights.items() if name not in set(step_names)}
        ).to(self._device)  # a condition may hold tables of its own

    def condition(self, timesteps: Tensor, labels: Tensor) -> dict[str, Tensor]:
        outputs = self._condition(timesteps.to(self._device), labels.to(self._device))
        return dict(zip(self._names, outputs, strict=True))

    def denoise(self, _key: None, latents: Tensor, conditions: Mapping[str, Tensor], /) -> Tensor:
        out: Tensor = self.denoiser(latents.to(self._device), **conditions)
        return out


@torch.inference_mode()
def calibrate(
    checkpoint: Checkpoint,
    spec: CalibrationSpec,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] = lambda _: None,
) -> Calibration:
    """Run the dense model, gather moments per stage, average them by executed steps, order the units.

    `progress` is called with the share done. Deterministic for one machine and thread count.
    """
    architecture = checkpoint.architecture
    state = checkpoint.denoiser_state()
    weights = {name: tensor.to(device, torch.float32) for name, tensor in architecture.convert(state).items()}
    moments = _gather(checkpoint, spec, _DenseModel(architecture, weights), progress)
    projections = {layer.projection: weights[layer.projection].cpu() for layer in architecture.layers}
    ordering = order_units(architecture, projections, moments, spec.damping)
    # what a file keeps is what is used, so a calibration read back changes nothing
    rounded = Moments(
        {name: tensor.float().double() for name, tensor in moments.mean.items()},
        {name: tensor.float().double() for name, tensor in moments.second.items()},
        moments.rows,
    )
    return Calibration(checkpoint.identity.fingerprint, spec, ordering, rounded, architecture)


def _gather(
    checkpoint: Checkpoint,
    spec: CalibrationSpec,
    model: _DenseModel,
    progress: Callable[[float], None],
) -> Moments:
    path = trajectory(spec.sampler.class_name, checkpoint.scheduler_config, spec.sampler.steps)
    intervals = equal_intervals(checkpoint.train_timesteps, spec.stages)
    taps = [MomentAccumulator(spec.token_share, spec.seed + i) for i in range(spec.stages)]
    architecture = checkpoint.architecture
    done = 0
    for start in range(0, spec.images, spec.batch):
        numbers = range(start, min(start + spec.batch, spec.images))
        seeds = [_SEED_OFFSET + spec.seed * spec.images + i for i in numbers]
        labels = torch.tensor([i % architecture.classes for i in numbers])
        state = initial_state(path, seeded_noise(seeds, architecture.latent_shape))
        while state.index < len(path.steps):
            stage = stage_index(intervals, path.steps[state.index].timestep)
            model.denoiser.tap = taps[stage]  # type: ignore[assignment]
            guidance = spec.sampler.guidance
            state = step(model, None, path, state, labels, guidance, architecture.classes)
            done += len(labels)
            progress(done / (spec.images * len(path.steps)))
    counts = executed_steps(intervals, path.timesteps)
    seen = [(tap.moments(), count) for tap, count in zip(taps, counts, strict=True) if count]
    return weighted_average([m for m, _ in seen], [count for _, count in seen])
