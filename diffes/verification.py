"""Does a backend compute what the weights say? Every subgraph beside torch in float32, on real trajectories.

The reference walks each schedule's trajectory; at every step the backend is given the same latents, timesteps and
prompts. So errors do not add up over steps, and each subgraph answers for itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffes.architectures import Conditioning
from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.errors import BackendError
from diffes.precision import full_float32
from diffes.prompts import Encoded, Rows
from diffes.rollout import Model, initial_state, seeded_noise, step
from diffes.router import route

# sums in another order, or every product's input rounded to 11 or 8 bits
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Verified:
    """A subgraph's largest difference from torch in one of `steps` steps, and what is allowed it.

    Both are of the latents after the step: root mean squares, the difference's over the latents'. Not of the predicted
    noise: nearly clean latents differ from clean ones by less than rounding them to 16 bits, and so a prediction may be
    far off where it hardly counts.
    """

    subgraph: str
    steps: int
    error: float
    allowed: float

    @property
    def good(self) -> bool:
        """Whether the difference is allowed; one that is no number is not."""
        return self.error <= self.allowed


class Reference:
    """The bundle's subgraphs as torch computes them in float32, whatever the bundle's type."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        tensors = {name: tensor.to(device, torch.float32) for name, tensor in bundle.blob.items()}
        architecture, manifest = bundle.architecture, bundle.manifest
        once = {name: weight for graph in manifest.once for name, weight in bundle.weights(graph, tensors).items()}
        self._conditioning = Conditioning(architecture, once, device)
        self._denoisers: dict[str, nn.Module] = {
            subgraph.id: architecture.denoiser(subgraph.plan, bundle.weights(subgraph, tensors)).eval()
            for subgraph in manifest.subgraphs
        }

    def encode(self, prompts: Rows) -> Encoded:
        """As a backend's."""
        return self._conditioning.encode(prompts)

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """As a backend's."""
        return self._conditioning.condition(timesteps, features)

    def denoise(self, subgraph: str, latents: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """As a backend's."""
        prediction: Tensor = self._denoisers[subgraph](latents, **conditions)
        return prediction


@torch.inference_mode()
def verify(
    bundle: Bundle, backend: Backend, *, images: int = 2, device: str = "cpu", progress: Progress = lambda _: None
) -> tuple[Verified, ...]:
    """Every subgraph that a schedule's own sampler visits, in the manifest's order; `device` is the reference's."""
    place = torch.device(device)
    prompts = bundle.wording.examples.in_turn(range(images)).to(place)
    models: tuple[Model[str], Model[str]] = (Reference(bundle, place), backend)
    errors: dict[str, list[float]] = {}
    with full_float32():
        for number, (name, schedule) in enumerate(bundle.manifest.schedules.items(), 1):
            sampler = schedule.sampler
            path = bundle.trajectory(sampler.steps, name)
            state = initial_state(path, seeded_noise(range(images), bundle.architecture.latent_shape).to(place))
            encoded = [model.encode(prompts.branches(sampler.guidance)) for model in models]
            for key in route(schedule, bundle.subgraph_of, path).subgraphs:
                wanted, found = (
                    step(model, key, path, state, each, sampler.guidance)
                    for model, each in zip(models, encoded, strict=True)
                )
                errors.setdefault(key, []).append(_difference(found.latents, wanted.latents))
                state = wanted
            progress(number / len(bundle.manifest.schedules))
    allowed = TOLERANCE[bundle.manifest.dtype]
    return tuple(
        Verified(graph.id, len(errors[graph.id]), _worst(errors[graph.id]), allowed)
        for graph in bundle.manifest.subgraphs
        if graph.id in errors
    )


def require_verified(found: tuple[Verified, ...], backend: str) -> None:
    """BackendError that names the subgraph which is furthest off, if one is off."""
    wrong = [graph for graph in found if not graph.good]
    if wrong:
        worst = max(wrong, key=lambda graph: (graph.error != graph.error, graph.error))
        raise BackendError(
            f"{backend} does not compute what torch computes: {len(wrong)} of {len(found)} subgraphs differ",
            expected=f"at most {worst.allowed:g} of the latents after a step",
            found=f"{worst.error:.3g} in subgraph {worst.subgraph}",
        )


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Root mean square of the difference, over that of what is wanted."""
    return float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


def _worst(errors: list[float]) -> float:
    """The largest; what is no number is worse than any."""
    return next((error for error in errors if error != error), max(errors))
