"""What takes part in a comparison: a way to run one plan's steps, with what it needs to be judged by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffes.architectures import Architecture, Conditioning
from diffes.backends import open_backend
from diffes.bundle import Bundle
from diffes.errors import InvalidInput
from diffes.prompts import Rows
from diffes.rollout import conditions_of, seeded_noise
from diffes.schedule import StagePlan

PEERS = ("diffusers", "diffusers-compiled", "copies")
_COMPILE_MODE = "reduce-overhead"  # whole steps as CUDA graphs: what torch offers a user who wants low latency


@dataclass(frozen=True)
class Inputs:
    """Of a step half way down the trajectory, on the device: latents [B, C, h, w], timesteps [B], prompts [B, ...].

    `states` [B, ...] are what diffusers' denoiser is given of a prompt: its text encoders are a model apart.
    """

    latents: Tensor
    timesteps: Tensor
    prompts: Rows
    states: Rows

    @classmethod
    def of(cls, architecture: Architecture, rows: int, device: torch.device) -> "Inputs":
        """As many rows as asked for, prompts in turn."""
        return cls(
            seeded_noise(range(rows), architecture.latent_shape).to(device),
            torch.full((rows,), 500.0, device=device),
            architecture.examples().in_turn(range(rows)).to(device).wanted,
            architecture.alone.examples().in_turn(range(rows)).to(device).wanted,
        )


@dataclass(frozen=True)
class Entrant:
    """`name` runs `plan` (by a name of its own); `step` makes ready a step of some inputs."""

    name: str
    plan: str
    stage_plan: StagePlan
    step: Callable[[Inputs], Callable[[], object]]


Opener = Callable[[], Sequence[Entrant]]


def backend_entrants(
    bundle: Bundle, plans: dict[str, StagePlan], name: str, device: str, threads: int | None = None
) -> list[Entrant]:
    """One of our backends: every plan over the bundle's one blob. Conditions are calculated before, as they are once a
    request."""
    backend = open_backend(name, bundle, device, threads)

    def of(plan: StagePlan) -> Callable[[Inputs], Callable[[], object]]:
        subgraph = bundle.subgraph_of[plan]

        def ready(inputs: Inputs) -> Callable[[], object]:
            conditions = conditions_of(backend, backend.encode(inputs.prompts), inputs.timesteps)
            return lambda: backend.denoise(subgraph, inputs.latents, conditions)

        return ready

    return [Entrant(f"diffes {name}", label, plan, of(plan)) for label, plan in plans.items()]


def peer_entrants(bundle: Bundle, plans: dict[str, StagePlan], name: str, device: str) -> list[Entrant]:
    """What one would run without Diffes; InvalidInput for a name there is none of.

    `diffusers` and `diffusers-compiled` are the dense model in the bundle's type, weights random, for speed does not
    depend on them. `copies` has pruned weights of every plan of its own, compiled.
    """
    if name not in PEERS:
        raise InvalidInput("peer", expected=f"one of {', '.join(PEERS)}", found=name)
    place = torch.device(device), bundle.dtype
    if name == "copies":
        return [_copied(bundle, label, plan, place) for label, plan in plans.items()]
    model = _diffusers_model(bundle, *place)
    architecture = bundle.architecture
    run = torch.compile(model, mode=_COMPILE_MODE, dynamic=False) if name == "diffusers-compiled" else model

    def ready(inputs: Inputs) -> Callable[[], object]:
        latents = inputs.latents.to(bundle.dtype)
        others = architecture.diffusers_inputs(inputs.timesteps, _in_type(inputs.states, bundle.dtype))
        return _without_gradients(lambda: run(latents, **others))

    return [Entrant(name, "dense", architecture.dense, ready)]


def _in_type(rows: Rows, dtype: torch.dtype) -> dict[str, Tensor]:
    """What is no count or label in the type that the model calculates in."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in rows.items()}


def _diffusers_model(bundle: Bundle, device: torch.device, dtype: torch.dtype) -> nn.Module:
    import diffusers

    with torch.device("meta"):
        model: nn.Module = getattr(diffusers, bundle.manifest.model.class_name).from_config(bundle.manifest.config)
    # as diffusers' own advice for speed has it: convolutions of 16 bits want channels last
    model = model.to_empty(device=device).to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_(0, 0.02)
    return model.eval()


def _copied(bundle: Bundle, label: str, plan: StagePlan, place: tuple[torch.device, torch.dtype]) -> Entrant:
    device, dtype = place
    subgraph = next(graph for graph in bundle.manifest.subgraphs if graph.plan == plan)
    weights = {name: tensor.clone().to(device) for name, tensor in bundle.weights(subgraph).items()}
    module = torch.compile(bundle.architecture.denoiser(plan, weights).eval(), mode=_COMPILE_MODE, dynamic=False)
    once = {name: tensor.to(device) for each in bundle.manifest.once for name, tensor in bundle.weights(each).items()}
    conditioning = Conditioning(bundle.architecture, once, device)

    def ready(inputs: Inputs) -> Callable[[], object]:
        latents = inputs.latents.to(dtype)
        with torch.no_grad():
            made = conditions_of(conditioning, conditioning.encode(inputs.prompts), inputs.timesteps)
        conditions = {name: value.to(dtype) for name, value in made.items()}
        return _without_gradients(lambda: module(latents, **conditions))

    return Entrant("copies", label, plan, ready)


def _without_gradients(run: Callable[[], object]) -> Callable[[], object]:
    def step() -> object:
        with torch.no_grad():
            return run()

    return step
