"""A DiT's condition: timesteps and labels to the modulation of every block."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffes.architectures.base import Weights, parameters_of
from diffes.architectures.waves import embedded, frequencies, waves

_TIME_CHANNELS = 256  # width of the sinusoidal timestep embedding, fixed in diffusers


class DiTCondition(nn.Module):
    """Everything that depends on timestep and label only, for all steps of a request at once."""

    def __init__(self, depth: int, width: int, weights: Weights) -> None:
        super().__init__()
        self.depth, self.width = depth, width
        self.weights = parameters_of(weights)
        self.register_buffer("frequencies", frequencies(_TIME_CHANNELS, shift=1), persistent=False)

    def forward(self, timesteps: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """timesteps [N] float, labels [N] int64 → modulation [N, L, 6, D], final_modulation [N, 2, D]."""
        w: Any = self.weights
        told = waves(timesteps, self.get_buffer("frequencies")).to(w.embedder.fc1.weight.dtype)
        emb = F.silu(embedded(w.embedder, told) + F.embedding(labels, w.embedder.labels))
        modulation = F.linear(emb, w.ada.weight, w.ada.bias)
        modulation = modulation.view(-1, self.depth, 6, self.width)
        final = F.linear(emb, w.final_ada.weight, w.final_ada.bias)
        return self._add_one(modulation, 1, 4), self._add_one(final.view(-1, 2, self.width), 1)

    @staticmethod
    def _add_one(modulation: Tensor, *scales: int) -> Tensor:
        """Turn scale into 1 + scale, so that the step multiplies once."""
        parts = list(modulation.unbind(-2))
        return torch.stack([p + 1 if i in scales else p for i, p in enumerate(parts)], dim=-2)
