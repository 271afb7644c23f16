"""Second moments of what every pruned projection reads, gathered on the model's own activations.

A prunable layer is watched at two places at once: the projection's inputs x (units * width values a row) and the
layer's entry h, the row its sliced tensors read. Their joint moments say what the kept inputs tell about the removed
ones, and what the entry, which no level takes away, tells about them.

Products are taken in float32 with TF32 off (TF32 moments made the compensation unstable) over few rows at a time and
summed in float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffes.architectures import PrunableLayer
from diffes.precision import full_float32

_ROWS_PER_PRODUCT = 4096  # float32 sums over more rows would lose digits


@dataclass(frozen=True)
class LayerMoments:
    """Moments of one layer's joint row [x, h]: mean [K + D], second moment [K + D, K + D]; `inputs` is K. float64."""

    mean: Tensor
    second: Tensor
    inputs: int

    @property
    def covariance(self) -> Tensor:
        """E[z zᵀ] - E[z] E[z]ᵀ of the joint row z, [K + D, K + D]."""
        return self.second - torch.outer(self.mean, self.mean)

    def to(self, device: torch.device) -> "LayerMoments":
        """The same on `device`."""
        return LayerMoments(self.mean.to(device), self.second.to(device), self.inputs)


@dataclass(frozen=True)
class Moments:
    """Mean and second moment of each layer's joint row [x, h] by projection name, float64; see `LayerMoments`."""

    mean: Mapping[str, Tensor]
    second: Mapping[str, Tensor]
    rows: int

    def of(self, layer: PrunableLayer) -> LayerMoments:
        """One layer's."""
        return LayerMoments(self.mean[layer.projection], self.second[layer.projection], layer.units * layer.width)

    def to(self, device: torch.device) -> "Moments":
        """The same on `device`."""
        return Moments(
            {name: tensor.to(device) for name, tensor in self.mean.items()},
            {name: tensor.to(device) for name, tensor in self.second.items()},
            self.rows,
        )


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

    def __call__(self, projection: str, *parts: Tensor) -> None:
        """Add rows of one projection; `parts`, each [rows, n], stand side by side in its moments."""
        rows = self._chosen(parts).float()
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
            mean={name: total / self._rows[name] for name, total in self._sums.items()},
            second={name: p / self._rows[name] for name, p in self._products.items()},
            rows=max(self._rows.values(), default=0),
        )

    def _chosen(self, parts: Sequence[Tensor]) -> Tensor:
        if self._share >= 1:
            return torch.cat([part.detach() for part in parts], dim=1)
        rows = len(parts[0])
        count = max(1, round(rows * self._share))
        chosen = torch.randperm(rows, generator=self._generator)[:count].to(parts[0].device)
        return torch.cat([part.detach()[chosen] for part in parts], dim=1)
