"""What a U-Net's steps read that is no latent: of a prompt once, of a timestep for all steps of a request at once."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffes.architectures.base import Weights, parameters_of
from diffes.architectures.texts import TextEncoders, split, states_of
from diffes.architectures.waves import embedded, frequencies, waves

if TYPE_CHECKING:
    from diffes.architectures.unet import UNet


class UNetEncoder(nn.Module):
    """A prompt's part of the time embedding, and keys and values of every block at full width: levels read prefixes."""

    def __init__(self, unet: "UNet", weights: Weights) -> None:
        super().__init__()
        self.blocks = len(unet.blocks)
        self.id_channels = unet.id_channels
        self.weights = parameters_of(weights)
        self.register_buffer("frequencies", frequencies(unet.id_channels), persistent=False)

    def forward(self, states: Tensor, pooled: Tensor, time_ids: Tensor) -> tuple[Tensor, Tensor]:
        """states [P, tokens, C], pooled [P, C'], time_ids [P, 6] → added [P, T], text [P, tokens, sum of all 2*D]."""
        w: Any = self.weights
        states, pooled = (given.to(w.add_embedding.fc1.weight.dtype) for given in (states, pooled))
        table = self.get_buffer("frequencies")
        told = waves(time_ids, table).flatten(1).to(pooled.dtype)
        added = embedded(w.add_embedding, torch.cat([pooled, told], 1))
        blocks = [w.blocks.get_submodule(str(block)) for block in range(self.blocks)]
        parts = [F.linear(states, part.weight) for block in blocks for part in (block.key, block.value)]
        return added, torch.cat(parts, 2)


class UNetTextEncoder(UNetEncoder):
    """The same of texts in tokens."""

    def __init__(self, unet: "UNet", texts: TextEncoders, weights: Weights) -> None:
        own, of_texts = split(weights)
        super().__init__(unet, own)
        self.weights.add_module("texts", texts.modules(of_texts))

    def forward(self, tokens: Tensor, present: Tensor, time_ids: Tensor) -> tuple[Tensor, Tensor]:
        """tokens [P, encoders, length], present [P], time_ids [P, 6] → as of their states."""
        w: Any = self.weights
        return super().forward(*states_of(w.texts, tokens, present), time_ids)


class UNetCondition(nn.Module):
    """The time embedding as every resnet adds it."""

    def __init__(self, unet: "UNet", weights: Weights) -> None:
        super().__init__()
        self.weights = parameters_of(weights)
        self.register_buffer("frequencies", frequencies(unet.levels[0].channels), persistent=False)

    def forward(self, timesteps: Tensor, added: Tensor) -> tuple[Tensor]:
        """timesteps [N] float, added [N, T] → time [N, sum of the resnets' channels]."""
        w: Any = self.weights
        table = self.get_buffer("frequencies")
        told = waves(timesteps, table).to(w.time_embedding.fc1.weight.dtype)
        embedding = F.silu(embedded(w.time_embedding, told) + added.to(told.dtype))
        return (F.linear(embedding, w.time.weight, w.time.bias),)
