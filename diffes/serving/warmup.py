"""Run everything once before the first request, so that none pays for allocation, tuning or lazy loading."""

import logging
from collections.abc import Sequence
from time import perf_counter

import torch

from diffes.backends.base import Backend
from diffes.bundle import Bundle

logger = logging.getLogger(__name__)


def warm_up(bundle: Bundle, backend: Backend, batch: int) -> None:
    """One call of every graph at each row count of `warm_rows`."""
    began = perf_counter()
    generator = torch.Generator().manual_seed(0)
    for rows in warm_rows(batch):
        latents = torch.randn(rows, *bundle.architecture.latent_shape, generator=generator)
        timesteps = torch.full((rows,), float(bundle.trajectory(1).timesteps[0]))
        conditions = backend.condition(timesteps, torch.zeros(rows, dtype=torch.int64))
        for subgraph in bundle.manifest.subgraphs:
            backend.denoise(subgraph.id, latents, conditions)
        backend.decode(latents)
        logger.info("warm at %d rows after %.1f s", rows, perf_counter() - began)


def warm_rows(batch: int) -> Sequence[int]:
    """One image and a full batch, each plain and guided: batches are not padded, and between these nothing is new."""
    return sorted({1, 2, batch, 2 * batch})
