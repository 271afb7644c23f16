"""Numbers as waves: the sinusoidal embedding of timesteps and sizes, and the two layers behind it."""

from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def frequencies(channels: int) -> Tensor:
    """Of `channels` / 2 waves, falling from 1 towards 1e-4. float32 throughout, as in training."""
    half = channels // 2
    return (torch.arange(half, dtype=torch.float32) * (-log(10000) / half)).exp()


def waves(numbers: Tensor, table: Tensor) -> Tensor:
    """numbers [...] → cosines, then sines, [..., channels] float32."""
    angles = numbers.float().unsqueeze(-1) * table
    return torch.cat([angles.cos(), angles.sin()], -1)


def embedded(weights: Any, x: Tensor) -> Tensor:
    """Through `fc1`, SiLU and `fc2`."""
    hidden = F.silu(F.linear(x, weights.fc1.weight, weights.fc1.bias))
    return F.linear(hidden, weights.fc2.weight, weights.fc2.bias)
