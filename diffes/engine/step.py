"""The tensors of a step: rows that stand at different steps of one subgraph go through one denoiser call.

Nothing here waits for a GPU: a step is launched, and looked at once it has landed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffes import kernels
from diffes.backends.base import Backend
from diffes.engine.job import ImageState, Job
from diffes.engine.observer import StageOf
from diffes.engine.scheduling import BatchKey
from diffes.engine.timeline import Mark, Timeline
from diffes.prompts import RowSpec, repeated
from diffes.rollout import seeded_noise


@dataclass(frozen=True, slots=True)
class Move:
    """One image's part in a step: the stage it stood in, how many steps it has taken with it, and its state after."""

    image: ImageState
    stage: StageOf
    step: int
    latents: Tensor
    clean: Tensor

    @property
    def last(self) -> bool:
        """Whether the latents are the image."""
        return self.step == len(self.image.keys)

    @property
    def preview(self) -> int | None:
        """Which preview its caller is to see now, if any."""
        return self.image.job.preview_after(self.step)


@dataclass(frozen=True, slots=True)
class Flight:
    """A step that was launched. Marks stand before and after the denoiser call, and after all that follows it."""

    key: BatchKey
    moves: tuple[Move, ...]
    finite: Tensor  # [B, parts] on the CPU, once it has landed
    began: Mark
    ended: Mark
    landed: Mark


@dataclass(frozen=True, slots=True)
class Decoding:
    """Latents that are being decoded, since `at` on the engine's clock; `pixels` [B, 3, H, W] are whole once `done` has
    passed.
    """

    moves: tuple[Move, ...]
    pixels: Tensor
    at: float
    began: Mark
    done: Mark


@torch.no_grad()
def condition(backend: Backend, job: Job, inputs: Mapping[str, RowSpec], timeline: Timeline) -> None:
    """Encode a request's prompt; all its conditions in one call; and the coefficients of all its steps, a row each."""
    path = job.path.trajectory
    rows = job.request.prompt.rows(inputs).branches(job.request.guidance)
    encoded = backend.encode({name: timeline.to_device(tensor) for name, tensor in rows.items()})
    outputs = backend.condition(
        timeline.to_device(torch.tensor(path.timesteps, dtype=torch.float32).repeat(len(encoded))),
        repeated(encoded.features, len(path.steps)),
    )
    branches = {name: value.unflatten(0, (len(encoded), len(path.steps))) for name, value in outputs.items()}
    job.conditions = {name: [branch.unbind(0) for branch in value] for name, value in branches.items()}
    job.constants = {name: value.unbind(0) for name, value in encoded.constants.items()}
    scales = torch.tensor([[step.scale, job.request.guidance] for step in path.steps], dtype=torch.float32)
    job.coefficients = timeline.to_device(torch.cat([scales, path.coefficients], dim=1)).unbind(0)


def start(job: Job, timeline: Timeline) -> list[ImageState]:
    """The images of an admitted request before their first step, each from its own seed's noise."""
    channels, height, width = job.path.keys[0].shape
    seeds = [job.request.seed + index for index in range(job.request.images)]
    noise = timeline.to_device(seeded_noise(seeds, (channels, height, width)) * job.path.trajectory.noise_scale)
    return [ImageState(job, index, latents, torch.zeros_like(latents)) for index, latents in enumerate(noise)]


@torch.no_grad()
def launch(backend: Backend, batch: Sequence[ImageState], timeline: Timeline) -> Flight:
    """Move every image of a batch one step on; if anything raises, none has moved.

    The batch stands on one key. Rows are [conditional; unconditional] when guided.
    """
    key = batch[0].key
    columns = torch.stack([image.coefficients for image in batch])  # [B, 8]
    latents = torch.stack([image.latents for image in batch])
    rows = latents * columns[:, 0].view(-1, 1, 1, 1)
    rows = torch.cat([rows, rows]) if key.guided else rows
    conditions = _conditions(batch, branches=2 if key.guided else 1)
    began = timeline.mark()
    out = backend.denoise(key.subgraph, rows, conditions)
    ended = timeline.mark()
    before = torch.stack([image.clean for image in batch])
    done = kernels.guided_advance(columns[:, 1:], key.clip, latents, out, before, guided=key.guided)
    finite = timeline.to_host(done.finite)
    landed = timeline.mark()
    moves = [_moved(*each) for each in zip(batch, done.latents.unbind(0), done.clean.unbind(0), strict=True)]
    return Flight(key, tuple(moves), finite, began, ended, landed)


@torch.no_grad()
def decode(backend: Backend, moves: Sequence[Move], timeline: Timeline, at: float) -> Decoding:
    """Pixels of each move's image: of its latents if it is done, else of what it would be."""
    with timeline.aside():
        began = timeline.mark()
        latents = torch.stack([move.latents if move.last else move.clean for move in moves])
        pixels = timeline.to_host(backend.decode(latents).float())
        return Decoding(tuple(moves), pixels, at, began, timeline.mark())


def _moved(image: ImageState, latents: Tensor, clean: Tensor) -> Move:
    stage = image.stage
    image.latents, image.clean, image.step = latents, clean, image.step + 1
    image.job.steps += 1
    return Move(image, stage, image.step, latents, clean)


def _conditions(batch: Sequence[ImageState], branches: int) -> dict[str, Tensor]:
    at = [(image.job, branch, image.step) for branch in range(branches) for image in batch]
    like = batch[0].job
    constants = {name: torch.stack([job.constants[name][branch] for job, branch, _ in at]) for name in like.constants}
    of_step = {
        name: torch.stack([j.conditions[name][branch][step] for j, branch, step in at]) for name in like.conditions
    }
    return {**constants, **of_step}
