"""What a PixArt's steps read that is no latent: of a caption once, of a timestep for all steps at once."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffes.architectures.base import Weights, parameters_of
from diffes.architectures.waves import embedded, frequencies, waves

if TYPE_CHECKING:
    from diffes.architectures.pixart import PixArt

_CHANNELS = 256  # of the waves that a number becomes, fixed in diffusers
_IGNORED = -10000.0  # added to scores of places behind a caption's end, as in diffusers


class PixArtEncoder(nn.Module):
    """A caption's keys and values of every block at full width, and what sizes add to the time embedding."""

    def __init__(self, pixart: "PixArt", weights: Weights) -> None:
        super().__init__()
        self.depth, self.width = pixart.depth, pixart.width
        self.weights = parameters_of(weights)
        self.register_buffer("frequencies", frequencies(_CHANNELS), persistent=False)

    def forward(self, states: Tensor, present: Tensor, **sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """states [P, tokens, T], present [P, tokens], sizes [P, any] → added, text, ignored (`pixart.py`)."""
        w: Any = self.weights
        states = states.to(w.caption.fc1.weight.dtype)
        hidden = F.gelu(F.linear(states, w.caption.fc1.weight, w.caption.fc1.bias), approximate="tanh")
        caption = F.linear(hidden, w.caption.fc2.weight, w.caption.fc2.bias)
        blocks = [w.blocks.get_submodule(str(block)) for block in range(self.depth)]
        parts = [F.linear(caption, part.weight, part.bias) for block in blocks for part in (block.key, block.value)]
        return self._added(states, sizes), torch.cat(parts, 2), ((1 - present) * _IGNORED).unsqueeze(1)

    def _added(self, like: Tensor, sizes: dict[str, Tensor]) -> Tensor:
        """Of all sizes, a part of the embedding each; without any, nothing."""
        if not sizes:
            return like[:, 0, :1] * torch.zeros(self.width, dtype=like.dtype, device=like.device)
        table = self.get_buffer("frequencies")
        parts = [
            embedded(self.weights.get_submodule(name), waves(size, table).to(like.dtype)).flatten(1)
            for name, size in sizes.items()
        ]
        return torch.cat(parts, 1)


class PixArtCondition(nn.Module):
    """Everything that depends on the timestep, for all steps of a request at once."""

    def __init__(self, pixart: "PixArt", weights: Weights) -> None:
        super().__init__()
        self.width = pixart.width
        self.weights = parameters_of(weights)
        self.register_buffer("frequencies", frequencies(_CHANNELS), persistent=False)

    def forward(self, timesteps: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """timesteps [N] float, added [N, D] → modulation [N, L, 6, D], final_modulation [N, 2, D]."""
        w: Any = self.weights
        table = self.get_buffer("frequencies")
        told = waves(timesteps, table).to(w.embedder.fc1.weight.dtype)
        embedding = embedded(w.embedder, told) + added.to(told.dtype)
        shared = F.linear(F.silu(embedding), w.ada.weight, w.ada.bias).view(-1, 1, 6, self.width)
        one = torch.tensor([0, 1, 0, 0, 1, 0], dtype=shared.dtype, device=shared.device)
        final = embedding.unsqueeze(1) + w.final_table
        return shared + w.tables + one[:, None], final + one[:2, None]
