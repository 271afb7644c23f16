"""How much to distrust the moments: the damping that loses least on images it was not fitted to.

Damping is the ridge of least squares, as a share of the mean variance. Moments of two disjoint sets of images suffice
to try one: fit on either, and E[|lost - made up|²] on the other is a quadratic form in its second moments.
"""

from collections.abc import Mapping
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from diffes.architectures import Architecture
from diffes.pruning.moments import LayerMoments, Moments, weighted_average
from diffes.pruning.ordering import damped, order_moments, order_units, unit_rows

GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_LEVELS = (0.25, 0.5)  # shares kept that a damping is judged at; each counts by its relative error


class Damping(NamedTuple):
    """Of a regression on one layer's projection inputs (full compensation, OBS), and of one on its entry (low-rank)."""

    inputs: float
    entry: float


def choose_dampings(
    architecture: Architecture, weights: Mapping[str, Tensor], halves: tuple[Moments, Moments]
) -> dict[str, Damping]:
    """For each projection the dampings of GRID with the least held-out error, either half fitted and held out in turn.

    `weights` and `halves` are in checkpoint order. Judged under the variance ordering, which needs no damping itself.
    """
    both = weighted_average(halves, [half.rows for half in halves])
    ordering = order_units(architecture, weights, both, "variance", {})
    first, second = (order_moments(architecture, half, ordering) for half in halves)
    chosen = {}
    for layer in architecture.layers:
        name = layer.projection
        weight = weights[name][unit_rows(ordering[name], layer.width)].double()
        pairs = [(first.of(layer), second.of(layer)), (second.of(layer), first.of(layer))]
        kept = [max(1, int(layer.units * share)) * layer.width for share in _LEVELS]
        chosen[name] = Damping(_least(weight, pairs, kept, entry=False), _least(weight, pairs, kept, entry=True))
    return chosen


class Trial:
    """What the first `kept` inputs of a layer (or its entry) explain of the rest on held-out rows.

    weight [K, out] in order. Everything that no damping changes is computed once.
    """

    def __init__(self, weight: Tensor, fit: LayerMoments, held: LayerMoments, kept: int, *, entry: bool) -> None:
        size = fit.inputs
        block = slice(size, None) if entry else slice(0, size)
        features = block if entry else slice(0, kept)
        removed, lost = slice(kept, size), weight[kept:]
        fitted, seen, drift = fit.covariance, held.covariance, held.mean - fit.mean
        self._scatter = fitted[block, block]  # whole, for the ridge is a share of all inputs' variance, as in use
        self._cross = fitted[features, removed] @ lost
        self._held_scatter = seen[features, features] + torch.outer(drift[features], drift[features])
        lost_drift = drift[removed] @ lost
        self._held_cross = seen[features, removed] @ lost + torch.outer(drift[features], lost_drift)
        self._unaided = float((lost * (seen[removed, removed] @ lost)).sum() + lost_drift.square().sum())

    def error(self, damping: float) -> float:
        """Mean square left on the held-out rows by the regression fitted with this damping, over a mere bias's.

        Infinite if the damping is lost in what rounding made of a covariance: where inputs hardly vary about a mean.
        """
        count = len(self._cross)
        root, failed = torch.linalg.cholesky_ex(damped(self._scatter, damping)[:count, :count])
        if failed:
            return inf
        gained = torch.cholesky_solve(self._cross, root)
        explained = 2 * gained * self._held_cross - gained * (self._held_scatter @ gained)
        return 1 - float(explained.sum()) / max(self._unaided, 1e-300)


def _least(weight: Tensor, pairs: list[tuple[LayerMoments, LayerMoments]], kept: list[int], *, entry: bool) -> float:
    trials = [Trial(weight, *pair, rows, entry=entry) for pair in pairs for rows in kept]
    errors = {damping: sum(trial.error(damping) for trial in trials) for damping in GRID}
    return min(reversed(GRID), key=errors.__getitem__)  # of equals the one that distrusts more
