"""The tensors of one step: rows that stand at different steps of one subgraph go through one denoiser call."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diffes.backends.base import Backend
from diffes.engine.job import ImageState, Job
from diffes.rollout import seeded_noise
from diffes.sampling import advance, guide


@torch.no_grad()
def condition(backend: Backend, job: Job, unconditional: int) -> dict[str, Tensor]:
    """All conditions of a request in one call: each [1, steps, ...], or [2, ...] with the unconditional branch."""
    timesteps = torch.tensor(job.path.trajectory.timesteps, dtype=torch.float32)
    labels = [job.request.label, unconditional] if job.path.keys[0].guided else [job.request.label]
    outputs = backend.condition(
        timesteps.repeat(len(labels)), torch.tensor(labels, dtype=torch.int64).repeat_interleave(len(timesteps))
    )
    return {name: value.unflatten(0, (len(labels), len(timesteps))) for name, value in outputs.items()}


def start(job: Job) -> list[ImageState]:
    """The images of an admitted request before their first step, each from its own seed's noise."""
    shape = job.path.keys[0].shape
    device = next(iter(job.conditions.values())).device
    channels, height, width = shape
    seeds = [job.request.seed + index for index in range(job.request.images)]
    noise = seeded_noise(seeds, (channels, height, width)).to(device) * job.path.trajectory.noise_scale
    return [ImageState(job, index, latents, torch.zeros_like(latents)) for index, latents in enumerate(noise)]


@torch.no_grad()
def take_step(backend: Backend, batch: Sequence[ImageState]) -> list[ImageState]:
    """Move every image of a batch one step on; returns those whose output was not finite, unmoved.

    The batch stands on one key. Rows are [conditional; unconditional] when guided.
    """
    key = batch[0].key
    steps = [image.at for image in batch]
    latents = torch.stack([image.latents for image in batch])
    rows = latents * _column([step.scale for step in steps], latents)
    conditions = _conditions(batch, branches=2 if key.guided else 1)
    out = backend.denoise(key.subgraph, torch.cat([rows, rows]) if key.guided else rows, conditions).to(latents)
    if key.guided:
        out = guide(out, _column([image.job.request.guidance for image in batch], latents))
    finite = out.isfinite().flatten(1).all(1).tolist()  # waits for the device, so step seconds are the device's
    before = torch.stack([image.clean for image in batch])
    moved = zip(batch, finite, *advance(steps, key.clip, latents, out, before), strict=True)
    for image, good, after, clean in moved:
        if good:
            image.latents, image.clean, image.step = after, clean, image.step + 1
            image.job.steps += 1
    return [image for image, good in zip(batch, finite, strict=True) if not good]


@torch.no_grad()
def decode(backend: Backend, latents: Sequence[Tensor]) -> Tensor:
    """Latents of images, each [C, h, w], to pixels [B, 3, H, W] on the CPU."""
    return backend.decode(torch.stack(list(latents))).float().cpu()


def _conditions(batch: Sequence[ImageState], branches: int) -> dict[str, Tensor]:
    at = [(image.job.conditions, branch, image.step) for branch in range(branches) for image in batch]
    return {name: torch.stack([each[name][branch, step] for each, branch, step in at]) for name in at[0][0]}


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1, 1)
