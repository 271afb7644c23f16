"""Does a backend compute what the weights say? Every subgraph beside torch in float32, on real trajectories.

The reference walks each schedule's trajectory; at every step the backend is given the same latents, timesteps and
labels. So errors do not add up over steps, and each subgraph answers for itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.errors import BackendError
from diffes.precision import full_float32
from diffes.rollout import initial_state, run, seeded_noise
from diffes.router import route

# of the largest value torch predicts: sums in another order, or every product's input rounded to 11 or 8 bits
TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 6e-2}

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Verified:
    """A subgraph's largest difference from torch, over `steps` steps of `rows` rows, and what is allowed it.

    Both as shares of the largest value torch predicts in the step.
    """

    subgraph: str
    steps: int
    rows: int
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
        self._names = architecture.condition_names()
        self._condition = architecture.condition(bundle.weights(manifest.condition, tensors)).to(device).eval()
        self._denoisers: dict[str, nn.Module] = {
            subgraph.id: architecture.denoiser(subgraph.plan, bundle.weights(subgraph, tensors)).eval()
            for subgraph in manifest.subgraphs
        }

    def condition(self, timesteps: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """As a backend's."""
        return dict(zip(self._names, self._condition(timesteps, labels), strict=True))

    def denoise(self, subgraph: str, latents: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """As a backend's."""
        prediction: Tensor = self._denoisers[subgraph](latents, **conditions)
        return prediction


class _Beside:
    """A model that is the reference, and shows the backend everything it is shown."""

    def __init__(self, reference: Reference, backend: Backend) -> None:
        self._reference, self._backend = reference, backend
        self._conditions: Mapping[str, Tensor] = {}
        self.errors: dict[str, list[float]] = {}

    def condition(self, timesteps: Tensor, labels: Tensor) -> dict[str, Tensor]:
        self._conditions = self._backend.condition(timesteps, labels)
        return self._reference.condition(timesteps, labels)

    def denoise(self, subgraph: str, latents: Tensor, conditions: Mapping[str, Tensor], /) -> Tensor:
        wanted = self._reference.denoise(subgraph, latents, conditions)
        found = self._backend.denoise(subgraph, latents, self._conditions).to(wanted)
        error = (found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-9)
        self.errors.setdefault(subgraph, []).append(float(error))
        return wanted


@torch.inference_mode()
def verify(
    bundle: Bundle, backend: Backend, *, images: int = 2, device: str = "cpu", progress: Progress = lambda _: None
) -> tuple[Verified, ...]:
    """Every subgraph that a schedule's own sampler visits, in the manifest's order; `device` is the reference's."""
    place = torch.device(device)
    beside, rows = _Beside(Reference(bundle, place), backend), 0
    classes = bundle.architecture.classes
    labels = torch.arange(images, device=place) % classes
    with full_float32():
        for number, (name, schedule) in enumerate(bundle.manifest.schedules.items(), 1):
            path = bundle.trajectory(schedule.sampler.steps, name)
            keys = route(schedule, bundle.subgraph_of, path).subgraphs
            start = initial_state(path, seeded_noise(range(images), bundle.architecture.latent_shape).to(place))
            run(beside, keys, path, start, labels, schedule.sampler.guidance, classes)
            rows = max(rows, images if schedule.sampler.guidance == 1 else 2 * images)
            progress(number / len(bundle.manifest.schedules))
    allowed = TOLERANCE[bundle.manifest.dtype]
    return tuple(
        Verified(graph.id, len(errors), rows, _worst(errors), allowed)
        for graph in bundle.manifest.subgraphs
        if (errors := beside.errors.get(graph.id))
    )


def require_verified(found: tuple[Verified, ...], backend: str) -> None:
    """BackendError that names the subgraph which is furthest off, if one is off."""
    wrong = [graph for graph in found if not graph.good]
    if wrong:
        worst = max(wrong, key=lambda graph: (graph.error != graph.error, graph.error))
        raise BackendError(
            f"{backend} does not compute what torch computes: {len(wrong)} of {len(found)} subgraphs differ",
            expected=f"at most {worst.allowed:g} of the largest value",
            found=f"{worst.error:.3g} in subgraph {worst.subgraph}",
        )


def _worst(errors: list[float]) -> float:
    """The largest; what is no number is worse than any."""
    return next((error for error in errors if error != error), max(errors))
