"""One permutation of units per layer, most important first, the same for every stage.

Units leave one group after another in the order of Optimal Brain Surgeon (Hassibi & Stork 1993; for groups, ZipLM
arXiv 2302.04089): each time the units go whose loss costs the projection's output least once the rest makes up for
it. What is left last comes first. Kept sets are nested by construction, so one ordering serves every level.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from diffes.architectures import Architecture, PrunableLayer
from diffes.pruning.moments import Moments

Ordering = dict[str, Tensor]  # projection name -> unit indices [units] int64, most important first

_REMOVED_AT_ONCE = 1 / 64  # of the units left: one at a time changes the order little and takes 16 times as long


def order_units(
    architecture: Architecture, weights: Mapping[str, Tensor], moments: Moments, damping: float
) -> Ordering:
    """The ordering of every prunable layer from its projection's weights and input covariance."""
    return {
        layer.projection: order_layer(layer, weights[layer.projection], moments.covariance(layer.projection), damping)
        for layer in architecture.layers
    }


def order_layer(layer: PrunableLayer, projection: Tensor, covariance: Tensor, damping: float) -> Tensor:
    """Unit indices [units], most important first.

    projection [units * width, out], covariance [units * width]² of its input; `damping` is a share of the mean
    variance added to the diagonal.
    """
    width = layer.width
    inverse = torch.linalg.inv(damped(covariance, damping))
    weight = projection.double()
    left = torch.arange(layer.units)
    removed: list[Tensor] = []
    while len(left):
        count = max(1, int(len(left) * _REMOVED_AT_ONCE))
        saliency = _group_saliency(weight, inverse, width)
        order = saliency.argsort(stable=True)
        gone, stay = order[:count], order[count:].sort().values
        removed.append(left[gone])
        left = left[stay]
        weight, inverse = _eliminate(weight, inverse, _rows(gone, width), _rows(stay, width))
    return torch.cat(removed).flip(0)


def apply_ordering(architecture: Architecture, weights: Mapping[str, Tensor], ordering: Ordering) -> dict[str, Tensor]:
    """Permute units in every tensor that holds them; the dense function stays the same."""
    ordered = dict(weights)
    for layer in architecture.layers:
        permutation = ordering[layer.projection]
        for name in (*layer.sliced, layer.projection):
            tensor = weights[name]
            rows = _rows(permutation, tensor.shape[0] // layer.units)
            ordered[name] = tensor[rows.to(tensor.device)]
    return ordered


def order_moments(architecture: Architecture, moments: Moments, ordering: Ordering) -> Moments:
    """The same moments with their rows and columns in order."""
    mean, second = {}, {}
    for layer in architecture.layers:
        name = layer.projection
        rows = _rows(ordering[name], layer.width)
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


def _rows(units: Tensor, width: int) -> Tensor:
    """Row indices of units that are `width` rows each."""
    return (units[:, None] * width + torch.arange(width)).flatten()
