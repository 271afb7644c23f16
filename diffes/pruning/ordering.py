"""One permutation of units per layer, most important first, the same for every stage.

Units leave one after another, each time those whose loss costs the projection's output least; what is left last comes
first. Kept sets are nested by construction, so one ordering serves every level. What a loss costs depends on what
makes up for it:

    obs       the kept inputs do, as far as they can: Optimal Brain Surgeon (Hassibi & Stork 1993; for groups, ZipLM
              arXiv 2302.04089). For full and low-rank compensation.
    energy    nothing does: the mean square of the sum of all removed contributions. For none.
    variance  the bias does: the same about the mean. For bias.

The sum counts: two removed units that cancel cost nothing. Ordering by each unit's own energy alone left half as much
error again in the bundled model's layers.
"""

from collections.abc import Mapping
from math import inf

import torch
from torch import Tensor

from diffes.architectures import Architecture, PrunableLayer
from diffes.pruning.mode import OrderingKind
from diffes.pruning.moments import Moments

Ordering = dict[str, Tensor]  # projection name -> unit indices [units] int64, most important first

_REMOVED_AT_ONCE = 1 / 64  # of the units left: one at a time changes the order little and takes 16 times as long


def order_units(
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    moments: Moments,
    kind: OrderingKind,
    dampings: Mapping[str, float],
) -> Ordering:
    """The ordering of every prunable layer; `dampings` by projection name, which only obs needs."""
    ordering = {}
    for layer in architecture.layers:
        name, found = layer.projection, moments.of(layer)
        matrix = (found.second if kind == "energy" else found.covariance)[: found.inputs, : found.inputs]
        if kind == "obs":
            ordering[name] = order_layer(layer, weights[name], matrix, dampings[name])
        else:
            ordering[name] = order_by_energy(layer, weights[name], matrix)
    return ordering


def order_by_energy(layer: PrunableLayer, projection: Tensor, moment: Tensor) -> Tensor:
    """Unit indices [units], most important first, when the kept inputs make up for nothing.

    projection [units * width, out]; moment [units * width]² of its input: second moment or covariance. Removing the
    set R costs Σ over its pairs of tr(W_uᵀ M_uv W_v), so one table of pairs serves the whole elimination.
    """
    weight = projection.double()
    pairs = (moment.double() * (weight @ weight.T)).unflatten(0, (-1, layer.width)).unflatten(2, (-1, layer.width))
    table = pairs.sum((1, 3)).cpu()  # [units, units]
    cost = table.diagonal().clone()
    removed: list[int] = []
    for _ in range(layer.units):
        unit = int(cost.argmin())
        removed.append(unit)
        cost += 2 * table[unit]
        cost[unit] = inf
    return torch.tensor(removed).flip(0)


def order_layer(layer: PrunableLayer, projection: Tensor, covariance: Tensor, damping: float) -> Tensor:
    """Unit indices [units], most important first, by Optimal Brain Surgeon.

    projection [units * width, out], covariance [units * width]² of its input; `damping` is a share of the mean
    variance added to the diagonal.
    """
    width = layer.width
    weight = projection.double()
    inverse = torch.linalg.inv(damped(covariance, damping))
    left = torch.arange(layer.units, device=weight.device)
    removed: list[Tensor] = []
    while len(left):
        count = max(1, int(len(left) * _REMOVED_AT_ONCE))
        saliency = _group_saliency(weight, inverse, width)
        order = saliency.argsort(stable=True)
        gone, stay = order[:count], order[count:].sort().values
        removed.append(left[gone])
        left = left[stay]
        weight, inverse = _eliminate(weight, inverse, unit_rows(gone, width), unit_rows(stay, width))
    return torch.cat(removed).flip(0).cpu()


def apply_ordering(architecture: Architecture, weights: Mapping[str, Tensor], ordering: Ordering) -> dict[str, Tensor]:
    """Permute units in every tensor that holds them; the dense function stays the same."""
    order = Reordering(architecture, ordering)
    return {name: order(name, tensor) for name, tensor in weights.items()}


class Reordering:
    """Permutes units in one tensor at a time, by its name; a tensor that holds none is returned as it is."""

    def __init__(self, architecture: Architecture, ordering: Ordering) -> None:
        self._units = {
            name: ordering[layer.projection]
            for layer in architecture.layers
            for name in (*layer.sliced, layer.projection, *layer.ordered)
        }

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        """The tensor of that name in order."""
        if name not in self._units:
            return tensor
        units = self._units[name]
        return tensor[unit_rows(units, len(tensor) // len(units)).to(tensor.device)]


def order_moments(architecture: Architecture, moments: Moments, ordering: Ordering) -> Moments:
    """The same moments with the rows and columns of the projections' inputs in order."""
    mean, second = {}, {}
    for layer in architecture.layers:
        name = layer.projection
        inputs = unit_rows(ordering[name], layer.width)
        rows = torch.cat([inputs, torch.arange(len(inputs), len(moments.mean[name]))])  # the entry stays
        mean[name] = moments.mean[name][rows]
        second[name] = moments.second[name][rows][:, rows]
    return Moments(mean=mean, second=second, rows=moments.rows)


def damped(matrix: Tensor, damping: float) -> Tensor:
    """Add `damping` of the mean diagonal to the diagonal (a dead layer gets a unit diagonal)."""
    matrix = matrix.double()
    mean = matrix.diagonal().mean().clamp_min(1e-12)
    return matrix + torch.eye(len(matrix), dtype=torch.float64, device=matrix.device) * (damping * mean)


def _group_saliency(weight: Tensor, inverse: Tensor, width: int) -> Tensor:
    """tr(W_G (H⁻¹_GG)⁻¹ W_Gᵀ) of every group of `width` inputs; weight [in, out]."""
    if width == 1:  # a batch of divisions; solving them as systems takes minutes on some machines
        return weight.square().sum(1) / inverse.diagonal()
    groups = weight.unflatten(0, (-1, width))  # [units, width, out]
    blocks = inverse.unflatten(0, (-1, width)).unflatten(2, (-1, width))
    blocks = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [units, width, width]
    saliency: Tensor = (torch.linalg.solve(blocks, groups) * groups).sum((1, 2))
    return saliency


def _eliminate(weight: Tensor, inverse: Tensor, gone: Tensor, stay: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and inverse covariance of the inputs that stay, after the rest made up for the gone."""
    cross = inverse[stay][:, gone]
    pull = torch.linalg.solve(inverse[gone][:, gone], cross.T).T  # [stay, gone]
    return weight[stay] - pull @ weight[gone], inverse[stay][:, stay] - pull @ cross.T


def unit_rows(units: Tensor, width: int) -> Tensor:
    """Row indices of units that are `width` rows each."""
    return (units[:, None] * width + torch.arange(width, device=units.device)).flatten()
