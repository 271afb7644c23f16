"""Whole trajectories in lockstep: every row at the same step. Search, calibration and evaluation run on this;
the engine, whose rows stand at different steps, does not."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from diffes.prompts import Encoded, Prompts, Rows
from diffes.sampling import Trajectory, advance_together, guide

Key = TypeVar("Key", bound=Hashable, contravariant=True)


class Conditions(Protocol):
    """What makes what a step reads beside latents."""

    def encode(self, prompts: Rows) -> Encoded: ...

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]: ...


class Model(Conditions, Protocol[Key]):
    """What a rollout needs: a backend (keys are subgraph ids) or a PrunedModel (keys are stage plans)."""

    def denoise(self, key: Key, latents: Tensor, conditions: Mapping[str, Tensor], /) -> Tensor: ...


@dataclass(frozen=True)
class State:
    """Rows between two steps: the next step's index, latents and last x0, each [B, C, h, w] float32."""

    index: int
    latents: Tensor
    clean: Tensor

    def rows(self, rows: slice) -> "State":
        """The same moment for some of the rows."""
        return State(self.index, self.latents[rows], self.clean[rows])


def initial_state(path: Trajectory, noise: Tensor) -> State:
    """The start of a trajectory from unit noise [B, C, h, w]."""
    return State(0, noise * path.noise_scale, torch.zeros_like(noise))


def seeded_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """One unit-normal row per seed, each from its own CPU generator: alone or in company the same."""
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32) for seed in seeds]
    return torch.stack(rows)


def step(
    model: Model[Key],
    key: Key,
    path: Trajectory,
    state: State,
    encoded: Encoded,
    guidance: float,
) -> State:
    """One denoising step of every row, whose prompts' branches at this guidance are `encoded`."""
    at = path.steps[state.index]
    latents = state.latents * at.scale
    if guidance != 1:
        latents = torch.cat([latents, latents])
    out = model.denoise(key, latents, conditions_of(model, encoded, float(at.timestep))).to(state.latents)
    if guidance != 1:
        out = guide(out, guidance)
    latents, clean = advance_together(at, path.clip, state.latents, out, state.clean)
    return State(state.index + 1, latents, clean)


def conditions_of(model: Conditions, encoded: Encoded, timesteps: float | Tensor) -> dict[str, Tensor]:
    """What a step takes beside latents, each [B, ...]: at one timestep, or of every row's own [B]."""
    if not isinstance(timesteps, Tensor):
        device = next(iter(encoded.features.values())).device
        timesteps = torch.full((len(encoded),), timesteps, device=device)
    return {**encoded.constants, **model.condition(timesteps, encoded.features)}


def run(
    model: Model[Key],
    keys: Sequence[Key],
    path: Trajectory,
    state: State,
    prompts: Prompts,
    guidance: float,
    stop: int | None = None,
) -> State:
    """Steps `state.index`..`stop` (the end), `keys[i]` naming what runs step i."""
    stop = len(path.steps) if stop is None else stop
    encoded = model.encode(prompts.branches(guidance))
    while state.index < stop:
        state = step(model, keys[state.index], path, state, encoded, guidance)
    return state
