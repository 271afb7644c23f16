"""Second moments of the inputs of every pruned projection, gathered on the model's own activations.

Products are taken in float32 with TF32 off (TF32 moments made the compensation unstable) over few rows at a time and
summed in float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffes.precision import full_float32

_ROWS_PER_PRODUCT = 4096  # float32 sums over more rows would lose digits


@dataclass(frozen=True)
class Moments:
    """Mean [K] and second moment E[x xᵀ] [K, K] of each projection's input, float64."""

    mean: Mapping[str, Tensor]
    second: Mapping[str, Tensor]
    rows: int

    def covariance(self, projection: str) -> Tensor:
        """E[x xᵀ] - E[x] E[x]ᵀ of one projection's input, [K, K]."""
        mean = self.mean[projection]
        return self.second[projection] - torch.outer(mean, mean)


def weighted_average(parts: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """Moments of the mixture that draws stage s with a probability proportional to weights[s]."""
    total = float(sum(weights))
    names = parts[0].mean.keys()

    def mix(tensors: Sequence[Tensor]) -> Tensor:
        mixed = torch.zeros_like(tensors[0])
        for tensor, weight in zip(tensors, weights, strict=True):
            mixed += tensor * (weight / total)
        return mixed

    return Moments(
        mean={name: mix([part.mean[name] for part in parts]) for name in names},
        second={name: mix([part.second[name] for part in parts]) for name in names},
        rows=sum(part.rows for part in parts),
    )


class MomentAccumulator:
    """A tap that sums what it sees; call `moments()` at the end.

    `share` < 1 keeps that share of the rows, chosen by a seeded generator: neighbouring tokens say nearly the
    same, so a few tokens of many images tell more than all tokens of a few.
    """

    def __init__(self, share: float = 1.0, seed: int = 0) -> None:
        self._share = share
        self._generator = torch.Generator().manual_seed(seed)
        self._rows: dict[str, int] = {}
        self._sums: dict[str, Tensor] = {}
        self._products: dict[str, Tensor] = {}

    def __call__(self, projection: str, inputs: Tensor) -> None:
        """Add inputs [rows, K] of one projection."""
        rows = self._chosen(inputs.detach()).float()
        if projection not in self._sums:
            size = rows.shape[1]
            self._rows[projection] = 0
            self._sums[projection] = rows.new_zeros(size, dtype=torch.float64)
            self._products[projection] = rows.new_zeros(size, size, dtype=torch.float64)
        self._rows[projection] += len(rows)
        self._sums[projection] += rows.sum(0, dtype=torch.float64)
        with full_float32():
            for piece in rows.split(_ROWS_PER_PRODUCT):
                self._products[projection] += (piece.T @ piece).double()

    def moments(self) -> Moments:
        """What was seen so far, on CPU."""
        return Moments(
            mean={name: (total / self._rows[name]).cpu() for name, total in self._sums.items()},
            second={name: (p / self._rows[name]).cpu() for name, p in self._products.items()},
            rows=max(self._rows.values(), default=0),
        )

    def _chosen(self, inputs: Tensor) -> Tensor:
        if self._share >= 1:
            return inputs
        count = max(1, round(len(inputs) * self._share))
        chosen = torch.randperm(len(inputs), generator=self._generator)[:count]
        return inputs[chosen.to(inputs.device)]
