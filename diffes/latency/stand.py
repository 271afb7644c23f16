"""What a model is timed on: any stage plan of it, on one backend, without a search or a calibration.

How long a step takes does not depend on which units a prefix keeps, so the stored order serves. Compensated tensors
have the shapes of what they replace, so they are not solved for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from diffes.architectures import Architecture
from diffes.backends.calls import RecordedCalls, alone, step_inputs
from diffes.backends.recorder import fastest_recorder
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.devices import device_named
from diffes.errors import InvalidInput
from diffes.manifest import DTYPES, MANIFEST
from diffes.pruning.mode import Compensation
from diffes.pruning.model import PrunedModel
from diffes.pruning.prefix import Prefix, resolve
from diffes.rollout import conditions_of, seeded_noise
from diffes.schedule import ModelIdentity, StagePlan


@dataclass(frozen=True)
class Subject:
    """What is timed: a model by identity, its architecture, and weights in the architecture's names and layouts."""

    identity: ModelIdentity
    architecture: Architecture
    weights: Mapping[str, Tensor]

    @classmethod
    def open(cls, folder: Path) -> "Subject":
        """Of a bundle, or of a model folder in diffusers layout."""
        if (folder / MANIFEST).exists():
            return cls._of_bundle(Bundle.open(folder))
        checkpoint = Checkpoint.open(folder)
        return cls(checkpoint.identity, checkpoint.architecture, checkpoint.weights())

    @classmethod
    def _of_bundle(cls, bundle: Bundle) -> "Subject":
        manifest, architecture = bundle.manifest, bundle.architecture
        dense = next(subgraph for subgraph in manifest.subgraphs if subgraph.plan == architecture.dense)
        weights = {name: tensor for graph in (*manifest.once, dense) for name, tensor in bundle.weights(graph).items()}
        return cls(manifest.model, architecture, weights)


class Stand(Protocol):
    """Runs steps of any plan it was opened for."""

    def step(self, plan: StagePlan) -> Callable[[], Tensor]:
        """One step of `plan`, ready to be timed; returns the prediction [batch, C, h, w]."""


class UnorderedModel(PrunedModel):
    """A model pruned in the order its units happen to have: its images mean nothing, its latency does."""

    def __init__(self, subject: Subject, device: str, dtype: torch.dtype) -> None:
        super().__init__(subject.architecture, subject.weights, None, "none", device=device, dtype=dtype)

    def prefixes(self, plan: StagePlan) -> dict[str, Prefix]:
        """Which prefix of which tensor the plan's denoiser reads."""
        return resolve(self.architecture, plan, Compensation.parse("none"), self._rows)


class TorchStand:
    """Steps as the torch backend runs them: modules on views of one set of weights, on a GPU recorded."""

    def __init__(self, subject: Subject, *, device: str, batch: int, dtype: str, threads: int | None) -> None:
        """BackendError for a device torch lacks, InvalidInput for an unknown dtype."""
        if dtype not in DTYPES:
            raise InvalidInput("dtype", expected=f"one of {', '.join(DTYPES)}", found=dtype)
        device_named(device)
        if threads is not None:
            torch.set_num_threads(threads)
        self._model = UnorderedModel(subject, device, DTYPES[dtype])
        latents, conditions = example_inputs(self._model, batch)
        placed = self._model.device, self._model.dtype
        self._inputs = {name: value.to(*placed) for name, value in {"latents": latents, **conditions}.items()}
        self._shapes = {name: value.shape[1:] for name, value in self._inputs.items()}
        self._record = fastest_recorder(self._model.device) if self._model.device.type == "cuda" else None

    def step(self, plan: StagePlan) -> Callable[[], Tensor]:
        """One step of `plan`; on a GPU it returns before the work is done."""
        denoiser = self._model.denoiser(plan)
        if self._record is None:
            conditions = {name: value for name, value in self._inputs.items() if name != "latents"}
            return lambda: self._model.denoise(plan, self._inputs["latents"], conditions)
        inputs = step_inputs(self._shapes, self._model.dtype)
        steps = RecordedCalls({plan: alone(denoiser)}, inputs, self._model.device, self._record)
        return torch.inference_mode()(lambda: steps(plan, self._inputs)[0])


def example_inputs(model: PrunedModel, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Latents [batch, C, h, w] and conditions of a step half way down the trajectory, prompts in turn."""
    encoded = model.encode(model.architecture.examples().in_turn(range(batch)).wanted)
    latents = seeded_noise(range(batch), model.architecture.latent_shape)
    return latents, conditions_of(model, encoded, 500.0)
