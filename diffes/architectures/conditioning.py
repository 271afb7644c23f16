"""What a step reads beside latents: a family's encoder and condition, and what comes of them by name."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffes.architectures.base import Architecture, Weights
from diffes.prompts import Encoded, Rows, on_device


class Conditioning:
    """A family's encoder and condition on one device, as a model has them beside its denoisers."""

    def __init__(self, architecture: Architecture, weights: Weights, device: torch.device | str) -> None:
        """`weights` may hold a step's, too."""
        self._architecture = architecture
        self._device = device
        of_encoder = architecture.encoder_weights()
        encoder = architecture.encoder({name: weights[name] for name in of_encoder})
        self._encoder = None if encoder is None else encoder.to(device).eval()
        others = {*architecture.step_weights(), *of_encoder}
        of_condition = {name: tensor for name, tensor in weights.items() if name not in others}
        self.module = architecture.condition(of_condition).to(device).eval()  # it may hold tables of its own

    def encode(self, prompts: Rows) -> Encoded:
        """Prompts [P, ...] → what is made of them once for all steps, on the device."""
        return encoded_by(self._architecture, self._encoder, on_device(prompts, self._device))

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """timesteps [N] float32, features [N, ...] → each condition of a step [N, ...] on the device."""
        outputs = self.module(timesteps.to(self._device), **on_device(features, self._device))
        return dict(zip(self._architecture.condition_names(), outputs, strict=True))


def constants_of(architecture: Architecture) -> tuple[str, ...]:
    """Names of the conditions that the encoder gives."""
    of_timesteps = architecture.condition_names()
    return tuple(name for name in architecture.condition_shapes() if name not in of_timesteps)


def encoded_by(architecture: Architecture, encoder: Callable[..., Sequence[Tensor]] | None, prompts: Rows) -> Encoded:
    """What the encoder makes of prompts; without one they are their own features."""
    if encoder is None:
        return Encoded(prompts)
    outputs = dict(zip(encoder_outputs(architecture), encoder(**prompts), strict=True))
    features = {name: outputs.pop(name) for name in architecture.features()}
    return Encoded(features, outputs)


def encoder_outputs(architecture: Architecture) -> tuple[str, ...]:
    """Names of what the encoder returns, in order."""
    return (*architecture.features(), *constants_of(architecture))
