"""Numbers as waves: the sinusoidal embedding of timesteps and sizes, and the two layers behind it."""

from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def frequencies(channels: int, shift: int = 0) -> Tensor:
    """Of `channels` / 2 waves, falling from 1 towards 1e-4, which the last one reaches if `shift` is 1.

    float32 throughout, as in training: at timestep 999 the last digit of a frequency is 1e-4 of a radian.
    """
    half = channels // 2
    exponent = torch.arange(half, dtype=torch.float32) * -log(10000) / (half - shift)
    return exponent.exp()


def waves(numbers: Tensor, table: Tensor) -> Tensor:
    """numbers [...] → cosines, then sines, [..., channels] float32."""
    angles = numbers[..., None].float() * table
    return torch.cat([angles.cos(), angles.sin()], -1)


def embedded(weights: Any, x: Tensor) -> Tensor:
    """Through `fc1`, SiLU and `fc2`."""
    hidden = F.silu(F.linear(x, weights.fc1.weight, weights.fc1.bias))
    return F.linear(hidden, weights.fc2.weight, weights.fc2.bias)
